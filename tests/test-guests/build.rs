//! Builds `tests/guests/*`, and the bots of `bots/` that tests load and `foundry-host` does not have inside, to WebAssembly
//! modules with `scripts/build-guests`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// Bots of the repository that are not stock bots.
const BOTS: [&str; 1] = ["notifybot"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let directory = |variable| {
        env::var_os(variable)
            .map(PathBuf::from)
            .ok_or(format!("cannot find {variable} in the environment"))
    };
    let repository = directory("CARGO_MANIFEST_DIR")?.join("../..");
    let output = directory("OUT_DIR")?.join("guests");
    println!("cargo::rerun-if-changed=build.rs");
    for input in [
        "tests/guests",
        "bots/notifybot",
        "sdk/rust/Cargo.toml",
        "sdk/rust/src",
        "wit",
        "bots/Cargo.toml",
        "bots/Cargo.lock",
        "scripts/build-guests",
    ] {
        let input = repository.join(input);
        // Cargo takes a missing input for one that always changes.
        if input.exists() {
            println!("cargo::rerun-if-changed={}", input.display());
        }
    }
    fs::create_dir_all(&output).map_err(|error| format!("cannot create {}: {error}", output.display()))?;
    let script = repository.join("scripts/build-guests");
    run(Command::new(&script).arg("--tests").arg(&output), &script)?;
    run(Command::new(&script).arg(&output).args(BOTS), &script)
}

fn run(command: &mut Command, script: &Path) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("cannot run {}: {error}", script.display()))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "cannot build the test guests: {} failed ({status}); run it by hand to see why",
        script.display()
    ))
}
