//! `status`: whether a host is running, and how it is.

use super::common::Context;
use super::error::CliError;
use super::gc::{self, bound};
use super::output::{Tint, printable, size};
use crate::control::{Answer, HostStatus, Request};
use crate::retention::Report;

/// Nothing but the common options.
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 3 if no host is running.

Examples:
  foundry-host status
  foundry-host status --json | jq -r .broker")]
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
        return context.out.json(&status);
    }
    let ready = if status.ready { "ready" } else { "starting" };
    let state = context.state();
    context.out.line(format_args!("host     {}", status.name))?;
    context.out.line(format_args!("status   {ready}"))?;
    context.out.line(format_args!("version  {}", status.version))?;
    context.out.line(format_args!("process  {}", status.pid))?;
    context
        .out
        .line(format_args!("broker   {}{}", status.broker, displaced(&status)))?;
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
    if let Some(why) = &status.full {
        let text = context.out.tint(Tint::Bad, &format!("trouble  {}", printable(why)));
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
