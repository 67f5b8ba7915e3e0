//! `hash-password`: for the users of the embedded broker.

use std::io::{BufRead, IsTerminal};

use super::common::Context;
use super::error::CliError;

/// Nothing but the common options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The password is asked for, or read as one line from standard input if that is no terminal.

Examples:
  foundry-host hash-password
  foundry-host hash-password < password-file

In foundry.toml:
  [broker.access.users.dashboard]
  password = \"$argon2id$…\"
  role = \"watcher\""
)]
pub struct Args {}

/// Print the hash.
pub fn run(context: &mut Context) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::failed(format_args!("cannot read the password: {error}"));
    let mut password = zeroize::Zeroizing::new(String::new());
    if std::io::stdin().is_terminal() {
        *password = rpassword::prompt_password("password: ").map_err(failed)?;
    } else {
        std::io::stdin().lock().read_line(&mut password).map_err(failed)?;
    }
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(CliError::usage("the password is empty"));
    }
    let hash = foundry_broker::hash_password(password).map_err(CliError::failed)?;
    context.out.line(hash)
}
