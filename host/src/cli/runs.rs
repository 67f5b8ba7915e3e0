//! `runs`: each commit's way through the pipeline.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::load::duration;
use super::output::{Tint, age, printable, size};
use crate::capability::LogLine;
use crate::control::{Answer, Request, ShownRun, Unread};
use crate::ledger::{EventRow, Run, RunStatus};

/// How often a run that is waited for is looked at.
const GLANCE: Duration = Duration::from_millis(500);

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
    /// How many of the newest runs
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

/// Wait for the end of a run, which may not have begun, and show it.
async fn wait(id: String, timeout: Duration, context: &mut Context) -> Result<(), CliError> {
    let begun = Instant::now();
    let mut told = 0;
    let mut unread: Option<Unread> = None;
    loop {
        let found = match ask(id.clone(), context).await {
            Ok(found) => Some(found),
            // A commit may be waited for before watchbot has seen it.
            Err(CliError::Said(Exit::NotFound, _)) => None,
            Err(error) => return Err(error),
        };
        if let Some((run, log)) = found {
            for event in run.events.iter().skip(told) {
                context.note(event_line(event));
            }
            told = run.events.len();
            // Once for each topic, and not whenever less time is left.
            if let Some(now) = &run.unread
                && unread.as_ref().is_none_or(|before| before.topic != now.topic)
            {
                context.note(now);
                unread = Some(now.clone());
            }
            if matches!(run.status, RunStatus::Published | RunStatus::Failed) {
                show(&run, &log, context)?;
                return match run.status {
                    RunStatus::Failed => Err(CliError::Told(Exit::Failure)),
                    _ => Ok(()),
                };
            }
        }
        if begun.elapsed() >= timeout {
            let so_far = match told {
                0 => "nothing is known of it (is its branch watched? `foundry-host logs watchbot` may tell)",
                _ => "it is still under way (wait longer with --timeout)",
            };
            return Err(CliError::failed(format_args!(
                "{id} was not published within {} s: {so_far}",
                timeout.as_secs()
            )));
        }
        tokio::time::sleep(GLANCE.min(timeout.saturating_sub(begun.elapsed()))).await;
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
    let Answer::Runs(runs) = context.client().ask(Request::Runs { limit }).await? else {
        return Err(super::surprised());
    };
    if context.common.json {
        return context.out.json(&runs);
    }
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
    context.out.line(format_args!("started     {}", run.started))?;
    context.out.line(format_args!("updated     {}", run.updated))?;
    context.out.line("events")?;
    for event in &run.events {
        context.out.line(format_args!("  {}", event_line(event)))?;
        kept(event, context)?;
    }
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

fn event_line(event: &EventRow) -> String {
    let subject = event.subject.as_deref().unwrap_or_default();
    let line = format!("{}  {}  by {}  {subject}", event.time, event.event_type, event.source);
    printable(&line).trim_end().to_owned()
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
