//! How a host comes to its name, and how it keeps it.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::HostError;
use crate::bus::{Arrival, Contest, Inquiry};

/// Pause between two times that others are asked about the name.
const PAUSE: Duration = Duration::from_secs(10);

/// Make sure that nobody else runs under the host's name, before it opens any session.
///
/// # Errors
/// [`HostError`], if somebody does.
pub(super) async fn arrive(inquiry: &Inquiry, take_over: bool, state: &Path) -> Result<(), HostError> {
    let host = inquiry.own.host.clone();
    match inquiry.arrive(take_over).await {
        Arrival::Free => {}
        Arrival::Gone => tracing::warn!(host, "took the name over from a host that was online and is gone"),
        Arrival::Silent => tracing::warn!(
            host,
            "took the name over from a host that seems to be online and does not answer"
        ),
        Arrival::Unasked => tracing::info!(host, "started without asking whether another host has the name"),
        Arrival::Held { copy: true, machine } => {
            let identity = state.join("identity.json");
            return Err(HostError::Copy {
                host,
                machine,
                identity,
            });
        }
        Arrival::Held { copy: false, machine } => return Err(HostError::NameTaken { host, machine }),
        Arrival::Claimed(why) => return Err(HostError::NameClaimed { host, why }),
    }
    Ok(())
}

/// See to it that of two hosts of one name one ends, as long as this one runs. Tells why, if it is this one.
pub(super) async fn defend(inquiry: Inquiry, lost: watch::Sender<Option<String>>, cancel: CancellationToken) {
    let mut suspicions = inquiry.connection.take_overs.suspicions();
    let defend = async {
        while suspicions.changed().await.is_ok() {
            if let Some(why) = contest(&inquiry).await {
                lost.send_replace(Some(why));
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = defend => {}
        () = cancel.cancelled() => {}
    }
}

/// Why this host has to end; none if it stays.
async fn contest(inquiry: &Inquiry) -> Option<String> {
    let host = &inquiry.own.host;
    match inquiry.contest().await {
        Contest::Lost(machine) => Some(format!(
            "another host runs as {host}, on {machine}, and takes the sessions of this one; that one stays, since the number of \
             its start is smaller (stop one of them; to have both, give one another host.name in foundry.toml, and remove the \
             identity.json of its state directory if it is a copy)"
        )),
        Contest::Won(machine) => {
            tracing::warn!(host, machine, "another host had this one's name; that one ends");
            None
        }
        Contest::Alone => {
            tracing::warn!(
                host,
                "somebody shows himself under this host's name, and is no host that answers"
            );
            None
        }
    }
}
