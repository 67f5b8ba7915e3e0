//! What an operator can see and do.

use crate::group::{BacklogStatus, DeadLetter, EngineHandle, GroupStatus};
use crate::topic::{GroupKey, Subscribable};

/// A handle for operators; groups are named by their filters, `$share/GROUP/FILTER`.
#[derive(Debug, Clone)]
pub struct Operator {
    groups: EngineHandle,
}

impl Operator {
    pub(crate) fn new(groups: EngineHandle) -> Self {
        Self { groups }
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

    /// The oldest dead letters of a group, at most `limit`.
    pub async fn dead_letters(&self, filter: &str, limit: usize) -> Vec<DeadLetter> {
        match key(filter) {
            Some(key) => self.groups.dead_letters(key, limit).await,
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
