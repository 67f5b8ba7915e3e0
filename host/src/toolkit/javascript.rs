//! JavaScript and TypeScript: rolldown makes one module of the bot and its SDK, jco puts it into QuickJS.

use std::process::Command;

use super::build::Job;
use super::error::BuildError;
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
    let bundle = job.build.join("bundle.js");
    let mut bundling = Command::new(rolldown);
    bundling
        .arg(job.source())
        .args(["--format", "esm", "--log-level", "warn", "--file"])
        .arg(&bundle);
    let contract = world::Contract::of_project(job.manifest, job.project)?;
    for interface in world::interfaces(job.manifest) {
        bundling.args(["--external", &contract.import(interface)]);
    }
    job.run(&mut bundling)?;
    let mut command = Command::new(jco);
    command
        .arg("componentize")
        .arg(&bundle)
        .arg("--wit")
        .arg(wit)
        .args(["--world-name", world::WORLD])
        .args(["--backend", "qjs", "--backend-qjs-stub-wasi", "--out"])
        .arg(job.output);
    job.run(&mut command).map(drop)
}
