//! What a person at the host's console can see of the messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};

use super::host::Host;
use crate::bus::{ConnectionOptions, ConsumerState, Sighting, client_id_of_part, tap};

/// Onlookers need client ids of their own.
static ONLOOKERS: AtomicU64 = AtomicU64::new(0);

/// Messages that may be unacknowledged at an onlooker.
const RECEIVE_MAXIMUM: u16 = 256;

impl Host {
    /// Look on at the messages whose topics match a filter, without prefix, until the receiver is dropped.
    #[must_use]
    pub fn watch(&self, filter: &str) -> (mpsc::Receiver<Sighting>, watch::Receiver<ConsumerState>) {
        let number = ONLOOKERS.fetch_add(1, Ordering::Relaxed);
        let connection = &self.inner.connection;
        let options = ConnectionOptions {
            client_id: client_id_of_part(&self.inner.link.host, &format!("onlooker-{number}")),
            persistent: false,
            receive_maximum: RECEIVE_MAXIMUM,
            ..connection.clone()
        };
        let link = &self.inner.link;
        tap(
            options,
            filter,
            Arc::clone(&link.verifier),
            self.inner.cancel.child_token(),
        )
    }
}
