//! Rust: cargo makes a core module, which holds its world, and that becomes a component here.

use std::path::Path;
use std::process::Command;

use foundry_componentize::component;
use serde::Deserialize;

use super::build::Job;
use super::error::{Attempt, BuildError};

const TARGET: &str = "wasm32-unknown-unknown";

/// Build a Rust bot.
pub(super) fn build(job: &Job<'_>) -> Result<(), BuildError> {
    let cargo = job
        .find(&[], "cargo")
        .ok_or_else(|| job.missing("cargo", "install Rust as https://rustup.rs says"))?;
    check_target(job)?;
    let manifest = job.source();
    let mut command = Command::new(&cargo);
    command
        .args([
            "build",
            "--release",
            "--target",
            TARGET,
            "--message-format",
            "json-render-diagnostics",
        ])
        .arg("--manifest-path")
        .arg(&manifest)
        // The bot may be built from within another cargo: a test's, for instance.
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let messages = job.run(&mut command)?;
    let built = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .flat_map(|message| message.filenames)
        .rfind(|file| file.ends_with(".wasm"))
        .ok_or_else(|| job.failed("cargo made no .wasm (is `crate-type = [\"cdylib\"]` in its Cargo.toml?)"))?;
    let built = Path::new(&built);
    let module = std::fs::read(built).attempt("read", built)?;
    // Older projects have their linker make the component.
    let component = component(&module).map_err(|error| job.failed(format_args!("{}: {error}", built.display())))?;
    std::fs::write(job.output, component).attempt("write", job.output)
}

/// Without the target's standard library, rustc's own message is hard to make sense of.
fn check_target(job: &Job<'_>) -> Result<(), BuildError> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", TARGET]);
    let directory = job.run(&mut command)?;
    let has_std = std::fs::read_dir(directory.trim()).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    });
    if has_std {
        return Ok(());
    }
    Err(job.missing(
        "Rust's target wasm32-unknown-unknown",
        "rustup target add wasm32-unknown-unknown; or name a rustc that has it in RUSTC: scripts/guest-toolchain in \
         Foundry's repository prepares one from Debian's packages",
    ))
}

/// What cargo says of each thing that it made.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<String>,
}
