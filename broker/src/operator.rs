//! What an operator can see and do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::access::Access;
use crate::connection::Context;
use crate::error::Error;
use crate::group::{BacklogStatus, DeadLetter, EngineHandle, GroupStatus};
use crate::listen::Certificates;
use crate::topic::{GroupKey, Subscribable};

/// A handle for operators; groups are named by their filters, `$share/GROUP/FILTER`.
#[derive(Debug, Clone)]
pub struct Operator {
    groups: EngineHandle,
    context: Arc<Context>,
    certificates: Option<Arc<Certificates>>,
    /// An address at which clients of other machines can connect, if there is one.
    exposed: Option<SocketAddr>,
}

impl Operator {
    pub(crate) fn new(
        context: &Arc<Context>,
        certificates: Option<&Arc<Certificates>>,
        exposed: Option<SocketAddr>,
    ) -> Self {
        Self {
            groups: context.groups.clone(),
            context: Arc::clone(context),
            certificates: certificates.cloned(),
            exposed,
        }
    }

    /// Puts other rules of access in the place of those in force. Clients of whom they do not say the same as those before are
    /// disconnected; what they held of groups goes to others.
    ///
    /// # Errors
    /// [`Error::Access`] or [`Error::Unprotected`] if the rules can't be used. Those before stay in force then.
    pub fn replace_access(&self, access: Access) -> Result<(), Error> {
        if let Some(address) = self.exposed.filter(|_| access.users.is_empty()) {
            return Err(Error::Unprotected { address });
        }
        self.context.gate.replace(access)
    }

    /// Reads the files of `broker.tls` again, for connections from now on. Returns them; none without TLS.
    ///
    /// # Errors
    /// [`Error::Tls`] if they can't be used. What was read before stays in use then.
    pub fn read_certificates_again(&self) -> Result<Vec<PathBuf>, Error> {
        let Some(certificates) = &self.certificates else {
            return Ok(Vec::new());
        };
        certificates.read_again()?;
        Ok(certificates.files())
    }

    /// The files of `broker.tls`.
    pub fn certificate_files(&self) -> Vec<PathBuf> {
        self.certificates
            .iter()
            .flat_map(|certificates| certificates.files())
            .collect()
    }

    /// Every group's numbers.
    pub async fn groups(&self) -> Vec<GroupStatus> {
        self.groups.status().await
    }

    /// What is kept of some topics for groups that are created later.
    pub async fn backlog(&self) -> BacklogStatus {
        self.groups.backlog().await
    }

    /// Makes a group before it has members, if there is none yet: its messages wait for them. `false` when the filter is not
    /// that of a group, or there are too many.
    pub async fn create_group(&self, filter: &str) -> bool {
        match key(filter) {
            Some(key) => self.groups.create(key).await,
            None => false,
        }
    }

    /// Removes a group with all messages in it; `false` when there is none. Connected members are members no more.
    pub async fn remove_group(&self, filter: &str) -> bool {
        match key(filter) {
            Some(key) => self.groups.remove(key).await,
            None => false,
        }
    }

    /// The oldest dead letters of a group, at most `limit`, with their payloads.
    pub async fn dead_letters(&self, filter: &str, limit: usize) -> Vec<DeadLetter> {
        self.dead_letters_after(filter, None, limit).await
    }

    /// The same of those whose `id` is greater than `after`.
    pub async fn dead_letters_after(&self, filter: &str, after: Option<i64>, limit: usize) -> Vec<DeadLetter> {
        match key(filter) {
            Some(key) => self.groups.dead_letters(key, after, limit).await,
            None => Vec::new(),
        }
    }

    /// Puts dead letters of a group back into its queue, those with `ids` or all; says how many there were.
    pub async fn requeue_dead_letters(&self, filter: &str, ids: Option<Vec<i64>>) -> usize {
        match key(filter) {
            Some(key) => self.groups.requeue(key, ids).await,
            None => 0,
        }
    }

    /// Deletes dead letters of a group, those with `ids` or all; says how many there were.
    pub async fn discard_dead_letters(&self, filter: &str, ids: Option<Vec<i64>>) -> usize {
        match key(filter) {
            Some(key) => self.groups.discard(key, ids).await,
            None => 0,
        }
    }
}

fn key(filter: &str) -> Option<GroupKey> {
    match Subscribable::parse(filter) {
        Ok(Subscribable::Shared(key)) => Some(key),
        _ => None,
    }
}
