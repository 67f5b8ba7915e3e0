//! The queue against a simple model: whatever happens, every message is in exactly one place, and whatever can be
//! delivered is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::packet::{Property, UserProperty};
use proptest::prelude::*;

use super::queue::Groups;
use super::types::{
    Delivery, Effect, EntryId, GroupId, GroupLimits, GroupStatus, Joining, Leaving, MemberId, Refusal, SUSPECTS,
};
use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::topic::{GroupKey, Subscribable, TopicName};

const LIMITS: GroupLimits = GroupLimits {
    messages: 6,
    bytes: 1 << 20,
    deliveries: 3,
    retry: 5,
    retry_most: 12,
    lease: Some(60),
};
/// The members of this group may hold messages for as long as they are connected.
const PATIENT: &str = "two";
const FILTERS: [&str; 3] = ["$share/one/a/+", "$share/two/a/#", "$share/three/b"];
const TOPICS: [&str; 3] = ["a/x", "b", "nobody"];

#[derive(Debug, Clone)]
enum Step {
    Publish {
        topic: usize,
        priority: Option<u8>,
        expiry: Option<u64>,
        stored: bool,
    },
    Join {
        group: usize,
        member: u64,
        capacity: usize,
    },
    Quit {
        group: usize,
        member: u64,
    },
    Acknowledge {
        member: u64,
        nth: usize,
    },
    Refuse {
        member: u64,
        nth: usize,
        never: bool,
    },
    Leave {
        member: u64,
        orderly: bool,
    },
    Wait {
        milliseconds: u64,
    },
    RemoveGroup {
        group: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let member = 1_u64..5;
    let group = 0_usize..FILTERS.len();
    prop_oneof![
        6 => (0..TOPICS.len(), prop::option::of(0_u8..10), prop::option::weighted(0.2, 1_u64..50), prop::bool::weighted(0.95))
            .prop_map(|(topic, priority, expiry, stored)| Step::Publish { topic, priority, expiry, stored }),
        3 => (group.clone(), member.clone(), 1_usize..4)
            .prop_map(|(group, member, capacity)| Step::Join { group, member, capacity }),
        1 => (group.clone(), member.clone()).prop_map(|(group, member)| Step::Quit { group, member }),
        5 => (member.clone(), 0_usize..4).prop_map(|(member, nth)| Step::Acknowledge { member, nth }),
        2 => (member.clone(), 0_usize..4, prop::bool::weighted(0.2))
            .prop_map(|(member, nth, never)| Step::Refuse { member, nth, never }),
        2 => (member, any::<bool>()).prop_map(|(member, orderly)| Step::Leave { member, orderly }),
        1 => (1_u64..40).prop_map(|milliseconds| Step::Wait { milliseconds }),
        1 => group.prop_map(|group| Step::RemoveGroup { group }),
    ]
}

#[derive(Debug, Clone)]
struct Copy {
    group: usize,
    priority: u8,
    expires: Option<u64>,
    attempts: u32,
    held_by: Option<u64>,
    /// The number of its delivery.
    turn: u64,
    /// Refused, and not to be tried again before this time.
    delayed: Option<u64>,
    /// When the member has held it for too long.
    overdue: u64,
    since: u64,
    size: usize,
}

#[derive(Debug, Default)]
struct ModelMember {
    capacity: usize,
    groups: BTreeSet<usize>,
}

/// What is on the disk is `copies`; the rest is who is connected.
#[derive(Debug, Default)]
struct Model {
    copies: BTreeMap<i64, Copy>,
    members: BTreeMap<u64, ModelMember>,
    dead: BTreeMap<usize, usize>,
    open: BTreeSet<usize>,
    /// Refused for ever, and to be buried for it.
    hopeless: BTreeSet<i64>,
    now: u64,
    turns: u64,
}

impl Model {
    fn held(&self, member: u64) -> Vec<i64> {
        let held = self.copies.iter().filter(|(_, copy)| copy.held_by == Some(member));
        held.map(|(id, _)| *id).collect()
    }

    fn deliverable(&self, copy: &Copy) -> bool {
        copy.held_by.is_none()
            && copy.expires.is_none_or(|at| at > self.now)
            && copy.delayed.is_none_or(|at| at <= self.now)
    }

    fn with_room(&self, group: usize) -> Vec<(usize, u64)> {
        let room =
            |id: u64, member: &ModelMember| member.groups.contains(&group) && self.held(id).len() < member.capacity;
        let members = self.members.iter().filter(|(id, member)| room(**id, member));
        members.map(|(id, _)| (self.held(*id).len(), *id)).collect()
    }

