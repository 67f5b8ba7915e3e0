//! `shutdown`: stop the host.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::common::Context;
use super::error::CliError;
use crate::control::{Answer, ClientError, Request};

/// How long the host may take beside draining its bots.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nothing but the common options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Bots finish what they have in hand, within host.drain of the configuration (5 s). The rest is given
back, and done after the next start or by another host.

Examples:
  foundry-host shutdown"
)]
pub struct Args {}

/// Stop the host, and wait until it is gone.
pub async fn run(context: &mut Context) -> Result<(), CliError> {
    let client = context.client();
    let Answer::Status(status) = client.ask(Request::Status).await? else {
        return Err(super::surprised());
    };
    // By its handle, since its number may soon be somebody else's. A host in another container has none here.
    let process = Pid::from_raw(status.pid.cast_signed()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let patience = PATIENCE + Duration::from_secs(status.drain);
    client.ask(Request::Shutdown).await?;
    let gone = async {
        while !matches!(client.ask(Request::Status).await, Err(ClientError::NotRunning(_))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The socket is gone just before the process is, which still has the state directory.
        match process {
            Some(process) => tokio::task::spawn_blocking(move || await_end(&process, patience))
                .await
                .unwrap_or(true),
            None => true,
        }
    };
    match tokio::time::timeout(patience, gone).await {
        Ok(true) => {
            context.note("stopped");
            Ok(())
        }
        Ok(false) | Err(_) => Err(CliError::failed(format_args!(
            "the host is still stopping after {} s; see its log",
            patience.as_secs()
        ))),
    }
}

/// Whether the process ends in time. A process's descriptor is readable when it has ended (pidfd_open(2)).
fn await_end(process: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: patience.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}
