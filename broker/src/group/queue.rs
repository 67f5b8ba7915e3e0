//! The decisions: which message goes to whom, when again, and when no more.
//!
//! Pure and synchronous. Publishing is in two steps so that the disk can come between them: [`Groups::admit`]
//! checks the bounds and reserves room, [`Groups::enqueue`] makes the message deliverable once it is stored, and
//! [`Groups::cancel`] gives the room back when it could not be. Everything else happens at once; what it means for
//! disk and connections is returned as [`Effect`]s.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::members::{Members, Membership};
use crate::message::{Message, QoS, Timestamp};
use crate::topic::{GroupKey, TopicName};

/// A group's number, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub i64);

/// A queued message's number, as stored. Later messages have higher ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub i64);

/// A member: one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// Bounds of every group.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// Messages that a group holds, waiting and leased together.
    pub messages: usize,
    /// Bytes of topics, payloads and properties that a group holds.
    pub bytes: usize,
    /// Attempts to deliver a message before it becomes a dead letter.
    pub deliveries: u32,
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
    /// Its connection ended: the message may be the reason, and the attempt counts.
    Died,
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
    Dead(GroupId, EntryId, Arc<Message>, u32),
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

/// A group as `groups()` lists it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GroupStatus {
    /// GROUP of `$share/GROUP/FILTER`.
    pub name: String,
    /// FILTER of `$share/GROUP/FILTER`.
    pub filter: String,
    /// Connected members.
    pub members: usize,
    /// Messages that wait for a member.
    pub waiting: usize,
    /// Messages that a member holds unacknowledged.
    pub leased: usize,
    /// Dead letters.
    pub dead: usize,
}

/// Orders the waiting: higher priority first, then older first.
type Place = (Reverse<u8>, EntryId);

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    attempts: u32,
}

impl Entry {
    fn place(&self, id: EntryId) -> Place {
        (Reverse(priority(&self.message)), id)
    }
}

#[derive(Debug)]
struct Group {
    key: GroupKey,
    waiting: BTreeMap<Place, Entry>,
    leased: HashMap<EntryId, Entry>,
    members: BTreeMap<MemberId, Membership>,
    /// Messages and bytes that are waiting, leased or admitted.
    messages: usize,
    bytes: usize,
    dead: usize,
    /// Since when nobody is a member; `None` while somebody is.
    deserted: Option<Timestamp>,
}

/// All groups.
#[derive(Debug)]
pub struct Groups {
    limits: GroupLimits,
    groups: BTreeMap<GroupId, Group>,
    by_key: HashMap<GroupKey, GroupId>,
    members: Members,
    /// Messages that can expire, by when.
    expiring: BTreeSet<(Timestamp, GroupId, Place)>,
}

impl Groups {
    /// No groups yet.
    pub fn new(limits: GroupLimits) -> Self {
        Self {
            limits,
            groups: BTreeMap::new(),
            by_key: HashMap::new(),
            members: Members::default(),
            expiring: BTreeSet::new(),
        }
    }

    /// The group with this key, if there is one.
    pub fn find(&self, key: &GroupKey) -> Option<GroupId> {
        self.by_key.get(key).copied()
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &GroupKey> {
        self.by_key.keys()
    }

    /// Opens a group under an id that the store gave, with its count of dead letters.
    pub fn open(&mut self, id: GroupId, key: GroupKey, dead: usize, now: Timestamp) {
        self.by_key.insert(key.clone(), id);
        self.groups.entry(id).or_insert_with(|| Group {
            key,
            waiting: BTreeMap::new(),
            leased: HashMap::new(),
            members: BTreeMap::new(),
            messages: 0,
            bytes: 0,
            dead,
            deserted: Some(now),
        });
    }

    /// Puts a stored message back into its queue, at start.
    pub fn restore(&mut self, group: GroupId, id: EntryId, message: Arc<Message>, attempts: u32) {
        let Some(queue) = self.groups.get_mut(&group) else {
            return;
        };
        queue.messages += 1;
        queue.bytes += message.size();
        let entry = Entry { message, attempts };
        if let Some(expires) = entry.message.expires {
            self.expiring.insert((expires, group, entry.place(id)));
        }
        queue.waiting.insert(entry.place(id), entry);
    }

    /// Removes a group with everything in it; the caller deletes it from disk.
    pub fn remove(&mut self, id: GroupId) -> Option<GroupKey> {
        let group = self.groups.remove(&id)?;
        self.by_key.remove(&group.key);
        self.members.forget(id);
        self.expiring.retain(|(_, group, _)| *group != id);
        Some(group.key)
    }

    /// Groups that nobody has been a member of since `before`.
    pub fn deserted(&self, before: Timestamp) -> Vec<GroupId> {
        let left = |group: &Group| group.deserted.is_some_and(|since| since <= before);
        self.groups
            .iter()
            .filter(|(_, group)| left(group))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Checks that every group that matches has room for `message`, and reserves it. All or nothing.
    pub fn admit(&mut self, topic: &TopicName, size: usize) -> Result<Vec<GroupId>, Full> {
        let matching: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, group)| group.key.filter.matches(topic))
            .map(|(id, _)| *id)
            .collect();
        for id in &matching {
            let Some(group) = self.groups.get(id) else {
                continue;
            };
            if group.messages >= self.limits.messages || group.bytes.saturating_add(size) > self.limits.bytes {
                return Err(Full {
                    group: group.key.clone(),
                    messages: group.messages,
                    bytes: group.bytes,
                });
            }
        }
        for id in &matching {
            if let Some(group) = self.groups.get_mut(id) {
                group.messages += 1;
                group.bytes += size;
            }
        }
        Ok(matching)
    }

