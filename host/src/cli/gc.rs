//! `gc`: keep house now, or say what would be removed.

use std::collections::BTreeSet;

use super::common::{ConfigArgs, Context};
use super::error::CliError;
use super::output::{Tint, printable, size};
use crate::control::{Answer, Client, ClientError, Request};
use crate::retention::Report;
use crate::supervisor::{collect, has_ledger};

/// How.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A running host does this by itself each hour. Without one the state directory is locked meanwhile,
and the configuration says how much is kept. What a message, a dead letter, a run on record or a
bot's state refers to stays; [retention] in foundry.toml has the bounds.

Examples:
  foundry-host gc --dry-run
  foundry-host gc
  foundry-host gc --json | jq '.[] | select(.removed.count > 0)'"
)]
pub struct Args {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Have the running host do it, or do it in its place.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let state = match &args.config.config {
        Some(_) => context.config(&args.config)?.1,
        None => context.state(),
    };
    let request = Request::Collect { dry_run: args.dry_run };
    let asked = {
        let client = Client::new(&state);
        context
            .patiently("looking at all that is kept", client.ask(request))
            .await
    };
    let reports = match asked {
        Ok(Answer::Collected(reports)) => reports,
        Ok(_) => return Err(super::surprised()),
        Err(ClientError::NotRunning(_)) if has_ledger(&state) => without_host(&args, context).await?,
        Err(error) => return Err(error.into()),
    };
    if context.common.json {
        return context.out.json(&reports);
    }
    let (removed, gone) = match args.dry_run {
        true => ("WOULD GO", "would go"),
        false => ("REMOVED", "removed"),
    };
    let rows: Vec<_> = reports.iter().map(row).collect();
    context
        .out
        .table(&["KIND", removed, "SIZE", "LEFT", "SIZE", "BOUND"], &rows)?;
    let all: u64 = reports.iter().map(|report| report.removed.bytes).sum();
    context.note(format_args!("{gone}: {}", size(all)));
    troubles(&reports, context)
}

async fn without_host(args: &Args, context: &Context) -> Result<Vec<Report>, CliError> {
    let (config, state) = context.config(&args.config)?;
    let bots: BTreeSet<String> = config.bots.iter().map(|bot| bot.name.clone()).collect();
    let collected = collect(&config.host(state), bots, args.dry_run).await;
    collected.map_err(|error| crate::control::StartError::from(error).into())
}

fn row(report: &Report) -> Vec<String> {
    vec![
        report.kind.name().to_owned(),
        report.removed.count.to_string(),
        size(report.removed.bytes),
        report.kept.count.to_string(),
        size(report.kept.bytes),
        bound(report),
    ]
}

/// How much of a kind is kept: `20.0 GiB, 14 days`.
pub fn bound(report: &Report) -> String {
    let bytes = report.bound.bytes.map(size);
    let age = report
        .bound
        .seconds
        .map(|seconds| format!("{} days", seconds / (24 * 3600)));
    let mut parts: Vec<_> = bytes.into_iter().chain(age).collect();
    if report.bound.bytes.is_some_and(|most| report.kept.bytes > most) {
        parts.push(format!("{} needed", size(report.needed.bytes)));
    }
    parts.join(", ")
}

/// What could not be removed, and why.
pub fn troubles(reports: &[Report], context: &mut Context) -> Result<(), CliError> {
    for report in reports {
        if let Some(why) = &report.trouble {
            let text = format!("trouble  {}: {}", report.kind.name(), printable(why));
            let text = context.out.tint(Tint::Bad, &text);
            context.out.line(text)?;
        }
    }
    Ok(())
}
