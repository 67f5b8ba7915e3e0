//! `stop`: end bots.

use super::common::Context;
use super::error::CliError;
use crate::control::Request;

/// Which bots.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Messages in a bot's hands go back to the broker, which gives them to the bot's group. A bot that was
loaded by hand is forgotten; one of foundry.toml comes back when the host starts again.

Examples:
  foundry-host stop watchbot
  foundry-host stop buildbot buildbot-2"
)]
pub struct Args {
    /// Names of the bots, as `list` shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Stop the bots. If one can't be stopped, the others are all the same.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let mut first = Ok(());
    for name in args.names {
        match stop(&name, None, context).await {
            Ok(()) => {}
            Err(error) if first.is_ok() => first = Err(error),
            Err(error) => {
                error.report(super::PROGRAM);
            }
        }
    }
    first
}

/// Stop one bot; if a component is given, only an instance of that.
pub async fn stop(name: &str, component: Option<&str>, context: &mut Context) -> Result<(), CliError> {
    let request = Request::Stop {
        bot: name.to_owned(),
        component: component.map(ToOwned::to_owned),
    };
    context.client().ask(request).await?;
    context.note(format_args!("stopped {name}"));
    Ok(())
}
