//! `list`: the bots of all hosts on the broker.

use time::OffsetDateTime;

use super::common::Context;
use super::error::CliError;
use super::output::{Tint, age, printable};
use crate::bus::LeftOut;
use crate::control::{Answer, ListedBot, Request};

/// Nothing but the common options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Bots are listed as far as this host knows the keys of their hosts. How many are left out, and the
command that helps, is said on standard error.

Examples:
  foundry-host list
  foundry-host list --json | jq -r '.[] | select(.status != \"running\") | .bot'"
)]
pub struct Args {}

/// Print the bots, all or those of one component.
pub async fn run(component: Option<&str>, context: &mut Context) -> Result<(), CliError> {
    let Answer::Bots { mut bots, left_out } = context.client().ask(Request::List).await? else {
        return Err(super::surprised());
    };
    for line in told(&left_out) {
        context.note(line);
    }
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

/// What a person is told of bots that are not in the list.
fn told(left_out: &LeftOut) -> Vec<String> {
    if left_out.bots == 0 {
        return Vec::new();
    }
    let more = if left_out.more { " or more" } else { "" };
    let (bots, are) = match left_out.bots {
        1 => ("bot", "is"),
        _ => ("bots", "are"),
    };
    let count = format!(
        "{}{more} {bots} {are} left out, of hosts that are not believed here; what they say of themselves is refused:",
        left_out.bots
    );
    let reasons = left_out.reasons.iter().map(|reason| format!("  {reason}"));
    [count].into_iter().chain(reasons).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_that_are_left_out_are_counted_and_the_reasons_follow() {
        assert_eq!(told(&LeftOut::default()), [""; 0]);
        let left_out = |bots, more| LeftOut {
            bots,
            more,
            reasons: vec!["it is signed by key K (run `foundry-host key import`)".to_owned()],
        };
        let one = told(&left_out(1, false));
        assert!(one[0].starts_with("1 bot is left out"), "{one:?}");
        assert_eq!(one[1], "  it is signed by key K (run `foundry-host key import`)");
        let many = told(&left_out(256, true));
        assert!(many[0].starts_with("256 or more bots are left out"), "{many:?}");
    }
}
