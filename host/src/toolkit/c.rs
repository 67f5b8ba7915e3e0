//! C: bindings are generated here, zig compiles them with the bot, and the module becomes a component here again.

use std::path::{Path, PathBuf};
use std::process::Command;

use foundry_componentize::component_of_world;
use wit_parser::{Resolve, WorldId};

use super::build::Job;
use super::error::{Attempt, BuildError};
use super::world;

/// Build a C bot.
pub(super) fn build(job: &Job<'_>) -> Result<(), BuildError> {
    let wit = world::write(job.manifest, job.build)?;
    let mut resolve = Resolve::default();
    let parsed = resolve
        .push_dir(&wit)
        .and_then(|(package, _)| resolve.select_world(&[package], Some(world::WORLD)));
    let world = parsed.map_err(|error| job.failed(format_args!("{error:#}")))?;
    let bindings = write_bindings(job, &mut resolve.clone(), world)?;
    let module = compile(job, &bindings)?;
    let component = component_of_world(&module, &resolve, world).map_err(|error| job.failed(error))?;
    std::fs::write(job.output, component).attempt("write", job.output)
}

/// The contract as C, in `build/bindings`.
fn write_bindings(job: &Job<'_>, resolve: &mut Resolve, world: WorldId) -> Result<PathBuf, BuildError> {
    let directory = job.build.join("bindings");
    std::fs::create_dir_all(&directory).attempt("create", &directory)?;
    let options = wit_bindgen_c::Opts {
        no_object_file: true,
        rename_world: Some("bot".to_owned()),
        ..wit_bindgen_c::Opts::default()
    };
    let mut files = wit_bindgen_core::Files::default();
    options
        .build()
        .generate(resolve, world, &mut files)
        .map_err(|error| job.failed(format_args!("{error:#}")))?;
    for (name, bytes) in files.iter() {
        let path = directory.join(name);
        std::fs::write(&path, bytes).attempt("write", &path)?;
    }
    Ok(directory)
}

/// Compile all C files of the project, the SDK and the bindings into one WebAssembly module.
fn compile(job: &Job<'_>, bindings: &Path) -> Result<Vec<u8>, BuildError> {
    let sdk = job.project.join(&job.manifest.sdk);
    let mut sources = c_files(bindings)?;
    sources.extend(c_files(&sdk)?);
    let source = job.source();
    sources.extend(c_files(source.parent().unwrap_or(job.project))?);
    let module = job.build.join("module.wasm");
    let mut command = zig(job)?;
    command
        .args([
            "cc",
            "--target=wasm32-wasi",
            "-mexec-model=reactor",
            "-std=c11",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Wl,--strip-all",
            "-I",
        ])
        .arg(bindings)
        .arg("-I")
        .arg(&sdk)
        // For the parts of the SDK whose bindings not every bot has.
        .args(world::interfaces(job.manifest).into_iter().map(|interface| {
            let name = interface.name().to_uppercase();
            format!("-DFOUNDRY_USES_{name}")
        }))
        .args(&sources)
        .arg("-o")
        .arg(&module);
    job.run(&mut command)?;
    std::fs::read(&module).attempt("read", &module)
}

/// Zig as a program, or as Python's package of it has it.
fn zig(job: &Job<'_>) -> Result<Command, BuildError> {
    for name in ["zig", "python-zig"] {
        if let Some(program) = job.find(&[".venv/bin"], name) {
            return Ok(Command::new(program));
        }
    }
    Err(job.missing(
        "zig, which compiles C to WebAssembly,",
        "install it as https://ziglang.org says, or: python3 -m venv .venv && .venv/bin/pip install ziglang",
    ))
}

/// The C files of a directory, sorted.
fn c_files(directory: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let entries = std::fs::read_dir(directory).attempt("read", directory)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.attempt("read", directory)?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
