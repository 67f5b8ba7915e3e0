//! `completions`: scripts for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use super::common::Context;
use super::error::CliError;
use super::{Cli, PROGRAM};

/// Which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  foundry-host completions bash > ~/.local/share/bash-completion/completions/foundry-host
  foundry-host completions zsh > ~/.zfunc/_foundry-host
  foundry-host completions fish > ~/.config/fish/completions/foundry-host.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Print the script.
pub fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), PROGRAM, &mut script);
    context.out.bytes(&script)
}
