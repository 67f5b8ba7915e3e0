//! `runs RUN`: a run in detail.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::capability::LogLine;
use crate::cli::common::Context;
use crate::cli::error::CliError;
use crate::cli::logs::shown;
use crate::cli::output::{Tint, elapsed, printable, second, size};
use crate::control::ShownRun;
use crate::run::{ChainStatus, EventRow, Run, RunState, StageFailure};

/// Characters of a failure beside its chain. The whole of it is printed at the end.
const LONGEST_REASON: usize = 160;

/// Print a run in detail.
///
/// # Errors
/// [`CliError::Output`].
pub(super) fn show(run: &ShownRun, log: &[LogLine], context: &mut Context) -> Result<(), CliError> {
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

/// Print a run whose events were printed already, at its end.
///
/// # Errors
/// [`CliError::Output`].
pub(super) fn end(run: &ShownRun, log: &[LogLine], context: &mut Context) -> Result<(), CliError> {
    if context.common.json {
        return context.out.json(&json!({ "run": run, "log": log }));
    }
    head(run, context)?;
    outcome(run, log, context)
}

/// What it is, and how far it has come.
fn head(run: &ShownRun, context: &mut Context) -> Result<(), CliError> {
    let status = run.state.status;
    let shown = context.out.tint(tint(status.name()), status.name());
    context.out.line(format_args!("run         {}", run.id))?;
    context.out.line(format_args!("status      {shown}"))?;
    chains(&run.state, context)?;
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

/// Print how far each chain has come, and what failed beside them.
///
/// # Errors
/// [`CliError::Output`].
pub(super) fn chains(state: &RunState, context: &mut Context) -> Result<(), CliError> {
    let labels = state.labels();
    let chains = labels.iter().zip(&state.chains);
    // Of a commit that nothing came of yet the status says all.
    for (label, chain) in chains.filter(|(_, chain)| chain.status > ChainStatus::Announced) {
        let status = context.out.tint(tint(chain.status.name()), chain.status.name());
        let why = chain.failure.as_ref().map(|failure| format!(": {}", brief(failure)));
        let line = format!("chain       {} {status}{}", printable(label), why.unwrap_or_default());
        context.out.line(line)?;
    }
    for failure in &state.other_failures {
        context.out.line(format_args!("beside      {}", brief(failure)))?;
    }
    Ok(())
}

fn tint(status: &str) -> Tint {
    match status {
        "published" => Tint::Good,
        "failed" | "partly failed" => Tint::Bad,
        _ => Tint::Odd,
    }
}

/// A failure on one line; all of it is printed below.
fn brief(failure: &StageFailure) -> String {
    let mut line = printable(&failure.to_string());
    if let Some((end, _)) = line.char_indices().nth(LONGEST_REASON) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// What came of it, and why it failed. A failure that was made good is among the events, and not here.
fn outcome(run: &Run, log: &[LogLine], context: &mut Context) -> Result<(), CliError> {
    artifacts(run, context)?;
    let state = &run.state;
    let of_chains = state.chains.iter().filter_map(|chain| chain.failure.as_ref());
    let failures: BTreeMap<_, _> = of_chains
        .chain(&state.other_failures)
        .map(|failure| (failure.event.as_str(), failure))
        .collect();
    for event in &run.events {
        if let Some(said) = failures.get(event.id.as_str()) {
            failure(said, event, log, context)?;
        }
    }
    Ok(())
}

/// A line for each event: when it was published, how long after the one before, and what it says.
pub(super) fn event_lines(events: &[EventRow]) -> Vec<String> {
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
///
/// # Errors
/// [`CliError::Output`].
pub(super) fn kept(event: &EventRow, context: &mut Context) -> Result<(), CliError> {
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

/// Why something failed, with the end of its log.
fn failure(said: &StageFailure, event: &EventRow, log: &[LogLine], context: &mut Context) -> Result<(), CliError> {
    let line = context.out.tint(Tint::Bad, &printable(&said.to_string()));
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
                let line = shown(line, context);
                context.out.line(format_args!("  {line}"))?;
            }
        }
    }
    Ok(())
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
            group: None,
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
