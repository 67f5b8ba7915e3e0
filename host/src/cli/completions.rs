//! `completions`: scripts for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use super::common::Context;
use super::error::CliError;
use super::{Cli, PROGRAM, names};

/// Which shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Shells look for a script by the name of the command that it completes, so each name has its own.

Examples:
  foundry-host completions bash > ~/.local/share/bash-completion/completions/foundry-host
  foundry-host completions bash watchbot > ~/.local/share/bash-completion/completions/watchbot
  foundry-host completions zsh > ~/.zfunc/_foundry-host
  foundry-host completions fish > ~/.config/fish/completions/foundry-host.fish"
)]
pub struct Args {
    /// The shell
    shell: Shell,
    /// The command: foundry-host, or a stock bot's name that the program is linked to
    #[arg(value_name = "NAME", default_value = PROGRAM, value_parser = [PROGRAM, "watchbot", "buildbot", "signbot", "distbot"])]
    name: String,
}

/// Print the script.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    if args.name == PROGRAM {
        clap_complete::generate(args.shell, &mut Cli::command(), PROGRAM, &mut script);
    } else {
        let bot = names::NAMES.into_iter().filter(|name| args.name == *name);
        let mut commands = names::commands(&bot.collect::<Vec<_>>()).await?;
        let Some(command) = commands.first_mut() else {
            return Err(CliError::failed(format_args!(
                "this program was built without {}",
                args.name
            )));
        };
        clap_complete::generate(args.shell, command, &args.name, &mut script);
    }
    context.out.bytes(&script)
}
