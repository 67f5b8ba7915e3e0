//! Leases: how messages get to members, and what becomes of them there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::queue::Groups;
use super::state::{Alarm, Entry, Leased};
use super::types::{Death, Delivery, Effect, EntryId, GroupId, Leaving, MemberId, Refusal, SUSPECTS};
use crate::message::Timestamp;

impl Groups {
    /// The member is done with a message. `false` when it does not hold it.
    pub fn acknowledge(&mut self, member: MemberId, id: EntryId, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        let Some(group) = self.members.take_back(member, id) else {
            return false;
        };
        if let Some(entry) = self.end_lease(group, id, member) {
            self.discard(group, id, &entry);
            effects.push(Effect::Remove(id));
        }
        self.dispatch_for(member, now, effects);
        true
    }

    /// The member refuses a message. `false` when it does not hold it.
    pub fn refuse(
        &mut self,
        member: MemberId,
        id: EntryId,
        refusal: Refusal,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(group) = self.members.take_back(member, id) else {
            return false;
        };
        if let Some(entry) = self.end_lease(group, id, member) {
            if refusal == Refusal::Never {
                self.die(group, id, entry, Death::Refused, effects);
            } else {
                let again = self.limits.retry_at(entry.attempts, now);
                self.give_back(group, id, entry, (again, now), effects);
            }
        }
        self.dispatch(group, now, effects);
        self.dispatch_for(member, now, effects);
        true
    }

    /// The member's connection is gone: what it held goes to others. If it died, the attempt counts for the message that it had for longest, since
    /// that may be the reason; from the second time on that one waits as if it had been refused, so that a line that breaks again and again
    /// uses up its attempts in an hour and not in a second. Where members work at several at a time, the one that kills becomes the oldest when those before it are done or wait.
    pub fn leave(&mut self, member: MemberId, how: Leaving, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(gone) = self.members.remove(member) else {
            return;
        };
        for group in &gone.groups {
            self.quit(*group, member);
        }
        let suspects = match how {
            Leaving::Orderly => 0,
            Leaving::Died => SUSPECTS,
        };
        let mut touched = BTreeSet::new();
        for (number, (id, group)) in gone.held().into_iter().enumerate() {
            let Some(mut entry) = self.end_lease(group, id, member) else {
                continue;
            };
            touched.insert(group);
            let mut again = now;
            if number >= suspects {
                entry.attempts = entry.attempts.saturating_sub(1);
            } else if entry.attempts > 1 {
                again = self.limits.retry_at(entry.attempts - 1, now);
            }
            self.give_back(group, id, entry, (again, now), effects);
        }
        for group in touched {
            self.dispatch(group, now, effects);
        }
    }

    /// When [`Groups::wake`] has something to do next.
    pub fn next_alarm(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(at, _, _)| *at)
    }

    /// Does what is due by `now`: messages expire, are tried again, or have been held for too long.
    pub fn wake(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut touched = BTreeSet::new();
        while let Some(&(at, group, alarm)) = self.alarms.first() {
            if at > now {
                break;
            }
            self.alarms.pop_first();
            let Some(queue) = self.groups.get_mut(&group) else {
                continue;
            };
            match alarm {
                // Leased messages are left to their members.
                Alarm::Expire(place) => {
                    let expired = queue.waiting.remove(&place);
                    if let Some(entry) = expired.or_else(|| queue.delayed.remove(&place.1)) {
                        self.discard(group, place.1, &entry);
                        effects.push(Effect::Remove(place.1));
                    }
                }
                Alarm::Retry(id) => {
                    if let Some(entry) = queue.delayed.remove(&id) {
                        self.wait(group, id, entry);
                    }
                }
                Alarm::Overdue(id, member) => {
                    self.members.take_back(member, id);
                    if let Some(entry) = self.end_lease(group, id, member) {
                        tracing::debug!(group = group.0, entry = id.0, member = member.0, "lease is overdue");
                        self.give_back(group, id, entry, (now, now), effects);
                    }
                    // The member has room again, wherever it is.
                    let elsewhere = self.members.get(member).map(|member| member.groups.iter().copied());
                    touched.extend(elsewhere.into_iter().flatten());
                }
            }
            touched.insert(group);
        }
        for group in touched {
            self.dispatch(group, now, effects);
        }
    }

    /// A member can hold so many messages from now on.
    pub fn resize(&mut self, member: MemberId, capacity: usize, now: Timestamp, effects: &mut Vec<Effect>) {
        self.members.resize(member, capacity);
        self.dispatch_for(member, now, effects);
    }

    /// Leases whatever can be leased, after a change that may have made room anywhere.
    pub fn rebalance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for group in groups {
            self.dispatch(group, now, effects);
        }
    }

    fn end_lease(&mut self, group: GroupId, id: EntryId, member: MemberId) -> Option<Entry> {
        let leased = self.groups.get_mut(&group)?.leased.remove(&id)?;
        if let Some(overdue) = leased.overdue {
            self.alarms.remove(&(overdue, group, Alarm::Overdue(id, member)));
        }
        Some(leased.entry)
    }

    /// A message comes back: it can go to another member from a time on, which may be now.
    fn give_back(
        &mut self,
        group: GroupId,
        id: EntryId,
        entry: Entry,
        (at, now): (Timestamp, Timestamp),
        effects: &mut Vec<Effect>,
    ) {
        if entry.attempts >= self.limits.deliveries {
            return self.die(group, id, entry, Death::Attempts, effects);
        }
        effects.push(Effect::Attempts(id, entry.attempts));
        if at > now {
            self.delay(group, id, entry, at);
        } else {
            self.wait(group, id, entry);
        }
    }

    fn die(&mut self, group: GroupId, id: EntryId, entry: Entry, death: Death, effects: &mut Vec<Effect>) {
        self.discard(group, id, &entry);
        if let Some(queue) = self.groups.get_mut(&group) {
            queue.dead += 1;
        }
        let Entry { message, attempts, .. } = entry;
        effects.push(Effect::Dead {
            group,
            entry: id,
            message,
            attempts,
            death,
        });
    }

    /// Puts a message among those that wait, and notes when it expires; it may have been noted and done before.
    pub(super) fn wait(&mut self, group: GroupId, id: EntryId, entry: Entry) {
        let Some(queue) = self.groups.get_mut(&group) else {
            return;
        };
        let place = entry.place(id);
        if let Some(expires) = entry.message.expires {
            self.alarms.insert((expires, group, Alarm::Expire(place)));
        }
        queue.waiting.insert(place, entry);
    }

    fn delay(&mut self, group: GroupId, id: EntryId, entry: Entry, until: Timestamp) {
        let Some(queue) = self.groups.get_mut(&group) else {
            return;
        };
        if let Some(expires) = entry.message.expires {
            self.alarms.insert((expires, group, Alarm::Expire(entry.place(id))));
        }
        self.alarms.insert((until, group, Alarm::Retry(id)));
        queue.delayed.insert(id, entry);
    }

    fn discard(&mut self, group: GroupId, id: EntryId, entry: &Entry) {
        if let Some(expires) = entry.message.expires {
            self.alarms.remove(&(expires, group, Alarm::Expire(entry.place(id))));
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
    pub(super) fn dispatch(&mut self, group: GroupId, now: Timestamp, effects: &mut Vec<Effect>) {
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
                again: std::mem::replace(&mut entry.again, true),
                subscription: membership.subscription,
            };
            let overdue = queue.lease.map(|lease| Timestamp(now.0.saturating_add(lease)));
            if let Some(overdue) = overdue {
                self.alarms.insert((overdue, group, Alarm::Overdue(id, member)));
            }
            queue.leased.insert(id, Leased { entry, overdue });
            self.members.hand(member, id, group);
            effects.push(Effect::Deliver(member, delivery));
        }
    }
}

