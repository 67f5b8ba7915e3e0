//! JavaScript and TypeScript: rolldown makes one module of the bot and its SDK, jco puts it into QuickJS.

use std::path::Path;
use std::process::Command;

use super::build::Job;
use super::error::{Attempt, BuildError};
use super::source_map::{BUNDLE, SourceMap};
use super::world;

const REMEDY: &str = "run `npm install` here: package.json names it";

/// Build a JavaScript or TypeScript bot.
pub(super) fn build(job: &Job<'_>) -> Result<(), BuildError> {
    let own = ["node_modules/.bin"];
    let rolldown = job
        .find(&own, "rolldown")
        .ok_or_else(|| job.missing("rolldown", REMEDY))?;
    let jco = job.find(&own, "jco").ok_or_else(|| job.missing("jco", REMEDY))?;
    let wit = world::write(job.manifest, job.build)?;
    let bundle = job.build.join(BUNDLE);
    let mut bundling = Command::new(rolldown);
    bundling
        .arg(job.source())
        .args([
            "--format",
            "esm",
            "--log-level",
            "warn",
            "--sourcemap",
            "--external",
            world::RANDOM,
            "--file",
        ])
        .arg(&bundle);
    let contract = world::Contract::of_project(job.manifest, job.project)?;
    for interface in world::interfaces(job.manifest) {
        bundling.args(["--external", &contract.import(interface)]);
    }
    job.run(&mut bundling)?;
    let sources = add_sources(job, &bundle)?;
    let mut command = Command::new(jco);
    command
        .arg("componentize")
        .arg(&bundle)
        .arg("--wit")
        .arg(wit)
        .args(["--world-name", world::WORLD])
        .args(["--backend", "qjs", "--out"])
        .arg(job.output);
    match job.run(&mut command) {
        // The bot's modules are run then, and may fail.
        Err(BuildError::Failed {
            bot,
            program,
            status,
            output,
        }) => Err(BuildError::Failed {
            bot,
            program,
            status,
            output: sources.translate(&output),
        }),
        other => other.map(drop),
    }
}

/// Write the bundle's source map into the bundle, for the SDK's messages: that is the only file at run time.
fn add_sources(job: &Job<'_>, bundle: &Path) -> Result<SourceMap, BuildError> {
    let path = bundle.with_extension("js.map");
    let text = std::fs::read(&path).attempt("read", &path)?;
    let map = SourceMap::read(&text).map_err(|error| job.failed(format_args!("{}: {error}", path.display())))?;
    let json = serde_json::to_string(&map).map_err(|error| job.failed(error))?;
    let mut text = std::fs::read_to_string(bundle).attempt("read", bundle)?;
    text.push_str("\nglobalThis.__foundrySources = ");
    text.push_str(&json);
    text.push_str(";\n");
    std::fs::write(bundle, text).attempt("write", bundle)?;
    Ok(map)
}
