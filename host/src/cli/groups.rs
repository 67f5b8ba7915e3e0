//! `groups`: the queues that bots and other members share.

use foundry_broker::{DeadLetter, GroupStatus};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output::{age, printable, size};
use crate::control::{Answer, Request};
use crate::ledger::LetterNumber;

/// What to do with them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A GROUP is a name, or $share/NAME/FILTER where several groups have that name. `foundry-host
dead-letters` tries the dead letters of a group again, or drops them, by the numbers that `show` tells.

Examples:
  foundry-host groups list
  foundry-host groups show buildbot
  foundry-host groups remove old-workers"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show them all: members, what waits, what is held, dead letters, and the age of the oldest message
    List,
    /// Show one, with its dead letters
    Show {
        /// Its name or filter
        group: String,
    },
    /// Remove one with all messages in it
    Remove {
        /// Its name or filter
        group: String,
        /// Even if it has members, who get nothing more
        #[arg(long)]
        force: bool,
    },
}

/// Show or change groups.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    match args.what {
        What::List => list(context).await,
        What::Show { group } => show(&group, context).await,
        What::Remove { group, force } => remove(&group, force, context).await,
    }
}

fn filter_of(group: &GroupStatus) -> String {
    format!("$share/{}/{}", group.name, group.filter)
}

async fn all(context: &Context) -> Result<Vec<GroupStatus>, CliError> {
    match context.client().ask(Request::Groups).await? {
        Answer::Groups(groups) => Ok(groups),
        _ => Err(super::surprised()),
    }
}

/// The group that somebody means, by its filter or by a name that only one has.
async fn find(meant: &str, context: &Context) -> Result<(String, GroupStatus), CliError> {
    let groups = all(context).await?;
    let mut found = groups
        .into_iter()
        .map(|group| (filter_of(&group), group))
        .filter(|(filter, group)| filter == meant || group.name == meant);
    match (found.next(), found.next()) {
        (Some(group), None) => Ok(group),
        (Some((first, _)), Some((second, _))) => Err(CliError::Said(
            Exit::Usage,
            format!("{meant} is the name of several groups, such as {first} and {second} (name one of these)"),
        )),
        (None, _) => Err(CliError::Said(
            Exit::NotFound,
            format!("there is no group {meant} (see `foundry-host groups list`)"),
        )),
    }
}

/// A time of the broker in words; `-` when there is none.
fn time_of(milliseconds: Option<u64>) -> String {
    let seconds = milliseconds.and_then(|at| i64::try_from(at / 1000).ok());
    let time = seconds.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    time.and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "-".to_owned())
}

async fn list(context: &mut Context) -> Result<(), CliError> {
    let groups = all(context).await?;
    if context.common.json {
        return context.out.json(&groups);
    }
    let now = OffsetDateTime::now_utc();
    let row = |group: &GroupStatus| {
        let oldest = group.oldest.map(|at| age(now, &time_of(Some(at))));
        vec![
            printable(&group.name),
            printable(&group.filter),
            group.members.to_string(),
            group.waiting.to_string(),
            group.leased.to_string(),
            group.dead.to_string(),
            oldest.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = groups.iter().map(row).collect();
    let titles = ["GROUP", "FILTER", "MEMBERS", "WAITING", "HELD", "DEAD", "OLDEST"];
    context.out.table(&titles, &rows)
}

async fn show(group: &str, context: &mut Context) -> Result<(), CliError> {
    let (filter, _) = find(group, context).await?;
    let (group, dead_letters) = match context.client().ask(Request::Group { filter }).await? {
        Answer::Group { group, dead_letters } => (group, dead_letters),
        _ => return Err(super::surprised()),
    };
    if context.common.json {
        let dead_letters: Vec<_> = dead_letters.iter().map(readable).collect();
        return context
            .out
            .json(&json!({ "group": group, "dead-letters": dead_letters }));
    }
    for (what, value) in [
        ("group", filter_of(&group)),
        ("members", group.members.to_string()),
        ("waiting", group.waiting.to_string()),
        ("held", group.leased.to_string()),
        ("size", size(group.bytes as u64)),
        ("oldest", time_of(group.oldest)),
        ("dead", group.dead.to_string()),
    ] {
        context.out.line(format_args!("{what:<8}  {}", printable(&value)))?;
    }
    let row = |letter: &DeadLetter| {
        vec![
            LetterNumber::Group(letter.id).to_string(),
            printable(&letter.topic),
            letter.attempts.to_string(),
            letter.reason.clone(),
            time_of(u64::try_from(letter.died).ok()),
        ]
    };
    let rows: Vec<_> = dead_letters.iter().map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    context
        .out
        .table(&["NUMBER", "TOPIC", "ATTEMPTS", "REASON", "DIED"], &rows)
}

/// A dead letter whose payload is text, as it mostly is.
fn readable(letter: &DeadLetter) -> serde_json::Value {
    json!({
        "number": LetterNumber::Group(letter.id).to_string(),
        "topic": letter.topic,
        "payload": String::from_utf8_lossy(&letter.payload),
        "attempts": letter.attempts,
        "reason": letter.reason,
        "died": time_of(u64::try_from(letter.died).ok()),
    })
}

async fn remove(group: &str, force: bool, context: &mut Context) -> Result<(), CliError> {
    let (filter, status) = find(group, context).await?;
    if status.members > 0 && !force {
        let message = format!(
            "cannot remove {filter}: it has {} members (stop them, or add --force)",
            status.members
        );
        return Err(CliError::Said(Exit::Conflict, message));
    }
    let messages = status.waiting + status.leased;
    let request = Request::RemoveGroup { filter: filter.clone() };
    context.client().ask(request).await?;
    context.note(format_args!(
        "removed {filter} with {messages} messages and {} dead letters",
        status.dead
    ));
    Ok(())
}
