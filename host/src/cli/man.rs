//! `man`: manual pages.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Cli;
use super::common::Context;
use super::error::CliError;

/// Where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  foundry-host man /usr/local/share/man/man1")]
pub struct Args {
    /// Directory for the pages
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Write one page for the program, and one for each verb.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let written = std::fs::create_dir_all(&args.directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.directory));
    let directory = args.directory.display();
    written.map_err(|error| CliError::failed(format_args!("cannot write manual pages to {directory}: {error}")))?;
    context.note(format_args!("wrote the manual pages to {directory}"));
    Ok(())
}
