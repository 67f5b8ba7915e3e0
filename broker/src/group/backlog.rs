//! What is kept of some topics for groups that are created later.
//!
//! A group collects from the moment on at which it is created. Of the topics that are named here the broker keeps the
//! newest messages as well, whoever has had them, so that a group which comes a little later begins with them. Kept is
//! what no bound excludes: an age, a count, and bytes; the oldest messages go first. What a group has got is its own
//! from then on: nothing that happens here takes it away.
//!
//! Pure and synchronous. As with the groups' queues, a message is admitted before it goes to disk and confirmed or
//! cancelled after; a group that is created in between is given it, and whoever reads the disk after that write finds
//! out what became of it.

use std::collections::{BTreeMap, BTreeSet};

use super::steady::SteadyTime;
use super::types::{BacklogId, BacklogTopic};
use crate::message::{Message, Timestamp};
use crate::topic::{TopicFilter, TopicName};

/// Bounds of the backlog, over all of its topics together. One of 0 keeps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogLimits {
    /// Milliseconds for which a message is kept.
    pub age: u64,
    /// Messages.
    pub messages: usize,
    /// Bytes of their topics, payloads and properties.
    pub bytes: usize,
}

/// What is known of a message without its payload.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) topic: TopicName,
    pub(super) size: usize,
    /// When it came.
    pub(super) came: SteadyTime,
    /// When its publisher does not want it delivered any more.
    pub(super) expires: Option<Timestamp>,
}

impl Kept {
    pub(super) fn of(message: &Message, came: SteadyTime) -> Self {
        Self {
            topic: message.topic.clone(),
            size: message.size(),
            came,
            expires: message.expires,
        }
    }
}

/// Why a message left the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It is older than messages are kept.
    Aged,
    /// Newer ones needed its place.
    Crowded,
    /// Its publisher's expiry.
    Expired,
}

/// A message that left the backlog, to be deleted from disk.
#[derive(Debug, Clone)]
pub(super) struct Gone {
    pub(super) id: BacklogId,
    pub(super) topic: TopicName,
    pub(super) exit: Exit,
}

/// The backlog of all topics that have one.
#[derive(Debug)]
pub(super) struct Backlog {
    limits: BacklogLimits,
    topics: BTreeSet<TopicName>,
    kept: BTreeMap<BacklogId, Kept>,
    /// On their way to disk.
    pending: BTreeMap<BacklogId, Kept>,
    /// Bytes of `kept`.
    bytes: usize,
    expiring: BTreeSet<(Timestamp, BacklogId)>,
    last: i64,
}

impl Backlog {
    /// An empty backlog of these topics.
    pub(super) fn new(limits: BacklogLimits, topics: impl IntoIterator<Item = TopicName>) -> Self {
        let off = limits.age == 0 || limits.messages == 0 || limits.bytes == 0;
        Self {
            limits,
            topics: topics.into_iter().filter(|_| !off).collect(),
            kept: BTreeMap::new(),
            pending: BTreeMap::new(),
            bytes: 0,
            expiring: BTreeSet::new(),
            last: 0,
        }
    }

    /// Whether messages on a topic are kept.
    pub(super) fn keeps(&self, topic: &TopicName) -> bool {
        self.topics.contains(topic)
    }

