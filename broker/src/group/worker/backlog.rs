//! The backlog in the groups' thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Worker;
use crate::database::StoreError;
use crate::group::backlog::{Backlog, BacklogLimits, Exit, Gone};
use crate::group::steady::{SavedReading, SteadyClock, SteadyTime};
use crate::group::store::Store;
use crate::group::types::{BacklogId, BacklogStatus, EntryId};
use crate::message::{Message, Timestamp};
use crate::topic::{GroupKey, TopicFilter, TopicName};
use crate::topic_tree::FilterTree;

/// A backlog that is full loses a message with each that comes; the log has a line of it in this time.
const SAY: Duration = Duration::from_secs(60);

/// A wall clock that goes otherwise than the steady one by more than this, in milliseconds, was set.
const SET: u64 = 1000;

/// The backlog with its clock.
pub(super) struct Keeping {
    backlog: Backlog,
    clock: SteadyClock,
    /// What the clock stood at when it was last stored.
    saved: Option<SavedReading>,
    /// Messages that had no place, and those of each topic that no group has read in time, which the log has not told of
    /// yet.
    crowded: usize,
    unread: BTreeMap<TopicName, usize>,
    said: Option<Instant>,
}

impl Keeping {
    /// What the disk has, without topics that an earlier configuration kept. What else is not kept any more leaves it
    /// with the first [`Worker::trim_backlog`].
    pub(super) fn open(store: &Store, limits: BacklogLimits, topics: &[TopicName]) -> Result<Self, StoreError> {
        let saved = store.steady_clock()?;
        let mut backlog = Backlog::new(limits, topics.iter().cloned());
        for (id, kept) in store.backlog()? {
            if backlog.keeps(&kept.topic) {
                backlog.restore(id, kept);
            } else {
                store.let_go(id)?;
            }
        }
        Ok(Self {
            backlog,
            clock: SteadyClock::start(saved.as_ref()),
            saved,
            crowded: 0,
            unread: BTreeMap::new(),
            said: None,
        })
    }

    /// Messages on these topics concern the groups' thread even if no group matches.
    pub(super) fn add_filters(&self, filters: &mut FilterTree<usize>) {
        for topic in self.backlog.topics() {
            if let Ok(filter) = TopicFilter::new(topic.as_str()) {
                filters.insert(&filter, usize::MAX);
            }
        }
    }

    /// An admitted message is on disk, or is not.
    pub(super) fn settle(&mut self, kept: Option<(BacklogId, SteadyTime)>, written: bool) {
        match kept {
            Some((id, _)) if written => self.backlog.confirm(id),
            Some((id, _)) => self.backlog.cancel(id),
            None => {}
        }
    }

    /// What the clock stands at, if that is to be stored: ages are counted from it over the next start of the machine.
    /// It has to be newer than the last time at which somebody set the wall clock.
    fn unsaved_reading(&mut self) -> Option<SavedReading> {
        if self.backlog.is_empty() {
            return None;
        }
        let now = self.clock.saved();
        let saved = self.saved.as_ref();
        let is_true = saved.is_some_and(|saved| {
            let steady = now.reading.since(saved.reading);
            let wall = now.machine.wall.0.saturating_sub(saved.machine.wall.0);
            saved.machine.boot == now.machine.boot && wall.abs_diff(steady) <= SET
        });
        if is_true {
            return None;
        }
        self.saved = Some(now.clone());
        Some(now)
    }

    /// The reading to be stored was not.
    pub(super) fn not_saved(&mut self) {
        self.saved = None;
    }
}

impl Worker {
    /// Reserves a place in the backlog for a message that goes to disk with the next batch.
    pub(super) fn keep(&mut self, message: &Arc<Message>) -> Option<(BacklogId, SteadyTime)> {
        let now = self.keeping.clock.now();
        let id = self.keeping.backlog.admit(message, now)?;
        // In the same transaction: a message without the clock that it came by would be of no known age.
        if let Some(saved) = self.keeping.unsaved_reading() {
            self.gathering.clock = Some(saved);
        }
        Some((id, now))
    }

    /// The messages of the backlog that a group begins with, each with its number in the group. They come before all
    /// that is published from now on.
    pub(super) fn beginning_of(&mut self, key: &GroupKey, now: Timestamp) -> Vec<(BacklogId, EntryId)> {
        let Keeping { backlog, clock, .. } = &self.keeping;
        let begin = backlog.for_group(&key.filter, self.groups.room(), now, clock.now());
        begin
            .into_iter()
            .map(|id| {
                self.last_entry += 1;
                (id, EntryId(self.last_entry))
            })
            .collect()
    }

    /// Lets the backlog go of what it need not keep, and says so where it may be missed.
    pub(super) fn trim_backlog(&mut self, now: Timestamp) {
        let gone = self.keeping.backlog.trim(now, self.keeping.clock.now());
        self.say(&gone);
        self.gathering.let_go.extend(gone.iter().map(|gone| gone.id));
        if let Some(saved) = self.keeping.unsaved_reading() {
            self.gathering.clock = Some(saved);
        }
    }

    /// Counts what may be missed, and has the log say so once in a while.
    fn say(&mut self, gone: &[Gone]) {
        for Gone { topic, exit, .. } in gone {
            match exit {
                Exit::Crowded => self.keeping.crowded += 1,
                Exit::Aged if self.groups.readers(topic) == 0 => {
                    *self.keeping.unread.entry(topic.clone()).or_default() += 1;
                }
                Exit::Aged | Exit::Expired => {}
            }
        }
        if self.keeping.said.is_some_and(|said| said.elapsed() < SAY) {
            return;
        }
        let unread = std::mem::take(&mut self.keeping.unread);
        let crowded = std::mem::take(&mut self.keeping.crowded);
        if unread.is_empty() && crowded == 0 {
            return;
        }
        self.keeping.said = Some(Instant::now());
        let seconds = self.keeping.backlog.age() / 1000;
        for (topic, messages) in unread {
            tracing::warn!(%topic, messages, seconds, "no group has read these messages; the backlog keeps them no longer");
        }
        if crowded > 0 {
            tracing::warn!(
                messages = crowded,
                "the backlog is full: the oldest messages left it (messages.backlog-messages and messages.backlog-size)"
            );
        }
    }

    pub(super) fn backlog_status(&self) -> BacklogStatus {
        let Keeping { backlog, clock, .. } = &self.keeping;
        BacklogStatus {
            keep: backlog.age() / 1000,
            topics: backlog.status(clock.now(), |topic| self.groups.readers(topic)),
        }
    }
}
