//! Who may talk to which server now: so many conversations at the same time, and so many with one server. More would be
//! refused: sshd drops connections when ten wait for their login, git daemon serves 32.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::GitError;
use super::location::Location;

/// Servers that nobody talks to are forgotten when there are more than this.
const MAX_SERVERS: usize = 1000;

/// Turns at talking to servers.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    per_server: usize,
    servers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A turn; it ends when dropped.
pub(super) struct Turn {
    _one_of_all: OwnedSemaphorePermit,
    _one_of_server: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(super) fn new(all: usize, per_server: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.max(1))),
            per_server: per_server.max(1),
            servers: Mutex::default(),
        }
    }

    /// Wait for a turn. A server whose conversations all hang is not waited for longer than `patience`; with many
    /// repositories on it, the last would wait for all others to time out.
    pub(super) async fn take(&self, location: &Location, patience: Duration) -> Result<Turn, GitError> {
        let one_of_server = match self.server(location) {
            None => None,
            Some(server) => {
                let permit = tokio::time::timeout(patience, server.acquire_owned()).await;
                let permit = permit.map_err(|_| GitError::timed_out(location, patience))?;
                Some(permit.map_err(|error| GitError::unavailable(location, error))?)
            }
        };
        let one_of_all = Arc::clone(&self.all).acquire_owned().await;
        Ok(Turn {
            _one_of_all: one_of_all.map_err(|error| GitError::unavailable(location, error))?,
            _one_of_server: one_of_server,
        })
    }

    fn server(&self, location: &Location) -> Option<Arc<Semaphore>> {
        let name = location.server()?;
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() > MAX_SERVERS {
            servers.retain(|_, server| Arc::strong_count(server) > 1 || server.available_permits() < self.per_server);
        }
        let server = servers
            .entry(name)
            .or_insert_with(|| Arc::new(Semaphore::new(self.per_server)));
        Some(Arc::clone(server))
    }
}
