//! `list`: the bots of all hosts on the broker.

use time::OffsetDateTime;

use super::common::Context;
use super::error::CliError;
use super::output::{Tint, age, printable};
use crate::control::{Answer, ListedBot, Request};

/// Nothing but the common options.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  foundry-host list
  foundry-host list --json | jq -r '.[] | select(.status != \"running\") | .bot'")]
pub struct Args {}

/// Print the bots, all or those of one component.
pub async fn run(component: Option<&str>, context: &mut Context) -> Result<(), CliError> {
    let Answer::Bots(mut bots) = context.client().ask(Request::List).await? else {
        return Err(super::surprised());
    };
    bots.retain(|bot| component.is_none_or(|component| bot.presence.component == component));
    if context.common.json {
        return context.out.json(&bots);
    }
    if bots.is_empty() {
        context.note("no bots are loaded (load one with `foundry-host load BOT`)");
        return Ok(());
    }
    let now = OffsetDateTime::now_utc();
    let titles = [
        "NAME",
        "BOT",
        "HOST",
        "STATUS",
        "GROUP",
        "READS",
        "PUBLISHES",
        "DONE",
        "FAILED",
        "IN HAND",
        "AGE",
    ];
    let rows: Vec<_> = bots.iter().map(|bot| row(bot, now)).collect();
    context.out.table(&titles, &rows)?;
    for bot in &bots {
        if let Some(detail) = &bot.presence.detail {
            let text = format!("{}: {}", printable(&bot.presence.bot), printable(detail));
            let text = context.out.tint(Tint::Odd, &text);
            context.out.line(text)?;
        }
    }
    Ok(())
}

fn row(bot: &ListedBot, now: OffsetDateTime) -> Vec<String> {
    let ListedBot { presence, local } = bot;
    let count = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let topics = |topics: &[String]| {
        if topics.is_empty() {
            "-".to_owned()
        } else {
            topics.join(",")
        }
    };
    vec![
        presence.bot.clone(),
        presence.component.clone(),
        presence.host.clone(),
        presence.status.clone(),
        presence.group.clone().unwrap_or_else(|| "-".to_owned()),
        topics(&presence.reads),
        topics(&presence.publishes),
        count(local.map(|local| local.handled)),
        count(local.map(|local| local.failed)),
        count(local.map(|local| local.in_hand)),
        age(now, &presence.since),
    ]
}
