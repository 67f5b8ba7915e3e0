//! `new`: a project for a bot.

use std::path::PathBuf;

use serde_json::json;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use crate::toolkit::{Language, ProjectError, create};

/// Which language, which name.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The project has a bot that greets every commit, a test of it, and the SDK: nothing has to be downloaded
but the language's own tools, which the project's README.md names.

Examples:
  foundry-host new --lang python greeter
  foundry-host new --lang rust lint --directory ~/src/lint"
)]
pub struct Args {
    /// Language
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// Name of the bot
    #[arg(value_name = "NAME")]
    name: String,
    /// Where [default: a directory with the bot's name, here]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Make the project.
pub fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let directory = args.directory.unwrap_or_else(|| PathBuf::from(&args.name));
    let created = create(args.lang, &args.name, &directory)?;
    if context.common.json {
        return context.out.json(&json!({
            "name": args.name,
            "language": args.lang.name(),
            "directory": created.directory,
            "files": created.files,
        }));
    }
    let directory = created.directory.display();
    for file in &created.files {
        context.out.line(format_args!("{directory}/{}", file.display()))?;
    }
    context.note(format_args!(
        "made {directory}; next: read its README.md, or `cd {directory} && foundry-host build`"
    ));
    Ok(())
}

impl From<ProjectError> for CliError {
    fn from(error: ProjectError) -> Self {
        let exit = match &error {
            ProjectError::BadName(_) => Exit::Usage,
            ProjectError::Exists(_) => Exit::Conflict,
            ProjectError::Write { .. } => Exit::Failure,
        };
        Self::Said(exit, error.to_string())
    }
}
