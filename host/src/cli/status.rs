//! `status`: whether a host is running, and how it is.

use time::OffsetDateTime;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::gc::{self, bound};
use super::output::{Tint, age, printable, size};
use crate::control::{Answer, HostStatus, Request};
use crate::retention::Report;

/// Nothing but the common options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 3 if no host is running, and 1 if it has no connection to its broker.

Examples:
  foundry-host status
  foundry-host status --json | jq -r .broker"
)]
pub struct Args {}

/// Why the broker is not where it is by default, to be put behind its address.
#[must_use]
pub fn displaced(status: &HostStatus) -> String {
    match status.broker_displaced {
        Some(address) => format!(" (another program has {address})"),
        None => String::new(),
    }
}

/// Print it.
pub async fn run(context: &mut Context) -> Result<(), CliError> {
    let Answer::Status(status) = context.client().ask(Request::Status).await? else {
        return Err(super::surprised());
    };
    if context.common.json {
        context.out.json(&status)?;
    } else {
        print(&status, context)?;
    }
    match is_cut_off(&status) {
        true => Err(CliError::Told(Exit::Failure)),
        false => Ok(()),
    }
}

/// Whether it has no broker, and not only since it has just started.
fn is_cut_off(status: &HostStatus) -> bool {
    !status.connected && status.disconnected_since.is_some()
}

/// How the host is, in a few words.
fn condition(status: &HostStatus, now: OffsetDateTime) -> String {
    match &status.disconnected_since {
        Some(since) if is_cut_off(status) => format!("no connection to the broker, for {}", age(now, since)),
        _ if status.ready => "ready".to_owned(),
        _ => "starting".to_owned(),
    }
}

fn print(status: &HostStatus, context: &mut Context) -> Result<(), CliError> {
    let condition = condition(status, OffsetDateTime::now_utc());
    let state = context.state();
    context.out.line(format_args!("host     {}", status.name))?;
    context.out.line(format_args!("status   {condition}"))?;
    context.out.line(format_args!("version  {}", status.version))?;
    context.out.line(format_args!("process  {}", status.pid))?;
    context
        .out
        .line(format_args!("broker   {}{}", status.broker, displaced(status)))?;
    context.out.line(format_args!("topics   {}/…", status.prefix))?;
    context.out.line(format_args!("state    {}", state.display()))?;
    let full = if status.outbox_full {
        "; bots wait until it has drained"
    } else {
        ""
    };
    context.out.line(format_args!(
        "outbox   {} events, {} bytes{full}",
        status.outbox.rows, status.outbox.bytes
    ))?;
    // A host of an earlier version says nothing of them.
    if !status.build_limits.is_empty() {
        context.out.line(format_args!("builds   {}", status.build_limits))?;
    }
    if let Some(trouble) = &status.trouble {
        let text = context.out.tint(Tint::Odd, &format!("trouble  {}", printable(trouble)));
        context.out.line(text)?;
    }
    if let Some(disk) = &status.disk {
        let thresholds = format!(
            "warning below {}, no builds below {}",
            size(disk.warn_free),
            size(disk.stop_free)
        );
        context
            .out
            .line(format_args!("disk     {} free; {thresholds}", size(disk.free)))?;
    }
    // The clock's is the trouble already, if nothing else is.
    for why in status.unable.iter().filter(|why| Some(*why) != status.trouble.as_ref()) {
        let text = context.out.tint(Tint::Odd, &format!("unable   {}", printable(why)));
        context.out.line(text)?;
    }
    for concern in &status.concerns {
        let text = format!("warning  the broker can lose messages: {}", printable(concern));
        let text = context.out.tint(Tint::Odd, &text);
        context.out.line(text)?;
    }
    kept(&status.kept, context)
}

/// What there is of each kind, beside its bound.
fn kept(reports: &[Report], context: &mut Context) -> Result<(), CliError> {
    if reports.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            vec![
                report.kind.name().to_owned(),
                report.kept.count.to_string(),
                size(report.kept.bytes),
                bound(report),
            ]
        })
        .collect();
    context.out.table(&["KEPT", "NUMBER", "SIZE", "BOUND"], &rows)?;
    gc::troubles(reports, context)
}
