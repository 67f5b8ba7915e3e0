//! `shutdown`: stop the host.

use std::time::{Duration, Instant};

use super::common::Context;
use super::error::CliError;
use crate::control::{ClientError, Request};

/// How long the host may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nothing but the common options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The bots stop first; work in hand is given back and done after the next start, or by another host.

Examples:
  foundry-host shutdown"
)]
pub struct Args {}

/// Stop the host, and wait until it is gone.
pub async fn run(context: &mut Context) -> Result<(), CliError> {
    let client = context.client();
    client.ask(Request::Shutdown).await?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if matches!(client.ask(Request::Status).await, Err(ClientError::NotRunning(_))) {
            context.note("stopped");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(CliError::failed("the host is still stopping; see its log"))
}