    /// The topics that have a backlog.
    pub(super) fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.iter()
    }

    /// For how many milliseconds messages are kept; 0 without topics.
    pub(super) fn age(&self) -> u64 {
        if self.topics.is_empty() { 0 } else { self.limits.age }
    }

    /// Whether nothing is kept at present.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.pending.is_empty()
    }

    /// Puts a stored message back at start, oldest first. [`Backlog::trim`] comes after the last.
    pub(super) fn restore(&mut self, id: BacklogId, kept: Kept) {
        self.last = self.last.max(id.0);
        self.keep(id, kept);
    }

    fn keep(&mut self, id: BacklogId, kept: Kept) {
        self.bytes = self.bytes.saturating_add(kept.size);
        if let Some(expires) = kept.expires {
            self.expiring.insert((expires, id));
        }
        self.kept.insert(id, kept);
    }

    fn take(&mut self, id: BacklogId) -> Option<Kept> {
        let kept = self.kept.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(kept.size);
        if let Some(expires) = kept.expires {
            self.expiring.remove(&(expires, id));
        }
        Some(kept)
    }

    /// A message is about to be written: its number if it belongs into the backlog.
    pub(super) fn admit(&mut self, message: &Message, now: SteadyTime) -> Option<BacklogId> {
        if !self.keeps(&message.topic) || message.size() > self.limits.bytes {
            return None;
        }
        self.last += 1;
        let id = BacklogId(self.last);
        self.pending.insert(id, Kept::of(message, now));
        Some(id)
    }

    /// An admitted message is on disk.
    pub(super) fn confirm(&mut self, id: BacklogId) {
        if let Some(kept) = self.pending.remove(&id) {
            self.keep(id, kept);
        }
    }

    /// An admitted message could not be written.
    pub(super) fn cancel(&mut self, id: BacklogId) {
        self.pending.remove(&id);
    }

    /// Whether a group that is created now is given the message.
    fn is_current(&self, kept: &Kept, wall: Timestamp, now: SteadyTime) -> bool {
        now.since(kept.came) < self.limits.age && kept.expires.is_none_or(|expires| expires > wall)
    }

    /// The messages that a new group begins with, oldest first: those that are kept and match, as far as the newest of
    /// them have room in it.
    pub(super) fn for_group(
        &self,
        filter: &TopicFilter,
        room: (usize, usize),
        wall: Timestamp,
        now: SteadyTime,
    ) -> Vec<BacklogId> {
        let (messages, bytes) = room;
        let matching = |kept: &Kept| filter.matches(&kept.topic) && self.is_current(kept, wall, now);
        // What is pending was admitted after all that is kept, since the disk is written to in order.
        let newest_first = self.pending.iter().rev().chain(self.kept.iter().rev());
        let mut left = bytes;
        let mut found: Vec<BacklogId> = newest_first
            .filter(|(_, kept)| matching(kept))
            .take(messages)
            .map_while(|(id, kept)| {
                left = left.checked_sub(kept.size)?;
                Some(*id)
            })
            .collect();
        found.reverse();
        found
    }

    /// Lets go of what is too old, has expired, or is too much.
    pub(super) fn trim(&mut self, wall: Timestamp, now: SteadyTime) -> Vec<Gone> {
        let mut gone = Vec::new();
        let mut leave = |id: BacklogId, kept: Option<Kept>, exit: Exit| {
            gone.extend(kept.map(|Kept { topic, .. }| Gone { id, topic, exit }));
        };
        while let Some((id, kept)) = self.kept.first_key_value() {
            let exit = if now.since(kept.came) >= self.limits.age {
                Exit::Aged
            } else if self.kept.len() > self.limits.messages || self.bytes > self.limits.bytes {
                Exit::Crowded
            } else {
                break;
            };
            let id = *id;
            leave(id, self.take(id), exit);
        }
        while let Some((_, id)) = self.expiring.first().copied().filter(|(expires, _)| *expires <= wall) {
            leave(id, self.take(id), Exit::Expired);
        }
        gone
    }

    /// Every topic's numbers; `readers` counts the groups of a topic.
    pub(super) fn status(&self, now: SteadyTime, readers: impl Fn(&TopicName) -> usize) -> Vec<BacklogTopic> {
        let mut topics: BTreeMap<&TopicName, BacklogTopic> = self
            .topics
            .iter()
            .map(|topic| {
                let status = BacklogTopic {
                    topic: topic.to_string(),
                    readers: readers(topic),
                    messages: 0,
                    bytes: 0,
                    age: None,
                };
                (topic, status)
            })
            .collect();
        for kept in self.kept.values() {
            if let Some(status) = topics.get_mut(&kept.topic) {
                status.messages += 1;
                status.bytes += kept.size;
                status.age.get_or_insert(now.since(kept.came) / 1000);
            }
        }
        topics.into_values().collect()
    }
}
