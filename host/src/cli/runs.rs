//! `runs`: each commit's way through the pipeline.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::load::duration;
use super::output::{Tint, age, elapsed, printable, second, size};
use crate::capability::LogLine;
use crate::control::{Answer, Request, ShownRun};
use crate::ledger::{EventRow, Run, RunStatus};

/// How often a run that is waited for is looked at.
const GLANCE: Duration = Duration::from_millis(500);

/// After how long without an event it is said what is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// Which runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  foundry-host runs
  foundry-host runs 3f2a91            one run: its events, its artifacts, why it failed
  git push && foundry-host runs --wait \"$(git rev-parse HEAD)\"
  foundry-host runs --json | jq -r '.[] | select(.status == \"failed\") | .id'")]
pub struct Args {
    /// A run, or the beginning of its id; or a commit, for its newest run
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Wait until the run is published or has failed, and show its events meanwhile; exit code 1 if it failed
    #[arg(long, requires = "run")]
    wait: bool,
    /// Longest time to wait
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3h", requires = "wait")]
    timeout: Duration,
    /// How many of the newest runs; it is said when there are more
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N", conflicts_with = "run")]
    limit: u32,
}

/// Print runs, or one in detail.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    match args.run {
        Some(id) if args.wait => wait(id, args.timeout, context).await,
        Some(id) => {
            let (run, log) = ask(id, context).await?;
            show(&run, &log, context)
        }
        None => newest(args.limit, context).await,
    }
}

/// Wait for the end of a run, which may not have begun, and show it. Each event is printed once, as soon as it is known.
async fn wait(id: String, timeout: Duration, context: &mut Context) -> Result<(), CliError> {
    let begun = Instant::now();
    let mut progress = Progress::default();
    loop {
        let found = match ask(id.clone(), context).await {
            Ok(found) => Some(found),
            // A commit may be waited for before watchbot has seen it.
            Err(CliError::Said(Exit::NotFound, _)) => None,
            Err(error) => return Err(error),
        };
        if let Some((run, log)) = &found {
            progress.show(run, context)?;
            if matches!(run.status, RunStatus::Published | RunStatus::Failed) {
                end(run, log, context)?;
                return match run.status {
                    RunStatus::Failed => Err(CliError::Told(Exit::Failure)),
                    _ => Ok(()),
                };
            }
        }
        let awaited = awaited(found.as_ref().map(|(run, _)| run.status));
        if begun.elapsed() >= timeout {
            return Err(CliError::failed(format_args!(
                "{id} was not published within {} s: still waiting for {awaited}",
                timeout.as_secs()
            )));
        }
        progress.say(awaited, context);
        tokio::time::sleep(GLANCE.min(timeout.saturating_sub(begun.elapsed()))).await;
    }
}

/// What was said of a run that is waited for.
struct Progress {
    /// The run. A commit gets another one if it is announced once more.
    run: Option<String>,
    /// Its events that were printed.
    events: usize,
    /// When the last one was, or the waiting began.
    since: Instant,
    /// What it was last said to wait for.
    said: Option<&'static str>,
    /// The topic that was said to have no reader: once for each, and not whenever less time is left.
    unread: Option<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            run: None,
            events: 0,
            since: Instant::now(),
            said: None,
            unread: None,
        }
    }
}

impl Progress {
    /// Print the events that are new, and say when nobody reads the topic that the run waits on. With `--json` the whole
    /// run is printed at its end, and nothing before.
    fn show(&mut self, run: &ShownRun, context: &mut Context) -> Result<(), CliError> {
        if let Some(unread) = &run.unread
            && self.unread.as_ref() != Some(&unread.topic)
        {
            context.note(unread);
            self.unread = Some(unread.topic.clone());
        }
        if self.run.as_ref() != Some(&run.id) {
            self.run = Some(run.id.clone());
            self.events = 0;
        }
        if run.events.len() == self.events {
            return Ok(());
        }
        if !context.common.json {
            let lines = event_lines(&run.events);
            for (line, event) in lines.iter().zip(&run.events).skip(self.events) {
                context.out.line(line)?;
                kept(event, context)?;
            }
        }
        self.events = run.events.len();
        self.since = Instant::now();
        self.said = None;
        Ok(())
    }

    /// Say what is waited for, once, if there was no event for a while.
    fn say(&mut self, awaited: &'static str, context: &Context) {
        if self.since.elapsed() >= QUIET && self.said != Some(awaited) {
            context.note(format_args!("waiting for {awaited}"));
            self.said = Some(awaited);
        }
    }
}

