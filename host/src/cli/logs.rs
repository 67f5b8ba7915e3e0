//! `logs`: what bots say.

use time::format_description::FormatItem;
use time::macros::format_description;

use super::common::Context;
use super::error::CliError;
use super::output::{Tint, printable};
use crate::capability::{Level, LogLine};
use crate::control::{Answer, Request};

const TIME: &[FormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// Whose log, and how much of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Times are UTC. With --json each line is an object.

Examples:
  foundry-host logs -f
  foundry-host logs buildbot --lines 50
  foundry-host logs 3f2a91 -f         a run, by the beginning of its id")]
pub struct Args {
    /// A bot, or a run or the beginning of its id; all bots without it
    #[arg(value_name = "BOT|RUN")]
    of: Option<String>,
    /// Go on with the lines to come
    #[arg(long, short)]
    follow: bool,
    /// How many of the newest lines to begin with
    #[arg(long, short = 'n', default_value_t = 1000, value_name = "N")]
    lines: usize,
}

/// Print log lines.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let request = Request::Logs {
        of: args.of,
        lines: args.lines,
        follow: args.follow,
    };
    let mut answers = context.client().stream(request).await?;
    while let Some(Answer::Line(line)) = answers.next().await? {
        if context.common.json {
            context.out.json_line(&line)?;
        } else {
            let text = shown(&line, context);
            context.out.line(text)?;
        }
    }
    Ok(())
}

/// A line for people.
pub fn shown(line: &LogLine, context: &Context) -> String {
    let time = line.time.format(TIME).unwrap_or_default();
    let level = format!("{:5}", line.level.name());
    let level = match line.level {
        Level::Error => context.out.tint(Tint::Bad, &level),
        Level::Warn => context.out.tint(Tint::Odd, &level),
        Level::Info => level,
        Level::Debug | Level::Trace => context.out.tint(Tint::Faint, &level),
    };
    let run = line.run.as_deref().map(|run| format!(" {run}")).unwrap_or_default();
    let origin = context
        .out
        .tint(Tint::Faint, &format!("{}{run}:", printable(&line.bot)));
    format!(
        "{} {level} {origin} {}",
        context.out.tint(Tint::Faint, &time),
        printable(&line.line)
    )
}
