//! Python: componentize-py runs the module up to its end, and keeps the interpreter's memory as the component.

use std::process::Command;

use super::build::Job;
use super::error::BuildError;
use super::world;

/// Build a Python bot.
pub(super) fn build(job: &Job<'_>) -> Result<(), BuildError> {
    let tool = job.find(&[".venv/bin"], "componentize-py").ok_or_else(|| {
        job.missing(
            "componentize-py",
            "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.0",
        )
    })?;
    let wit = world::write(job.manifest, job.build)?;
    let module = job
        .manifest
        .source
        .with_extension("")
        .to_string_lossy()
        .replace('/', ".");
    let mut command = Command::new(tool);
    command
        .arg("--wit-path")
        .arg(wit)
        .args(["--world", world::WORLD, "componentize", &module])
        .arg("--python-path")
        .arg(job.project)
        .arg("--python-path")
        .arg(job.project.join(&job.manifest.sdk))
        .arg("--stub-wasi")
        .arg("--output")
        .arg(job.output)
        // Where a module's bytecode is cached, the paths of this machine would end up in the component.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    job.run(&mut command).map(drop)
}