    /// Applies what the queue decided, checking that it was allowed to.
    fn apply(&mut self, effects: Vec<Effect>) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Deliver(
                    MemberId(member),
                    Delivery {
                        entry,
                        attempt,
                        message,
                        ..
                    },
                ) => {
                    let copy = self.copies.get(&entry.0).expect("delivered what is not stored").clone();
                    prop_assert!(self.deliverable(&copy), "delivered {copy:?}");
                    prop_assert!(!message.is_expired(Timestamp(self.now)));
                    let before = self.copies.iter().filter(|(id, other)| {
                        let sooner = (u8::MAX - other.priority, **id) < (u8::MAX - copy.priority, entry.0);
                        other.group == copy.group && self.deliverable(other) && sooner
                    });
                    prop_assert_eq!(before.count(), 0, "delivered out of order");
                    let candidates = self.with_room(copy.group);
                    let least = candidates.iter().map(|(held, _)| *held).min();
                    let chosen = candidates.iter().find(|(_, id)| *id == member);
                    prop_assert_eq!(chosen.map(|(held, _)| *held), least, "not the idlest: {:?}", candidates);
                    let copy = self.copies.get_mut(&entry.0).unwrap();
                    copy.attempts += 1;
                    prop_assert_eq!(copy.attempts, attempt);
                    self.turns += 1;
                    copy.turn = self.turns;
                    copy.held_by = Some(member);
                    copy.delayed = None;
                    let patient = &*key(copy.group).name == PATIENT;
                    copy.overdue = if patient {
                        u64::MAX
                    } else {
                        self.now + LIMITS.lease.unwrap()
                    };
                }
                Effect::Remove(entry) => {
                    let copy = self.copies.remove(&entry.0).expect("removed what is not stored");
                    let expired = copy.expires.is_some_and(|at| at <= self.now);
                    prop_assert!(expired, "removed {copy:?} without an acknowledgement");
                }
                Effect::Attempts(entry, attempts) => {
                    prop_assert_eq!(self.copies.get(&entry.0).map(|copy| copy.attempts), Some(attempts));
                }
                Effect::Dead {
                    entry, attempts, death, ..
                } => {
                    let copy = self.copies.remove(&entry.0).expect("buried what is not stored");
                    prop_assert_eq!(copy.attempts, attempts);
                    prop_assert_eq!(death.as_str() == "refused", self.hopeless.remove(&entry.0));
                    prop_assert!(attempts >= LIMITS.deliveries || death.as_str() == "refused");
                    *self.dead.entry(copy.group).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn check(&self, groups: &Groups) -> Result<(), TestCaseError> {
        for copy in self.copies.values() {
            let stuck = self.deliverable(copy) && !self.with_room(copy.group).is_empty();
            prop_assert!(!stuck, "{copy:?} waits though a member has room");
        }
        let expected: Vec<GroupStatus> = self
            .open
            .iter()
            .map(|group| {
                let key = key(*group);
                let mine = || self.copies.values().filter(|copy| copy.group == *group);
                GroupStatus {
                    name: key.name.to_string(),
                    filter: key.filter.to_string(),
                    members: self
                        .members
                        .values()
                        .filter(|member| member.groups.contains(group))
                        .count(),
                    waiting: mine().filter(|copy| copy.held_by.is_none()).count(),
                    leased: mine().filter(|copy| copy.held_by.is_some()).count(),
                    dead: self.dead.get(group).copied().unwrap_or(0),
                    bytes: mine().map(|copy| copy.size).sum(),
                    oldest: mine().map(|copy| copy.since).min(),
                }
            })
            .collect();
        prop_assert_eq!(groups.status(), expected);
        Ok(())
    }

    /// A member gives a message back.
    fn give_back(&mut self, id: i64, counts: bool) {
        if let Some(copy) = self.copies.get_mut(&id) {
            copy.held_by = None;
            if !counts {
                copy.attempts -= 1;
            }
        }
    }
}

fn key(group: usize) -> GroupKey {
    match Subscribable::parse(FILTERS[group]).unwrap() {
        Subscribable::Shared(key) => key,
        Subscribable::Plain(_) => unreachable!(),
    }
}

fn message(topic: usize, priority: Option<u8>, expires: Option<u64>) -> Message {
    let properties = priority
        .map(|priority| UserProperty::new(crate::PRIORITY_PROPERTY, priority.to_string()).unwrap())
        .map(Property::UserProperty);
    Message {
        topic: TopicName::new(TOPICS[topic]).unwrap(),
        payload: ArcPayload::default(),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires: expires.map(Timestamp),
        properties: properties.into_iter().collect(),
        publisher: SessionId(1),
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut groups = Groups::new(LIMITS, [(PATIENT.to_owned(), 0)].into());
    let mut model = Model {
        now: 1000,
        ..Model::default()
    };
    let mut last = 0;
    for step in steps {
        let now = Timestamp(model.now);
        let mut effects = Vec::new();
        match step {
            Step::Publish {
                topic,
                priority,
                expiry,
                stored,
            } => {
                let expires = expiry.map(|after| model.now + after);
                let message = Arc::new(message(topic, priority, expires));
                let matching: Vec<usize> = model
                    .open
                    .iter()
                    .copied()
                    .filter(|group| key(*group).filter.matches(&message.topic))
                    .collect();
                let full = |group: &usize| {
                    model.copies.values().filter(|copy| copy.group == *group).count() >= LIMITS.messages
                };
                let admitted = groups.admit(&message.topic, message.size());
                prop_assert_eq!(admitted.is_err(), matching.iter().any(full));
                for group in admitted.into_iter().flatten() {
                    if !stored {
                        groups.cancel(group, message.size());
                        continue;
                    }
                    last += 1;
                    let copy = Copy {
                        group: usize::try_from(group.0).unwrap(),
                        priority: priority.unwrap_or(4),
                        expires,
                        attempts: 0,
                        held_by: None,
                        turn: 0,
                        delayed: None,
                        overdue: 0,
                        since: model.now,
                        size: message.size(),
                    };
                    model.copies.insert(last, copy);
                    groups.enqueue(group, EntryId(last), Arc::clone(&message), now, now, &mut effects);
                    model.apply(std::mem::take(&mut effects))?;
                }
            }
            Step::Join {
                group,
                member,
                capacity,
            } => {
                if model.open.insert(group) {
                    model.dead.remove(&group);
                    groups.open(GroupId(i64::try_from(group).unwrap()), key(group), 0);
                }
                // A connection's receive maximum does not change, so only the first capacity counts.
                let entry = model.members.entry(member).or_insert(ModelMember {
                    capacity,
                    ..ModelMember::default()
                });
                entry.groups.insert(group);
                let id = GroupId(i64::try_from(group).unwrap());
                let joining = Joining {
                    member: MemberId(member),
                    capacity,
                    qos: QoS::AtLeastOnce,
                    subscription: None,
                };
                groups.join(id, joining, now, &mut effects);
            }
            Step::Quit { group, member } => {
                let was = model
                    .members
                    .get_mut(&member)
                    .is_some_and(|member| member.groups.remove(&group));
                let id = GroupId(i64::try_from(group).unwrap());
                prop_assert_eq!(groups.quit(id, MemberId(member)), was);
            }
            Step::Acknowledge { member, nth } => {
                let id = model.held(member).get(nth).copied();
                let done = groups.acknowledge(MemberId(member), EntryId(id.unwrap_or(-1)), now, &mut effects);
                prop_assert_eq!(done, id.is_some());
                if let Some(id) = id {
                    model.copies.remove(&id);
                    let first = effects.remove(0);
                    prop_assert!(matches!(first, Effect::Remove(entry) if entry.0 == id));
                }
            }
            Step::Refuse { member, nth, never } => {
                let id = model.held(member).get(nth).copied();
                if let Some(id) = id {
                    model.give_back(id, true);
                    let copy = model.copies.get_mut(&id).unwrap();
                    let delay = [5, 10, 12][copy.attempts as usize - 1];
                    if never {
                        model.hopeless.insert(id);
                    } else if copy.attempts < LIMITS.deliveries {
                        copy.delayed = Some(model.now + delay);
                    }
                }
                let refusal = if never { Refusal::Never } else { Refusal::Later };
                let entry = EntryId(id.unwrap_or(-1));
                let done = groups.refuse(MemberId(member), entry, refusal, now, &mut effects);
                prop_assert_eq!(done, id.is_some());
            }
            Step::Leave { member, orderly } => {
                let mut held = model.held(member);
                held.sort_by_key(|id| model.copies[id].turn);
                for (number, id) in held.into_iter().enumerate() {
                    let counts = !orderly && number < SUSPECTS;
                    model.give_back(id, counts);
                    let copy = model.copies.get_mut(&id).unwrap();
                    if counts && (2..LIMITS.deliveries).contains(&copy.attempts) {
                        copy.delayed = Some(model.now + [5, 10, 12][copy.attempts as usize - 2]);
                    }
                }
                model.members.remove(&member);
                let how = if orderly { Leaving::Orderly } else { Leaving::Died };
                groups.leave(MemberId(member), how, now, &mut effects);
            }
            Step::Wait { milliseconds } => {
                // As the worker does it: it is woken for each alarm.
                let until = model.now + milliseconds;
                while let Some(at) = groups.next_alarm().filter(|at| at.0 <= until) {
                    model.now = model.now.max(at.0);
                    let overdue = |copy: &&mut Copy| copy.held_by.is_some() && copy.overdue <= model.now;
                    model
                        .copies
                        .values_mut()
                        .filter(overdue)
                        .for_each(|copy| copy.held_by = None);
                    groups.wake(Timestamp(model.now), &mut effects);
                    model.apply(std::mem::take(&mut effects))?;
                    model.check(&groups)?;
                }
                model.now = until;
                for copy in model.copies.values() {
                    let late = copy.held_by.is_none() && copy.expires.is_some_and(|at| at <= until);
                    prop_assert!(!late, "{copy:?} has expired and is still there");
                }
            }
            Step::RemoveGroup { group } => {
                let existed = model.open.remove(&group);
                let removed = groups.remove(GroupId(i64::try_from(group).unwrap()));
                prop_assert_eq!(removed.is_some(), existed);
                model.copies.retain(|_, copy| copy.group != group);
                for member in model.members.values_mut() {
                    member.groups.remove(&group);
                }
                // Members may have room for other groups now.
                groups.rebalance(now, &mut effects);
            }
        }
        model.apply(effects)?;
        model.check(&groups)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::default())]
    #[test]
    fn every_message_is_in_one_place_and_moves_when_it_can(steps in prop::collection::vec(step(), 1..120)) {
        run(steps)?;
    }
}
