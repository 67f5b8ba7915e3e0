//! `runs`: each commit's way through the pipeline.

mod list;
mod show;
mod wait;

use std::time::Duration;

use super::common::Context;
use super::error::CliError;
use super::load::duration;
use crate::capability::LogLine;
use crate::control::{Answer, Request, ShownRun};

/// Which runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  foundry-host runs
  foundry-host runs 3f2a91            one run: its chains, its events, its artifacts, why it failed
  git push && foundry-host runs --wait \"$(git rev-parse HEAD)\"
  foundry-host runs --json | jq -r '.[] | select(.status | endswith(\"failed\")) | .id'")]
pub struct Args {
    /// A run, or the beginning of its id; or a commit, for its newest run
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Wait for the end of the run, and show its events meanwhile: exit code 0 when all that began is published, 1 as soon as
    /// something failed, or when the time has run out
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
        Some(id) if args.wait => wait::wait(id, args.timeout, context).await,
        Some(id) => {
            let (run, log) = ask(id, context).await?;
            show::show(&run, &log, context)
        }
        None => list::newest(args.limit, context).await,
    }
}

/// One run, and the end of its log if it failed.
async fn ask(id: String, context: &Context) -> Result<(ShownRun, Vec<LogLine>), CliError> {
    match context.client().ask(Request::Run { id }).await? {
        Answer::Run { run, log } => Ok((*run, log)),
        _ => Err(super::surprised()),
    }
}
