//! The words of a group: ids, bounds, deliveries, effects.

use std::sync::Arc;

use crate::message::{Message, QoS, Timestamp};
use crate::topic::GroupKey;

/// A group's number, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub i64);

/// A queued message's number, as stored. Later messages have higher ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub i64);

/// A backlog message's number, as stored. Later messages have higher ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BacklogId(pub i64);

/// A member: one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// For so many of the messages that a member held when it died, those that it had for longest, the attempt counts. It was given more than it looked at.
pub(super) const SUSPECTS: usize = 1;

/// Bounds of every group.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// Messages that a group holds, waiting and leased together.
    pub messages: usize,
    /// Bytes of topics, payloads and properties that a group holds.
    pub bytes: usize,
    /// Attempts to deliver a message before it becomes a dead letter.
    pub deliveries: u32,
    /// Milliseconds before a message that was refused is tried again; doubled with every attempt.
    pub retry: u64,
    /// The longest of these delays.
    pub retry_most: u64,
    /// Milliseconds that a member may hold a message unacknowledged; `None` is as long as it is connected.
    pub lease: Option<u64>,
}

impl GroupLimits {
    /// When a message that was refused at its `attempts`th attempt is tried again.
    pub(super) fn retry_at(&self, attempts: u32, now: Timestamp) -> Timestamp {
        let doublings = attempts.saturating_sub(1).min(32);
        let delay = self.retry.saturating_mul(1 << doublings).min(self.retry_most);
        Timestamp(now.0.saturating_add(delay))
    }
}

/// A connection that becomes a member.
#[derive(Debug, Clone, Copy)]
pub struct Joining {
    /// The connection.
    pub member: MemberId,
    /// How many messages it can hold over all of its groups.
    pub capacity: usize,
    /// Highest QoS of its deliveries.
    pub qos: QoS,
    /// Its subscription identifier.
    pub subscription: Option<u32>,
}

/// How a member goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It said goodbye: what it held was not tried, and the attempt does not count.
    Orderly,
    /// Its connection ended: the message that it had for longest may be the reason, and for that one the attempt counts.
    Died,
}

/// How a member refuses a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Try again after a while, here or elsewhere.
    Later,
    /// It will never be taken: it is a dead letter at once.
    Never,
}

/// Why a message is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It was tried too often.
    Attempts,
    /// A member said that it will never be taken.
    Refused,
}

impl Death {
    /// The reason in a word, as stored and told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Refused => "refused",
        }
    }
}

/// A message on its way to a member.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What to acknowledge with.
    pub entry: EntryId,
    /// The message.
    pub message: Arc<Message>,
    /// QoS to deliver with.
    pub qos: QoS,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether a member may have had it before, in this life of the broker or in one that ended.
    pub again: bool,
    /// The member's subscription identifier.
    pub subscription: Option<u32>,
}

/// What a decision means outside of the queue.
#[derive(Debug)]
pub enum Effect {
    /// Send it.
    Deliver(MemberId, Delivery),
    /// Delete it from disk.
    Remove(EntryId),
    /// Remember how often it was tried.
    Attempts(EntryId, u32),
    /// Set it aside on disk, and publish it on the group's dead-letter topic.
    Dead {
        /// Its group.
        group: GroupId,
        /// Its number.
        entry: EntryId,
        /// The message.
        message: Arc<Message>,
        /// How often it was tried.
        attempts: u32,
        /// Why.
        death: Death,
    },
}

/// A group refused a message because it is full.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group {group} is full with {messages} messages of {bytes} bytes")]
pub struct Full {
    /// The group.
    pub group: GroupKey,
    /// Messages that it holds.
    pub messages: usize,
    /// Bytes that it holds.
    pub bytes: usize,
}

/// A group as [`crate::Operator::groups`] lists it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GroupStatus {
    /// GROUP of `$share/GROUP/FILTER`.
    pub name: String,
    /// FILTER of `$share/GROUP/FILTER`.
    pub filter: String,
    /// Connected members.
    pub members: usize,
    /// Messages that wait for a member, or for another attempt.
    pub waiting: usize,
    /// Messages that a member holds unacknowledged.
    pub leased: usize,
    /// Dead letters.
    pub dead: usize,
    /// Bytes of the messages that wait or are held.
    pub bytes: usize,
    /// When the oldest of them came, in milliseconds since 1970.
    pub oldest: Option<u64>,
}

/// What is kept of a topic for groups that are created later.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BacklogTopic {
    /// The topic.
    pub topic: String,
    /// Groups whose filters match it.
    pub readers: usize,
    /// Messages that are kept.
    pub messages: usize,
    /// Bytes of these.
    pub bytes: usize,
    /// Seconds since the oldest of them came.
    pub age: Option<u64>,
}

/// The backlog as [`crate::Operator::backlog`] tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BacklogStatus {
    /// For how many seconds messages are kept; 0 if there is no backlog.
    pub keep: u64,
    /// The topics that have one.
    pub topics: Vec<BacklogTopic>,
}
