//! The command line: one verb, one file. A verb parses, calls the library, and prints.

mod announced;
mod bot_command;
mod build;
mod check;
mod common;
mod completions;
mod daemon;
mod dead_letters;
mod error;
mod exit;
mod gc;
mod grants;
mod groups;
mod hash_password;
mod help;
mod inspect;
mod key;
mod key_sign;
mod key_trust;
mod list;
mod load;
mod logging;
mod logs;
mod loose;
mod man;
mod mirror;
mod names;
mod new;
mod output;
mod reload;
mod repo;
mod repo_allow;
mod run;
mod runs;
mod shutdown;
mod status;
mod stop;
mod test;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use common::{CommonArgs, Context};
use error::CliError;
pub use exit::Exit;

/// The program's name in messages.
const PROGRAM: &str = "foundry-host";

/// A host for sandboxed bots, and a Debian package pipeline made of them.
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version,
    about = "Runs sandboxed bots that react to messages; four of them make Debian packages of git commits.",
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:
  foundry-host load watchbot --repository https://example.org/hello.git#main
  foundry-host run -c foundry.toml
  foundry-host list
  foundry-host logs -f

`foundry-host help VERB` shows a verb's options, `foundry-host help load BOT` a bot's.
Linked to the name of a stock bot, the program loads that bot: watchbot --repository URL#BRANCH."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a host in the foreground, with the bots of a configuration
    Run(run::Args),
    /// Load a bot into the running host, or start a host in the background for it
    Load(load::Args),
    /// List the bots of all hosts on the broker
    List(list::Args),
    /// Stop bots
    Stop(stop::Args),
    /// Show what bots log
    Logs(logs::Args),
    /// Show messages as they pass
    Watch(watch::Args),
    /// Show each commit's way through the pipeline
    Runs(runs::Args),
    /// Show what a bot is, which options it has, and which rights it asks for
    Inspect(inspect::Args),
    /// Show which rights and limits of a loaded bot are in force
    Grants(grants::Args),
    /// Make a project for a bot of your own
    New(new::Args),
    /// Build a bot's project to a component
    Build(build::Args),
    /// Let a bot handle one event in a world of its own, and show what it did
    Test(test::Args),
    /// Check a configuration without running it
    Check(check::Args),
    /// Manage OpenPGP keys
    Key(key::Args),
    /// Look after APT repositories
    Repo(repo::Args),
    /// Show or drop messages that were given up
    DeadLetters(dead_letters::Args),
    /// Show or remove the groups of the embedded broker, and what waits in them
    Groups(groups::Args),
    /// Remove what is older, or more, than the configuration keeps
    Gc(gc::Args),
    /// Tell whether a host is running, and how it is
    Status(status::Args),
    /// Stop the host
    Shutdown(shutdown::Args),
    /// Hash a password for a user of the embedded broker
    HashPassword(hash_password::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
    /// Show the help of the program, of a verb or of a bot
    Help(help::Args),
}

/// The program: reads its command line, does it, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    deny_others_to_write();
    let args: Vec<OsString> = std::env::args_os().collect();
    let bot = args.first().and_then(|name| names::stock_bot(name));
    let program = bot.unwrap_or(PROGRAM);
    let result = tokio::runtime::Runtime::new()
        .map_err(|error| CliError::failed(format_args!("cannot start: {error}")))
        .and_then(|runtime| {
            let result = runtime.block_on(async {
                match bot {
                    Some(bot) => names::run(bot, args).await,
                    None => dispatch(Cli::try_parse_from(args)?).await,
                }
            });
            // A thread that waits for something that won't come must not keep the program.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(error) => error.report(program).into(),
    }
}

/// Whatever the shell that started it allows: nothing that the host makes may be written to by the group or by others. Who may read it is left as
/// it is, since published files are there to be read.
fn deny_others_to_write() {
    use rustix::fs::Mode;
    let before = rustix::process::umask(Mode::all());
    rustix::process::umask(before | Mode::WGRP | Mode::WOTH);
}

async fn dispatch(cli: Cli) -> Result<(), CliError> {
    let cli = match cli.verb {
        // What is left is `load BOT --help`, which has to look at the bot.
        Verb::Help(args) => help::asked(args)?,
        _ => cli,
    };
    let mut context = Context::new(cli.common);
    let context = &mut context;
    match cli.verb {
        Verb::Run(_) => {}
        Verb::Test(_) => logging::start_without_bots(&context.common, "warn"),
        _ => logging::start(&context.common, "warn"),
    }
    match cli.verb {
        Verb::Run(args) => run::run(args, context).await,
        Verb::Load(args) => load::run(args, context).await,
        Verb::List(_) => list::run(None, context).await,
        Verb::Stop(args) => stop::run(args, context).await,
        Verb::Logs(args) => logs::run(args, context).await,
        Verb::Watch(args) => watch::run(args, context).await,
        Verb::Runs(args) => runs::run(args, context).await,
        Verb::Inspect(args) => inspect::run(args, context).await,
        Verb::Grants(args) => grants::run(args, context).await,
        Verb::New(args) => new::run(args, context),
        Verb::Build(args) => build::run(args, context).await,
        Verb::Test(args) => test::run(args, context).await,
        Verb::Check(args) => check::run(args, context).await,
        Verb::Key(args) => key::run(args, context).await,
        Verb::Repo(args) => repo::run(args, context).await,
        Verb::DeadLetters(args) => dead_letters::run(args, context).await,
        Verb::Groups(args) => groups::run(args, context).await,
        Verb::Gc(args) => gc::run(args, context).await,
        Verb::Status(_) => status::run(context).await,
        Verb::HashPassword(_) => hash_password::run(context),
        Verb::Shutdown(_) => shutdown::run(context).await,
        Verb::Completions(args) => completions::run(args, context).await,
        Verb::Man(args) => man::run(&args, context).await,
        // `help help --help` ends in the help itself.
        Verb::Help(_) => Ok(()),
    }
}

/// An answer of another kind than the request has.
fn surprised() -> CliError {
    CliError::failed("the host answered something else than it was asked (is it another version? restart it)")
}
