//! The names of the stock bots as names of this program: `watchbot --repository URL#BRANCH`, as it has always been.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Arg, ArgAction, Command, FromArgMatches};

use super::common::{CommonArgs, Context, state_among};
use super::error::CliError;
use super::{list, load, logging, stop};
use crate::runtime::wit::types::Description;
use crate::stock;
use crate::supervisor::{BotSource, Inspector};

/// The names that mean a bot, whether it is embedded or not.
pub(super) const NAMES: [&str; 4] = ["watchbot", "buildbot", "signbot", "distbot"];

/// The stock bot that the program is called by.
#[must_use]
pub fn stock_bot(program: &OsStr) -> Option<&'static str> {
    let name = Path::new(program).file_name()?;
    NAMES.into_iter().find(|bot| name == *bot)
}

/// Do what the original's command of this name did.
pub async fn run(bot: &'static str, mut args: Vec<OsString>) -> Result<(), CliError> {
    let mut context = Context::new(CommonArgs::default());
    let source = BotSource::Stock(bot.to_owned());
    if stock::find(bot).is_none() {
        return Err(CliError::failed(format_args!("this program was built without {bot}")));
    }
    // No bot takes words, so this can't mean anything else.
    if let [_, word] = args.as_mut_slice()
        && word == "help"
    {
        *word = "--help".into();
    }
    context.common.state = state_among(&args).or_else(|| std::env::var_os("FOUNDRY_STATE").map(Into::into));
    let inspector = Inspector::new(context.state().join("compiled")).map_err(CliError::failed)?;
    let (component, description) = inspector.inspect(&source).await?;
    let command = command(bot, &description);
    let matches = command.try_get_matches_from(args)?;
    context.common = CommonArgs::from_arg_matches(&matches)?;
    logging::start(&context.common, "warn");
    if matches.get_flag("list") {
        return list::run(Some(bot), &mut context).await;
    }
    if let Some(name) = matches.get_one::<String>("stop") {
        return stop::stop(name, Some(bot), &mut context).await;
    }
    let host = load::HostArgs::from_arg_matches(&matches)?;
    let spec = host.spec(source, &description, &matches, &load::current_directory()?);
    let chosen = load::Chosen {
        inspector,
        component,
        description,
        spec,
        host,
    };
    load::load(chosen, &mut context).await
}

/// The command of a stock bot's name: its options, those of `load`, and those that list and stop its bots.
fn command(bot: &'static str, description: &Description) -> Command {
    load::command(bot, description)
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help(format!("List the {bot}s")),
        )
        .arg(
            Arg::new("stop")
                .long("stop")
                .value_name("ID")
                .help(format!("Stop a {bot}"))
                .conflicts_with("list"),
        )
        .mut_args(|arg| {
            if arg.is_required_set() {
                arg.required_unless_present_any(["list", "stop"]).required(false)
            } else {
                arg
            }
        })
        .after_help(format!(
            "The same as `foundry-host load {bot}`, `foundry-host list` and `foundry-host stop ID`."
        ))
}

/// The commands of the stock bots that this program has, for manual pages and completions. Nothing is written to a state
/// directory: this is done when the program is packaged.
///
/// # Errors
/// If a bot can't be compiled.
pub async fn commands(names: &[&'static str]) -> Result<Vec<Command>, CliError> {
    let failed = |error: std::io::Error| CliError::failed(format_args!("cannot make a temporary directory: {error}"));
    let directory = tempfile::tempdir().map_err(failed)?;
    let inspector = Inspector::new(directory.path().join("compiled")).map_err(CliError::failed)?;
    let mut commands = Vec::new();
    for bot in names.iter().copied().filter(|bot| stock::find(bot).is_some()) {
        let (_, description) = inspector.inspect(&BotSource::Stock(bot.to_owned())).await?;
        commands.push(command(bot, &description));
    }
    Ok(commands)
}
