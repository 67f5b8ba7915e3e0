//! What the queue keeps of a group and its messages.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::Property;

use super::members::Membership;
use super::types::{EntryId, MemberId};
use crate::message::{Message, Timestamp};
use crate::topic::GroupKey;

/// Orders the waiting: higher priority first, then older first.
pub(super) type Place = (Reverse<u8>, EntryId);

/// A queued message.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    pub(super) attempts: u32,
    /// Whether a member may have had it, counted as an attempt or not.
    pub(super) again: bool,
    /// When it came.
    pub(super) since: Timestamp,
}

impl Entry {
    pub(super) fn place(&self, id: EntryId) -> Place {
        (Reverse(priority(&self.message)), id)
    }
}

/// A message that a member holds.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) entry: Entry,
    pub(super) overdue: Option<Timestamp>,
}

/// A group. Each of its messages is in exactly one of `waiting`, `delayed` and `leased`.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) waiting: BTreeMap<Place, Entry>,
    /// Refused, and not to be tried again yet.
    pub(super) delayed: HashMap<EntryId, Entry>,
    pub(super) leased: HashMap<EntryId, Leased>,
    pub(super) members: BTreeMap<MemberId, Membership>,
    /// Messages and bytes that are in the group or admitted to it.
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) dead: usize,
    /// Milliseconds that a member may hold a message unacknowledged.
    pub(super) lease: Option<u64>,
    /// For how many milliseconds nobody has been a member; `None` while somebody is.
    pub(super) deserted: Option<u64>,
}

impl Group {
    pub(super) fn new(key: GroupKey, dead: usize, lease: Option<u64>) -> Self {
        Self {
            key,
            waiting: BTreeMap::new(),
            delayed: HashMap::new(),
            leased: HashMap::new(),
            members: BTreeMap::new(),
            messages: 0,
            bytes: 0,
            dead,
            lease,
            deserted: Some(0),
        }
    }
}

impl Group {
    /// When the oldest message came that is not settled yet.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let delayed = self.delayed.values();
        let leased = self.leased.values().map(|leased| &leased.entry);
        let entries = self.waiting.values().chain(delayed).chain(leased);
        entries.map(|entry| entry.since).min()
    }
}

/// Something that happens to a message when its time comes, unless it was overtaken by events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// It is not worth delivering any more.
    Expire(Place),
    /// It is tried again.
    Retry(EntryId),
    /// The member has held it for too long.
    Overdue(EntryId, MemberId),
}

/// The priority of a message: a user property, 0 to 9; 4 without one.
fn priority(message: &Message) -> u8 {
    let named = |property: &Property| match property {
        Property::UserProperty(pair) if pair.key() == crate::PRIORITY_PROPERTY => pair.val().parse::<u8>().ok(),
        _ => None,
    };
    message
        .properties
        .iter()
        .find_map(named)
        .map_or(4, |priority| priority.min(9))
}