/// What a run needs to go on, by how far it has come.
fn awaited(status: Option<RunStatus>) -> &'static str {
    match status {
        None => "the commit to be announced (is its branch watched? `foundry-host logs watchbot` may tell)",
        Some(RunStatus::Announced) => "the build (`foundry-host logs -f` shows it)",
        Some(RunStatus::Built) => "the packages to be signed",
        Some(RunStatus::Signed) => "the packages to be published",
        Some(RunStatus::Published | RunStatus::Failed) => "nothing",
    }
}

/// One run, and the end of its log if it failed.
async fn ask(id: String, context: &Context) -> Result<(ShownRun, Vec<LogLine>), CliError> {
    match context.client().ask(Request::Run { id }).await? {
        Answer::Run { run, log } => Ok((*run, log)),
        _ => Err(super::surprised()),
    }
}

async fn newest(limit: u32, context: &mut Context) -> Result<(), CliError> {
    // One more than is shown tells whether there are more.
    let request = Request::Runs {
        limit: limit.saturating_add(1),
    };
    let Answer::Runs(mut runs) = context.client().ask(request).await? else {
        return Err(super::surprised());
    };
    let more = runs.len() > limit as usize;
    runs.truncate(limit as usize);
    if context.common.json {
        context.out.json(&runs)?;
    } else {
        table(&runs, context)?;
    }
    if more {
        let next = limit.saturating_mul(5);
        context.note(format_args!("there are more runs (-n {next} shows the newest {next})"));
    }
    Ok(())
}

fn table(runs: &[ShownRun], context: &mut Context) -> Result<(), CliError> {
    let now = OffsetDateTime::now_utc();
    let titles = ["RUN", "STATUS", "REPOSITORY", "BRANCH", "COMMIT", "AGE", "SUBJECT"];
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let commit = or_dash(&run.commit).chars().take(10).collect();
            vec![
                run.id.clone(),
                status(run.status).to_owned(),
                or_dash(&run.repository),
                or_dash(&run.branch),
                commit,
                age(now, &run.started),
                or_dash(&run.subject),
            ]
        })
        .collect();
    context.out.table(&titles, &rows)?;
    let mut topics = BTreeSet::new();
    for unread in runs.iter().filter_map(|run| run.unread.as_ref()) {
        // The newest run of each topic is kept the longest.
        if topics.insert(&unread.topic) {
            context.note(unread);
        }
    }
    Ok(())
}

fn show(run: &ShownRun, log: &[LogLine], context: &mut Context) -> Result<(), CliError> {
    if context.common.json {
        return context.out.json(&json!({ "run": run, "log": log }));
    }
    head(run, context)?;
    context.out.line("events")?;
    for (line, event) in event_lines(&run.events).iter().zip(&run.events) {
        context.out.line(format_args!("  {line}"))?;
        kept(event, context)?;
    }
    outcome(run, log, context)
}

/// A run whose events were printed already, at its end.
fn end(run: &ShownRun, log: &[LogLine], context: &mut Context) -> Result<(), CliError> {
    if context.common.json {
        return context.out.json(&json!({ "run": run, "log": log }));
    }
    head(run, context)?;
    outcome(run, log, context)
}

/// What it is, and how far it has come.
fn head(run: &ShownRun, context: &mut Context) -> Result<(), CliError> {
    let tint = match run.status {
        RunStatus::Failed => Tint::Bad,
        RunStatus::Published => Tint::Good,
        _ => Tint::Odd,
    };
    let shown = context.out.tint(tint, status(run.status));
    context.out.line(format_args!("run         {}", run.id))?;
    context.out.line(format_args!("status      {shown}"))?;
    let fields = [
        ("repository", &run.repository),
        ("branch", &run.branch),
        ("commit", &run.commit),
        ("subject", &run.subject),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            context.out.line(format_args!("{name:11} {}", printable(value)))?;
        }
    }
    if let Some(unread) = &run.unread {
        let text = context
            .out
            .tint(Tint::Odd, &format!("waits       {}", printable(&unread.to_string())));
        context.out.line(text)?;
    }
    context.out.line(format_args!("started     {}", second(&run.started)))?;
    let took = elapsed(&run.started, &run.updated).map(|took| format!(", {took} later"));
    context.out.line(format_args!(
        "updated     {}{}",
        second(&run.updated),
        took.unwrap_or_default()
    ))
}

/// What came of it, and why it failed.
fn outcome(run: &Run, log: &[LogLine], context: &mut Context) -> Result<(), CliError> {
    artifacts(run, context)?;
    for event in run
        .events
        .iter()
        .filter(|event| event.event_type == "foundry.failure.v1")
    {
        failure(event, log, context)?;
    }
    Ok(())
}

