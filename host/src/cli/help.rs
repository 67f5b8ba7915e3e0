//! `help`: the same as `--help`, in the order in which other programs take it.

use std::ffi::OsString;

use clap::Parser as _;

use super::error::CliError;
use super::{Cli, PROGRAM, names};

/// Which verb.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  foundry-host help
  foundry-host help runs              as foundry-host runs --help
  foundry-host help key generate
  foundry-host help load buildbot     the options of a bot; `help buildbot` will do")]
pub struct Args {
    /// A verb, and what follows it [default: the program itself]
    #[arg(value_name = "VERB")]
    words: Vec<OsString>,
}

/// The command line that asks for the same by `--help`.
///
/// # Errors
/// The help itself, or that there is no such verb.
pub fn asked(args: Args) -> Result<Cli, CliError> {
    let bot = args.words.first().and_then(|word| names::stock_bot(word));
    let load = bot.map(|_| OsString::from("load"));
    let words = load.into_iter().chain(args.words);
    Ok(Cli::try_parse_from(
        std::iter::once(OsString::from(PROGRAM))
            .chain(words)
            .chain([OsString::from("--help")]),
    )?)
}
