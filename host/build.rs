//! Embeds the stock bots: builds them to WebAssembly modules with `scripts/build-guests`, or takes them (or components) as they are
//! from the directory that `FOUNDRY_GUESTS_DIR` names.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

/// The stock bots, in the order of the pipeline.
const BOTS: [&str; 4] = ["watchbot", "buildbot", "signbot", "distbot"];

/// A directory with `<bot>.wasm` for each stock bot, to be embedded instead of building them.
const PREBUILT: &str = "FOUNDRY_GUESTS_DIR";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    println!("cargo::rerun-if-changed=build.rs");
    match embed().and_then(|()| embed_sdk()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let out = directory("OUT_DIR")?;
    let components = match env::var_os(PREBUILT).filter(|value| !value.is_empty()) {
        Some(prebuilt) => absolute(prebuilt.into())?,
        None => {
            let repository = directory("CARGO_MANIFEST_DIR")?.join("..");
            let built = out.join("guests");
            build(&repository, &built)?;
            built
        }
    };
    let mut source = String::from("&[\n");
    for bot in BOTS {
        let component = components.join(bot).with_extension("wasm");
        if !component.is_file() {
            return Err(format!(
                "cannot embed {bot}: there is no {} (put the four stock bots into the directory that {PREBUILT} \
                 names, or unset it to build them)",
                component.display()
            ));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            source,
            "    StockBot {{ name: {bot:?}, component: include_bytes!({:?}) }},",
            component.display().to_string()
        );
    }
    source.push_str("]\n");
    let generated = out.join("stock_bots.rs");
    fs::write(&generated, source).map_err(|error| failed("write", &generated, &error))
}

/// The SDKs and the contract, for `foundry-host new` and `build`.
fn embed_sdk() -> Result<(), String> {
    let repository = directory("CARGO_MANIFEST_DIR")?.join("..");
    let mut files = Vec::new();
    for top in ["sdk", "wit"] {
        collect(&repository, Path::new(top), &mut files)?;
    }
    files.sort_unstable();
    let mut source = String::from("&[\n");
    for file in files {
        let path = repository.join(&file);
        let _ = writeln!(
            source,
            "    SdkFile {{ path: {:?}, text: include_str!({:?}) }},",
            file.display().to_string(),
            path.display().to_string()
        );
    }
    source.push_str("]\n");
    let generated = directory("OUT_DIR")?.join("sdk_files.rs");
    fs::write(&generated, source).map_err(|error| failed("write", &generated, &error))
}

/// What is in a directory of sources; what tools leave there is not.
fn collect(repository: &Path, directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    const LEFT_BY_TOOLS: [&str; 4] = ["target", "build", "node_modules", "__pycache__"];
    // Older versions of the contract, which no new project is for.
    const RELEASED: &str = "released";
    let path = repository.join(directory);
    println!("cargo::rerun-if-changed={}", path.display());
    for entry in fs::read_dir(&path).map_err(|error| failed("read", &path, &error))? {
        let entry = entry.map_err(|error| failed("read", &path, &error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == RELEASED || LEFT_BY_TOOLS.contains(&name.as_ref()) {
            continue;
        }
        if entry.path().is_dir() {
            collect(repository, &directory.join(name.as_ref()), files)?;
        } else {
            files.push(directory.join(name.as_ref()));
        }
    }
    Ok(())
}

/// Build scripts run in their package's directory, where a relative path of the operator's shell means something else.
fn absolute(prebuilt: PathBuf) -> Result<PathBuf, String> {
    if prebuilt.is_relative() {
        return Err(format!(
            "cannot take components from {}: {PREBUILT} must be an absolute path",
            prebuilt.display()
        ));
    }
    println!("cargo::rerun-if-changed={}", prebuilt.display());
    Ok(prebuilt)
}

/// Runs the script, and has cargo run this again when what it builds from has changed.
fn build(repository: &Path, output: &Path) -> Result<(), String> {
    for sources in ["bots", "sdk/rust", "wit"] {
        watch(&repository.join(sources))?;
    }
    let script = repository.join("scripts/build-guests");
    println!("cargo::rerun-if-changed={}", script.display());
    // What it says goes to cargo, which shows it if this fails.
    let run = Command::new(&script)
        .arg(output)
        .args(BOTS)
        .status()
        .map_err(|error| failed("run", &script, &error))?;
    if run.success() {
        return Ok(());
    }
    Err(format!(
        "cannot build the stock bots: {} failed ({}); run it by hand to see why, or name a directory of prebuilt \
         components in {PREBUILT}",
        script.display(),
        run
    ))
}

/// Watches the entries of `directory` one by one, so that a build directory among them does not count as a change.
fn watch(directory: &Path) -> Result<(), String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", directory, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| failed("read", directory, &error))?;
        if entry.file_name() != "target" {
            println!("cargo::rerun-if-changed={}", entry.path().display());
        }
    }
    Ok(())
}

fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("cannot find {variable} in the environment (cargo sets it for build scripts)"))
}

fn failed(action: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {action} {}: {error}", path.display())
}
