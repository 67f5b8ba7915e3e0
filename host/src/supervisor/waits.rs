//! Which hosts a bot's messages wait for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bus::Awaited;

/// The messages of a bot that wait for other hosts.
#[derive(Default)]
pub(super) struct Waits {
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    last: u64,
    awaited: BTreeMap<u64, Awaited>,
}

/// A message that waits, until this is dropped.
pub(super) struct Wait<'a> {
    waits: &'a Waits,
    number: u64,
}

impl Waits {
    /// A message begins to wait.
    pub(super) fn begin(&self, awaited: Awaited) -> Wait<'_> {
        let mut all = self.all();
        all.last += 1;
        let number = all.last;
        all.awaited.insert(number, awaited);
        Wait { waits: self, number }
    }

    /// What the operator reads; none if no message waits.
    pub(super) fn described(&self) -> Option<String> {
        let all = self.all();
        let mut hosts: Vec<String> = all.awaited.values().flat_map(Awaited::hosts).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let messages = match all.awaited.len() {
            0 => return None,
            1 => "a message".to_owned(),
            number => format!("{number} messages"),
        };
        (!hosts.is_empty()).then(|| format!("waits for {}, which may have settled {messages}", hosts.join(", ")))
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // Nothing panics while it holds this.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waits.all().awaited.remove(&self.number);
    }
}
