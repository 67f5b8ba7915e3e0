//! The groups and what is in them: opening and removing, admission, membership.
//!
//! Pure and synchronous, like [`super::lease`], which moves the messages. Publishing is in two steps so that the
//! disk can come between them: [`Groups::admit`] checks the bounds and reserves room, [`Groups::enqueue`] makes the
//! message deliverable once it is stored, and [`Groups::cancel`] gives the room back when it could not be.
//! Everything else happens at once; what it means for disk and connections is returned as [`Effect`]s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::members::{Members, Membership};
use super::state::{Alarm, Entry, Group};
use super::types::{Effect, EntryId, Full, GroupId, GroupLimits, GroupStatus, Joining, MemberId};
use crate::message::{Message, Timestamp};
use crate::topic::{GroupKey, TopicName};
use crate::topic_tree::FilterTree;

/// All groups.
#[derive(Debug)]
pub struct Groups {
    pub(super) limits: GroupLimits,
    /// Seconds for which members of these groups may hold a message, by name.
    leases: BTreeMap<String, u32>,
    pub(super) groups: BTreeMap<GroupId, Group>,
    by_key: HashMap<GroupKey, GroupId>,
    filters: FilterTree<GroupId>,
    pub(super) members: Members,
    /// What happens next, and when.
    pub(super) alarms: BTreeSet<(Timestamp, GroupId, Alarm)>,
}

impl Groups {
    /// No groups yet. `leases` has the groups whose members may hold a message for another time than `limits` says, in
    /// seconds; 0 is as long as they are connected.
    pub fn new(limits: GroupLimits, leases: BTreeMap<String, u32>) -> Self {
        Self {
            limits,
            leases,
            groups: BTreeMap::new(),
            by_key: HashMap::new(),
            filters: FilterTree::default(),
            members: Members::default(),
            alarms: BTreeSet::new(),
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
    pub fn open(&mut self, id: GroupId, key: GroupKey, dead: usize) {
        self.by_key.insert(key.clone(), id);
        self.filters.insert(&key.filter, id);
        let own = self.leases.get(key.name.as_ref());
        let lease = own.map_or(self.limits.lease, |seconds| {
            (*seconds > 0).then(|| u64::from(*seconds) * 1000)
        });
        self.groups.entry(id).or_insert_with(|| Group::new(key, dead, lease));
    }

    /// Puts a stored message back into its queue, at start.
    pub fn restore(&mut self, group: GroupId, id: EntryId, message: Arc<Message>, attempts: u32, since: Timestamp) {
        let Some(queue) = self.groups.get_mut(&group) else {
            return;
        };
        queue.messages += 1;
        queue.bytes += message.size();
        let entry = Entry {
            message,
            attempts,
            // Who had it when the broker ended, nobody knows.
            again: true,
            since,
        };
        self.wait(group, id, entry);
    }

    /// Puts a stored message that nobody has had into a group which was just opened.
    pub fn supply(&mut self, group: GroupId, id: EntryId, message: Arc<Message>, since: Timestamp) {
        let Some(queue) = self.groups.get_mut(&group) else {
            return;
        };
        queue.messages += 1;
        queue.bytes += message.size();
        let entry = Entry {
            message,
            attempts: 0,
            again: false,
            since,
        };
        self.wait(group, id, entry);
    }

    /// Messages and bytes that an empty group has room for.
    pub fn room(&self) -> (usize, usize) {
        (self.limits.messages, self.limits.bytes)
    }

    /// How many groups a message on `topic` goes to.
    pub fn readers(&self, topic: &TopicName) -> usize {
        self.filters.matching(topic).len()
    }

    /// Removes a group with everything in it; the caller deletes it from disk.
    pub fn remove(&mut self, id: GroupId) -> Option<GroupKey> {
        let group = self.groups.remove(&id)?;
        self.by_key.remove(&group.key);
        self.filters.remove(&group.key.filter, &id);
        self.members.forget(id);
        self.alarms.retain(|(_, group, _)| *group != id);
        Some(group.key)
    }

    /// So many milliseconds have passed: groups without members are deserted for so much longer.
    pub fn pass(&mut self, elapsed: u64) {
        for deserted in self.groups.values_mut().filter_map(|group| group.deserted.as_mut()) {
            *deserted = deserted.saturating_add(elapsed);
        }
    }

    /// Groups that nobody has been a member of for so many milliseconds.
    pub fn deserted(&self, milliseconds: u64) -> Vec<GroupId> {
        let left = |group: &Group| group.deserted.is_some_and(|passed| passed >= milliseconds);
        self.groups
            .iter()
            .filter(|(_, group)| left(group))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Checks that every group that matches has room for `message`, and reserves it. All or nothing.
    pub fn admit(&mut self, topic: &TopicName, size: usize) -> Result<Vec<GroupId>, Full> {
        let matching: Vec<GroupId> = self.filters.matching(topic).into_iter().collect();
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

    /// Makes an admitted and stored message deliverable, which came at `since`.
    pub fn enqueue(
        &mut self,
        group: GroupId,
        id: EntryId,
        message: Arc<Message>,
        since: Timestamp,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if !self.groups.contains_key(&group) {
            // The group was removed in between; its row must not come back at the next start.
            effects.push(Effect::Remove(id));
            return;
        }
        let entry = Entry {
            message,
            attempts: 0,
            again: false,
            since,
        };
        self.wait(group, id, entry);
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
    pub fn quit(&mut self, group: GroupId, member: MemberId) -> bool {
        let Some(queue) = self.groups.get_mut(&group) else {
            return false;
        };
        let was_member = queue.members.remove(&member).is_some();
        if queue.members.is_empty() && queue.deserted.is_none() {
            queue.deserted = Some(0);
        }
        self.members.quit(member, group);
        was_member
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
            waiting: group.waiting.len() + group.delayed.len(),
            leased: group.leased.len(),
            dead: group.dead,
            bytes: group.bytes,
            oldest: group.oldest().map(|since| since.0),
        };
        self.groups.values().map(status).collect()
    }

    /// Messages that a group holds, and its dead letters.
    pub fn holds(&self, id: GroupId) -> (usize, usize) {
        self.groups
            .get(&id)
            .map_or((0, 0), |group| (group.messages, group.dead))
    }

    /// The key of a group.
    pub fn key(&self, id: GroupId) -> Option<&GroupKey> {
        self.groups.get(&id).map(|group| &group.key)
    }
}