    /// Gives back the room of an admitted message that could not be stored.
    pub fn cancel(&mut self, group: GroupId, size: usize) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.messages = group.messages.saturating_sub(1);
            group.bytes = group.bytes.saturating_sub(size);
        }
    }

    /// Makes an admitted and stored message deliverable.
    pub fn enqueue(
        &mut self,
        group: GroupId,
        id: EntryId,
        message: Arc<Message>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(queue) = self.groups.get_mut(&group) else {
            // The group was removed in between; its row must not come back at the next start.
            effects.push(Effect::Remove(id));
            return;
        };
        let entry = Entry { message, attempts: 0 };
        if let Some(expires) = entry.message.expires {
            self.expiring.insert((expires, group, entry.place(id)));
        }
        queue.waiting.insert(entry.place(id), entry);
        self.dispatch(group, now, effects);
    }

    /// Makes a connection a member of `group`.
    pub fn join(&mut self, group: GroupId, joining: Joining, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(queue) = self.groups.get_mut(&group) else {
            return;
        };
        let Joining {
            member,
            capacity,
            qos,
            subscription,
        } = joining;
        queue.members.insert(member, Membership { qos, subscription });
        queue.deserted = None;
        self.members.join(member, group, capacity);
        self.dispatch(group, now, effects);
    }

    /// Ends a membership; says whether there was one. What the member holds stays with it until it acknowledges
    /// or goes.
    pub fn quit(&mut self, group: GroupId, member: MemberId, now: Timestamp) -> bool {
        let Some(queue) = self.groups.get_mut(&group) else {
            return false;
        };
        let was_member = queue.members.remove(&member).is_some();
        if queue.members.is_empty() && queue.deserted.is_none() {
            queue.deserted = Some(now);
        }
        self.members.quit(member, group);
        was_member
    }

    /// The member is done with a message. `false` when it does not hold it.
    pub fn acknowledge(&mut self, member: MemberId, id: EntryId, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        let Some(group) = self.members.take_back(member, id) else {
            return false;
        };
        if let Some(entry) = self.groups.get_mut(&group).and_then(|queue| queue.leased.remove(&id)) {
            self.discard(group, id, &entry);
            effects.push(Effect::Remove(id));
        }
        self.dispatch_for(member, now, effects);
        true
    }

    /// The member refuses a message: it goes back and counts as an attempt.
    pub fn refuse(&mut self, member: MemberId, id: EntryId, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        let Some(group) = self.members.take_back(member, id) else {
            return false;
        };
        self.give_back(group, id, Leaving::Died, effects);
        self.dispatch(group, now, effects);
        self.dispatch_for(member, now, effects);
        true
    }

    /// The member's connection is gone: what it held goes to others at once.
    pub fn leave(&mut self, member: MemberId, how: Leaving, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(gone) = self.members.remove(member) else {
            return;
        };
        for group in &gone.groups {
            self.quit(*group, member, now);
        }
        let mut touched = BTreeSet::new();
        for (id, group) in gone.held {
            self.give_back(group, id, how, effects);
            touched.insert(group);
        }
        for group in touched {
            self.dispatch(group, now, effects);
        }
    }

    /// Lets go of what has expired by `now`. Leased messages are left to their members.
    pub fn expire(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(&(expires, group, place)) = self.expiring.first() {
            if expires > now {
                break;
            }
            self.expiring.pop_first();
            let Some(queue) = self.groups.get_mut(&group) else {
                continue;
            };
            if let Some(entry) = queue.waiting.remove(&place) {
                self.discard(group, place.1, &entry);
                effects.push(Effect::Remove(place.1));
            }
        }
    }

    /// Leases whatever can be leased, after a change that may have made room anywhere.
    pub fn rebalance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for group in groups {
            self.dispatch(group, now, effects);
        }
    }

    /// Dead letters of a group were dropped or requeued.
    pub fn bury(&mut self, group: GroupId, count: usize) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.dead = group.dead.saturating_sub(count);
        }
    }

    /// Every group's numbers.
    pub fn status(&self) -> Vec<GroupStatus> {
        let status = |group: &Group| GroupStatus {
            name: group.key.name.to_string(),
            filter: group.key.filter.to_string(),
            members: group.members.len(),
            waiting: group.waiting.len(),
            leased: group.leased.len(),
            dead: group.dead,
        };
        self.groups.values().map(status).collect()
    }

    /// The key of a group.
    pub fn key(&self, id: GroupId) -> Option<&GroupKey> {
        self.groups.get(&id).map(|group| &group.key)
    }

    fn give_back(&mut self, group: GroupId, id: EntryId, how: Leaving, effects: &mut Vec<Effect>) {
        let limit = self.limits.deliveries;
        let Some(queue) = self.groups.get_mut(&group) else {
            return;
        };
        let Some(mut entry) = queue.leased.remove(&id) else {
            return;
        };
        if how == Leaving::Orderly {
            entry.attempts = entry.attempts.saturating_sub(1);
        }
        if entry.attempts >= limit {
            queue.dead += 1;
            self.discard(group, id, &entry);
            effects.push(Effect::Dead(group, id, entry.message, entry.attempts));
            return;
        }
        effects.push(Effect::Attempts(id, entry.attempts));
        if let Some(expires) = entry.message.expires {
            // It may have expired while it was leased, and be noted no more.
            self.expiring.insert((expires, group, entry.place(id)));
        }
        queue.waiting.insert(entry.place(id), entry);
    }

    fn discard(&mut self, group: GroupId, id: EntryId, entry: &Entry) {
        if let Some(expires) = entry.message.expires {
            self.expiring.remove(&(expires, group, entry.place(id)));
        }
        self.cancel(group, entry.message.size());
    }

    /// A member has room again: every group that it is in may have something for it.
    fn dispatch_for(&mut self, member: MemberId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(groups) = self.members.get(member).map(|member| member.groups.clone()) else {
            return;
        };
        for group in groups {
            self.dispatch(group, now, effects);
        }
    }

    /// Leases what waits to whoever has room.
    fn dispatch(&mut self, group: GroupId, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(queue) = self.groups.get_mut(&group) {
            if queue.waiting.is_empty() {
                return;
            }
            let Some(member) = self.members.idlest(queue.members.keys().copied()) else {
                return;
            };
            let Some(membership) = queue.members.get(&member).copied() else {
                return;
            };
            let Some(((_, id), mut entry)) = queue.waiting.pop_first() else {
                return;
            };
            if entry.message.is_expired(now) {
                self.discard(group, id, &entry);
                effects.push(Effect::Remove(id));
                continue;
            }
            entry.attempts += 1;
            let delivery = Delivery {
                entry: id,
                message: Arc::clone(&entry.message),
                qos: membership.qos.min(entry.message.qos),
                attempt: entry.attempts,
                subscription: membership.subscription,
            };
            queue.leased.insert(id, entry);
            self.members.hand(member, id, group);
            effects.push(Effect::Deliver(member, delivery));
        }
    }
}

/// The priority of a message: its user property `priority`, 0 to 9; 4 without one.
fn priority(message: &Message) -> u8 {
    use mqtt_protocol_core::mqtt::packet::Property;
    message
        .properties
        .iter()
        .find_map(|property| match property {
            Property::UserProperty(pair) if pair.key() == crate::PRIORITY_PROPERTY => pair.val().parse::<u8>().ok(),
            _ => None,
        })
        .map_or(4, |priority| priority.min(9))
}