/// A line for each event: when it was published, how long after the one before, and what it says.
fn event_lines(events: &[EventRow]) -> Vec<String> {
    let mut before: Option<&EventRow> = None;
    let mut lines = Vec::with_capacity(events.len());
    for event in events {
        let after = before.and_then(|before| elapsed(&before.time, &event.time));
        let after = after.map_or_else(String::new, |after| format!("+{after}"));
        let subject = event.subject.as_deref().unwrap_or_default();
        let line = format!(
            "{}  {after:>8}  {}  by {}  {subject}",
            second(&event.time),
            event.event_type,
            event.source
        );
        lines.push(printable(&line).trim_end().to_owned());
        before = Some(event);
    }
    lines
}

/// Files of the event's build that were not published, since another build of the same source was there first.
fn kept(event: &EventRow, context: &mut Context) -> Result<(), CliError> {
    let Some(files) = event.data.get("kept").and_then(Value::as_array) else {
        return Ok(());
    };
    for file in files {
        let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
        let line = format!(
            "kept {} as published first, SHA-256 {}; this build has {}",
            text("name"),
            text("published"),
            text("offered")
        );
        context.out.line(format_args!("    {}", printable(&line)))?;
    }
    let omitted = event
        .data
        .get("omittedKept")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    if omitted > 0 {
        context
            .out
            .line(format_args!("    kept {omitted} more files as published first"))?;
    }
    Ok(())
}

/// The artifacts of the newest event that has some: what came of the run.
fn artifacts(run: &Run, context: &mut Context) -> Result<(), CliError> {
    let list = |event: &EventRow| {
        let artifacts = event.data.get("artifacts").and_then(Value::as_array).cloned();
        artifacts.filter(|artifacts| !artifacts.is_empty())
    };
    let Some(artifacts) = run.events.iter().rev().find_map(list) else {
        return Ok(());
    };
    context.out.line("artifacts")?;
    for artifact in artifacts {
        let name = artifact.get("name").and_then(Value::as_str).unwrap_or_default();
        let bytes = artifact.get("size").and_then(Value::as_u64).unwrap_or_default();
        context
            .out
            .line(format_args!("  {}  {}", printable(name), size(bytes)))?;
    }
    Ok(())
}

fn failure(event: &EventRow, log: &[LogLine], context: &mut Context) -> Result<(), CliError> {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str).unwrap_or_default();
    let phase = Some(text("phase"))
        .filter(|phase| !phase.is_empty())
        .map(|phase| format!(" ({phase})"));
    let line = format!(
        "{}{} failed: {}",
        text("stage"),
        phase.unwrap_or_default(),
        text("reason")
    );
    let line = context.out.tint(Tint::Bad, &printable(&line));
    context.out.line(line)?;
    match event
        .data
        .get("logTail")
        .and_then(Value::as_array)
        .filter(|tail| !tail.is_empty())
    {
        Some(tail) => {
            for line in tail.iter().filter_map(Value::as_str) {
                context.out.line(format_args!("  {}", printable(line)))?;
            }
        }
        None => {
            for line in log {
                let line = super::logs::shown(line, context);
                context.out.line(format_args!("  {line}"))?;
            }
        }
    }
    Ok(())
}

fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Announced => "announced",
        RunStatus::Built => "built",
        RunStatus::Signed => "signed",
        RunStatus::Published => "published",
        RunStatus::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_times_to_the_second_and_the_time_since_the_one_before() {
        let event = |event_type: &str, time: &str, subject: Option<&str>| EventRow {
            id: String::new(),
            run: "r".to_owned(),
            event_type: event_type.to_owned(),
            topic: String::new(),
            source: "here/bot".to_owned(),
            subject: subject.map(ToOwned::to_owned),
            time: time.to_owned(),
            cause: None,
            data: Value::Null,
        };
        let events = [
            event("foundry.commit.v1", "2026-11-30T09:00:00.123456789Z", Some("/x#main")),
            event(
                "foundry.build.v1",
                "2026-11-30T09:01:10.523456789Z",
                Some("hello\u{1b} 1.0"),
            ),
            event("foundry.sign.v1", "2026-11-30T09:01:10.923456789Z", None),
        ];
        insta::assert_snapshot!(event_lines(&events).join("\n"), @r"
        2026-11-30T09:00:00Z            foundry.commit.v1  by here/bot  /x#main
        2026-11-30T09:01:10Z   +1m 10s  foundry.build.v1  by here/bot  hello� 1.0
        2026-11-30T09:01:10Z     +0.4s  foundry.sign.v1  by here/bot
        ");
    }
}
