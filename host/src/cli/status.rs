//! `status`: whether a host is running, and how it is.

use super::common::Context;
use super::error::CliError;
use crate::control::{Answer, Request};

/// Nothing but the common options.
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 3 if no host is running.

Examples:
  foundry-host status
  foundry-host status --json | jq -r .broker")]
pub struct Args {}

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
    context.out.line(format_args!("broker   {}", status.broker))?;
    context.out.line(format_args!("topics   {}/…", status.prefix))?;
    context.out.line(format_args!("state    {}", state.display()))
}