#[cfg(test)]
mod tests {

    use super::super::types::{GroupLimits, Joining};
    use super::*;
    use crate::message::{Message, QoS};
    use crate::topic::{GroupKey, Subscribable};

    const GROUP: GroupId = GroupId(1);

    fn key() -> GroupKey {
        match Subscribable::parse("$share/g/jobs").unwrap() {
            Subscribable::Shared(key) => key,
            Subscribable::Plain(_) => unreachable!(),
        }
    }

    /// A group with so many messages, and the limits of the documentation.
    fn group(messages: i64) -> Groups {
        let limits = GroupLimits {
            messages: 1000,
            bytes: 1 << 20,
            deliveries: 20,
            retry: 1000,
            retry_most: 300_000,
            lease: None,
        };
        let mut groups = Groups::new(limits, std::collections::BTreeMap::new());
        groups.open(GROUP, key(), 0);
        for id in 0..messages {
            let message = Message::empty("jobs");
            groups.admit(&message.topic, message.size()).unwrap();
            groups.enqueue(
                GROUP,
                EntryId(id),
                Arc::new(message),
                Timestamp(0),
                Timestamp(0),
                &mut Vec::new(),
            );
        }
        groups
    }

    fn join(groups: &mut Groups, member: u64, now: u64) -> Vec<Effect> {
        let joining = Joining {
            member: MemberId(member),
            capacity: 32,
            qos: QoS::AtLeastOnce,
            subscription: None,
        };
        let mut effects = Vec::new();
        groups.join(GROUP, joining, Timestamp(now), &mut effects);
        effects
    }

    fn dead(effects: &[Effect]) -> Vec<i64> {
        let dead = effects.iter().filter_map(|effect| match effect {
            Effect::Dead { entry, .. } => Some(entry.0),
            _ => None,
        });
        dead.collect()
    }

    #[test]
    fn a_line_that_breaks_again_and_again_makes_no_dead_letters() {
        let mut groups = group(32);
        let mut effects = Vec::new();
        for life in 0..25 {
            let now = life * 32;
            groups.wake(Timestamp(now), &mut effects);
            effects.extend(join(&mut groups, life, now));
            groups.leave(MemberId(life), Leaving::Died, Timestamp(now + 30), &mut effects);
        }
        assert_eq!(dead(&effects), [0_i64; 0]);
    }

    #[test]
    fn a_message_that_kills_its_worker_is_a_dead_letter_in_the_end_and_takes_no_other_with_it() {
        let (killer, mut groups) = (EntryId(7), group(32));
        let (mut effects, mut now) = (Vec::new(), 0);
        for life in 0..2_000 {
            now = now.max(groups.next_alarm().map_or(0, |at| at.0));
            groups.wake(Timestamp(now), &mut effects);
            let given = join(&mut groups, life, now);
            let mut has_killer = false;
            for effect in given {
                let Effect::Deliver(member, delivery) = effect else {
                    continue;
                };
                // It works them off in order, until it dies.
                has_killer |= delivery.entry == killer;
                if !has_killer {
                    groups.acknowledge(member, delivery.entry, Timestamp(now), &mut effects);
                }
            }
            let how = if has_killer { Leaving::Died } else { Leaving::Orderly };
            groups.leave(MemberId(life), how, Timestamp(now), &mut effects);
            if !dead(&effects).is_empty() {
                break;
            }
        }
        assert_eq!(dead(&effects), [killer.0]);
    }
}
