//! `groups`: the queues that bots and other members share.

use foundry_broker::{BacklogStatus, BacklogTopic, DeadLetter, GroupStatus};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Tint, age, printable, size};
use crate::control::{Answer, Request, reader_of, span};
use crate::event::group_of;
use crate::ledger::LetterNumber;

/// What to do with them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A GROUP is a name, or $share/NAME/FILTER where several groups have that name. `foundry-host
dead-letters` tries the dead letters of a group again, or drops them, by the numbers that `show` tells.
The broker keeps the newest messages of some topics for groups that are created later: `list` has
them below the groups, with a warning where a topic has messages and no group reads it.

Examples:
  foundry-host groups list
  foundry-host groups show pub/buildbot
  foundry-host groups remove old-workers"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show them all: members, what waits, what is held, dead letters, the age of the oldest message; and what is kept for later groups
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

/// As the broker has it, and as a SUBSCRIBE names it.
fn filter_of(group: &GroupStatus) -> String {
    format!("$share/{}/{}", group.name, group.filter)
}

/// What somebody may call a group: an endpoint such as `pub/buildbot` is `pub%2Fbuildbot` in a filter.
fn is_called(group: &GroupStatus, meant: &str) -> bool {
    let endpoint = group_of(&group.name);
    let filter = &group.filter;
    [&group.name, &endpoint]
        .into_iter()
        .any(|name| name == meant || meant.strip_prefix("$share/") == Some(&format!("{name}/{filter}")))
}

/// A group by the name that people call it, with the filter that members subscribe to.
fn named(group: &GroupStatus) -> serde_json::Value {
    let mut value = json!(group);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("name".to_owned(), group_of(&group.name).into());
        fields.insert("share".to_owned(), filter_of(group).into());
    }
    value
}

async fn all(context: &Context) -> Result<(Vec<GroupStatus>, BacklogStatus), CliError> {
    match context.client().ask(Request::Groups).await? {
        Answer::Groups { groups, backlog } => Ok((groups, backlog)),
        _ => Err(super::surprised()),
    }
}

/// The group that somebody means, by its filter or by a name that only one has.
async fn find(meant: &str, context: &Context) -> Result<(String, GroupStatus), CliError> {
    let (groups, _) = all(context).await?;
    let mut found = groups
        .into_iter()
        .filter(|group| is_called(group, meant))
        .map(|group| (filter_of(&group), group));
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
    let (groups, backlog) = all(context).await?;
    if context.common.json {
        let groups: Vec<_> = groups.iter().map(named).collect();
        return context.out.json(&json!({ "groups": groups, "backlog": backlog }));
    }
    let now = OffsetDateTime::now_utc();
    let row = |group: &GroupStatus| {
        let oldest = group.oldest.map(|at| age(now, &time_of(Some(at))));
        vec![
            printable(&group_of(&group.name)),
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
    context.out.table(&titles, &rows)?;
    kept(&backlog, context)
}

/// What the broker keeps for groups that are created later.
fn kept(backlog: &BacklogStatus, context: &mut Context) -> Result<(), CliError> {
    if backlog.topics.is_empty() {
        return Ok(());
    }
    let row = |topic: &BacklogTopic| {
        vec![
            printable(&topic.topic),
            topic.readers.to_string(),
            topic.messages.to_string(),
            size(topic.bytes as u64),
            topic.age.map_or_else(|| "-".to_owned(), span),
        ]
    };
    let rows: Vec<_> = backlog.topics.iter().map(row).collect();
    context.out.line("")?;
    context
        .out
        .table(&["TOPIC", "GROUPS", "KEPT", "SIZE", "OLDEST"], &rows)?;
    for topic in &backlog.topics {
        if let Some(warning) = unread(topic, backlog.keep) {
            let warning = context.out.tint(Tint::Odd, &printable(&warning));
            context.out.line(warning)?;
        }
    }
    Ok(())
}

/// A warning about a topic with messages that no group reads.
fn unread(topic: &BacklogTopic, keep: u64) -> Option<String> {
    let age = topic.age.filter(|_| topic.readers == 0)?;
    let short = topic.topic.rsplit('/').next().unwrap_or_default();
    let load = match reader_of(short) {
        Some(bot) => format!("load {bot}"),
        None => "load a bot that does".to_owned(),
    };
    let (name, left) = (&topic.topic, span(keep.saturating_sub(age)));
    Some(match topic.messages {
        1 => format!("no group reads {name}: its message is kept for {left}; {load}"),
        number => format!("no group reads {name}: the oldest of its {number} messages is kept for {left}; {load}"),
    })
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
            .json(&json!({ "group": named(&group), "dead-letters": dead_letters }));
    }
    for (what, value) in [
        ("group", group_of(&group.name)),
        ("share", filter_of(&group)),
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
