//! `build`: a bot's project to a component.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output::size;
use crate::runtime::Said;
use crate::toolkit::{self, BuildError, ManifestError, Tools};

/// Which project.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Runs the tools of the project's language: cargo, componentize-py, rolldown and jco, or zig. They are
looked for in the project (.venv/bin, node_modules/.bin), in the directories that FOUNDRY_TOOLS names, and in
PATH. Nothing is installed: what is missing is named, with the command that gets it.

Examples:
  foundry-host build
  foundry-host build ~/src/greeter"
)]
pub struct Args {
    /// Directory with a bot.toml
    #[arg(value_name = "PROJECT", default_value = ".")]
    project: PathBuf,
}

/// Build it, and say where the component is.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let start = Instant::now();
    let project = args.project.clone();
    let tools = Tools::from_environment().keeping(context.state());
    let building = tokio::task::spawn_blocking(move || toolkit::build(&project, &tools));
    let built = context
        .patiently(format_args!("building {}", args.project.display()), building)
        .await
        .map_err(CliError::failed)??;
    for Said { level, line } in &built.said {
        context.note(format_args!("{} says ({}): {line}", built.name, level.name()));
    }
    if context.common.json {
        return context.out.json(&json!({
            "name": built.name,
            "component": built.component,
            "size": built.size,
            "milliseconds": u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
    }
    context.out.line(built.component.display())?;
    let seconds = start.elapsed().as_secs_f32();
    context.note(format_args!(
        "built {} in {seconds:.1} s, {}",
        built.name,
        size(built.size)
    ));
    Ok(())
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        let exit = match &error {
            BuildError::Manifest(ManifestError::None(_)) | BuildError::Missing { .. } => Exit::NotFound,
            BuildError::Manifest(_) => Exit::Usage,
            _ => Exit::Failure,
        };
        Self::Said(exit, error.to_string())
    }
}
