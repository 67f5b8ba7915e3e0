//! Who takes a group's messages, and how many each can hold.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{EntryId, GroupId, MemberId};
use crate::message::QoS;

/// What a member subscribed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    pub(super) qos: QoS,
    pub(super) subscription: Option<u32>,
}

/// One connection. Its receive maximum is one budget for all groups that it is in.
#[derive(Debug)]
pub(super) struct Member {
    capacity: usize,
    /// What it was given, with the running number of that.
    held: BTreeMap<EntryId, (GroupId, u64)>,
    pub(super) groups: BTreeSet<GroupId>,
    /// When it was last given something, as a running number: the longest idle goes first.
    served: u64,
}

impl Member {
    /// What it holds, that which it has had for longest first.
    pub(super) fn held(&self) -> Vec<(EntryId, GroupId)> {
        let mut held: Vec<_> = self.held.iter().collect();
        held.sort_unstable_by_key(|(_, (_, turn))| *turn);
        held.into_iter().map(|(id, (group, _))| (*id, *group)).collect()
    }
}

/// All members of all groups.
#[derive(Debug, Default)]
pub(super) struct Members {
    members: BTreeMap<MemberId, Member>,
    turns: u64,
}

impl Members {
    /// Adds a member, or joins another group with it.
    pub(super) fn join(&mut self, id: MemberId, group: GroupId, capacity: usize) {
        let member = self.members.entry(id).or_insert_with(|| Member {
            capacity,
            held: BTreeMap::new(),
            groups: BTreeSet::new(),
            served: 0,
        });
        member.groups.insert(group);
    }

    /// A member can hold so many messages from now on. What it holds beyond that it keeps.
    pub(super) fn resize(&mut self, id: MemberId, capacity: usize) {
        if let Some(member) = self.members.get_mut(&id) {
            member.capacity = capacity;
        }
    }

    /// Takes a member out of a group; what it holds it keeps.
    pub(super) fn quit(&mut self, id: MemberId, group: GroupId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.groups.remove(&group);
        }
    }

    /// Takes everybody out of a group that is removed, with what they hold of it.
    pub(super) fn forget(&mut self, group: GroupId) {
        for member in self.members.values_mut() {
            member.groups.remove(&group);
            member.held.retain(|_, (of, _)| *of != group);
        }
    }

    /// Forgets a member and says what it held and where it was.
    pub(super) fn remove(&mut self, id: MemberId) -> Option<Member> {
        self.members.remove(&id)
    }

    pub(super) fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The member of `candidates` that shall get the next message: room for it, fewest held, longest idle.
    pub(super) fn idlest(&self, candidates: impl Iterator<Item = MemberId>) -> Option<MemberId> {
        candidates
            .filter_map(|id| Some((id, self.members.get(&id)?)))
            .filter(|(_, member)| member.held.len() < member.capacity)
            .min_by_key(|(id, member)| (member.held.len(), member.served, *id))
            .map(|(id, _)| id)
    }

    /// Notes that `id` holds `entry`.
    pub(super) fn hand(&mut self, id: MemberId, entry: EntryId, group: GroupId) {
        self.turns += 1;
        if let Some(member) = self.members.get_mut(&id) {
            member.served = self.turns;
            member.held.insert(entry, (group, self.turns));
        }
    }

    /// Notes that `id` no longer holds `entry`; tells the group it was of.
    pub(super) fn take_back(&mut self, id: MemberId, entry: EntryId) -> Option<GroupId> {
        let (group, _) = self.members.get_mut(&id)?.held.remove(&entry)?;
        Some(group)
    }
}
