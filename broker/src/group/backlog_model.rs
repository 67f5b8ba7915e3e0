//! The backlog against a simple model, with a disk that writes in order and fails at times: a group gets the messages
//! that are kept when it is created, then those that are published from then on, each once and in order.

use std::collections::{BTreeMap, VecDeque};

use mqtt_protocol_core::mqtt::ArcPayload;
use proptest::prelude::*;

use super::backlog::{Backlog, BacklogLimits, Exit, Kept};
use super::steady::SteadyTime;
use super::types::BacklogId;
use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::topic::{TopicFilter, TopicName};

const LIMITS: BacklogLimits = BacklogLimits {
    age: 100,
    messages: 5,
    bytes: 60,
};
const TOPICS: [&str; 3] = ["p/commits", "p/builds", "p/chatter"];
const KEPT: [&str; 2] = ["p/commits", "p/builds"];
const FILTERS: [&str; 4] = ["p/commits", "p/+", "p/#", "q"];

#[derive(Debug, Clone)]
enum Step {
    /// On its way to disk, where it arrives or does not.
    Publish {
        topic: usize,
        size: usize,
        expiry: Option<u64>,
        stored: bool,
    },
    /// The groups' thread hears of so many writes.
    Answer {
        count: usize,
    },
    Create {
        group: usize,
    },
    Remove {
        group: usize,
    },
    Wait {
        milliseconds: u64,
    },
    SetWallClock {
        to: u64,
    },
    /// What was on its way to disk arrived there before the end as far as `arrived` says.
    Restart {
        arrived: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let group = 0..FILTERS.len();
    prop_oneof![
        8 => (0..TOPICS.len(), 0_usize..30, prop::option::weighted(0.2, 1_u64..150), prop::bool::weighted(0.9))
            .prop_map(|(topic, size, expiry, stored)| Step::Publish { topic, size, expiry, stored }),
        4 => (1_usize..4).prop_map(|count| Step::Answer { count }),
        3 => group.clone().prop_map(|group| Step::Create { group }),
        2 => group.prop_map(|group| Step::Remove { group }),
        2 => (1_u64..120).prop_map(|milliseconds| Step::Wait { milliseconds }),
        1 => (0_u64..10_000).prop_map(|to| Step::SetWallClock { to }),
        1 => (0_usize..4).prop_map(|arrived| Step::Restart { arrived }),
    ]
}

/// A message by its number in the order of publication.
#[derive(Debug, Clone)]
struct Sent {
    number: usize,
    topic: TopicName,
    size: usize,
    came: u64,
    expires: Option<u64>,
    stored: bool,
    /// Its number in the backlog, and the groups that there were.
    id: Option<BacklogId>,
    groups: Vec<usize>,
}

#[derive(Debug)]
struct World {
    backlog: Backlog,
    /// Planned and not written.
    queue: VecDeque<Sent>,
    /// Written, or failed, and not heard of.
    answers: VecDeque<Sent>,
    disk: BTreeMap<BacklogId, Sent>,
    /// What each group has got, in order.
    groups: BTreeMap<usize, Vec<usize>>,
    steady: u64,
    wall: u64,
}

impl World {
    fn new() -> Self {
        Self {
            backlog: empty(),
            queue: VecDeque::new(),
            answers: VecDeque::new(),
            disk: BTreeMap::new(),
            groups: BTreeMap::new(),
            steady: 0,
            wall: 5000,
        }
    }

    fn write(&mut self) {
        if let Some(sent) = self.queue.pop_front() {
            if let Some(id) = sent.id.filter(|_| sent.stored) {
                self.disk.insert(id, sent.clone());
            }
            for group in sent.groups.iter().filter(|_| sent.stored) {
                self.groups.entry(*group).and_modify(|got| got.push(sent.number));
            }
            self.answers.push_back(sent);
        }
    }

    fn answer(&mut self) -> Option<Sent> {
        let sent = self.answers.pop_front()?;
        match sent.id {
            Some(id) if sent.stored => self.backlog.confirm(id),
            Some(id) => self.backlog.cancel(id),
            None => {}
        }
        Some(sent)
    }

    fn trim(&mut self) -> Result<(), TestCaseError> {
        for gone in self.backlog.trim(Timestamp(self.wall), SteadyTime(self.steady)) {
            let sent = self.disk.remove(&gone.id).expect("let go of what is not stored");
            prop_assert_eq!(&gone.topic, &sent.topic);
            prop_assert_eq!(gone.exit == Exit::Aged, self.steady - sent.came >= LIMITS.age);
        }
        Ok(())
    }

    fn restart(&mut self) {
        self.backlog = empty();
        for (id, sent) in &self.disk {
            self.backlog
                .restore(*id, Kept::of(&sent.message(), SteadyTime(sent.came)));
        }
    }
}

fn empty() -> Backlog {
    Backlog::new(LIMITS, KEPT.iter().map(|topic| TopicName::new(topic).unwrap()))
}

impl Sent {
    fn message(&self) -> Message {
        let padding = vec![0; self.size];
        Message {
            topic: self.topic.clone(),
            payload: ArcPayload::new(padding.as_slice().into(), 0, self.size),
            qos: QoS::AtLeastOnce,
            retain: false,
            expires: self.expires.map(Timestamp),
            properties: Vec::new(),
            publisher: SessionId(1),
        }
    }

    fn bytes(&self) -> usize {
        self.topic.as_str().len() + self.size
    }
}

/// What should be kept, by going through all of it each time.
fn trim_naively(kept: &mut Vec<Sent>, steady: u64, wall: u64) {
    let too_much = |kept: &[Sent]| {
        let bytes: usize = kept.iter().map(Sent::bytes).sum();
        kept.len() > LIMITS.messages || bytes > LIMITS.bytes
    };
    while kept.first().is_some_and(|sent| steady - sent.came >= LIMITS.age) || too_much(kept) {
        kept.remove(0);
    }
    kept.retain(|sent| sent.expires.is_none_or(|at| at > wall));
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new();
    let mut kept: Vec<Sent> = Vec::new();
    let mut number = 0;
    for step in steps {
        match step {
            Step::Publish {
                topic,
                size,
                expiry,
                stored,
            } => {
                number += 1;
                let topic = TopicName::new(TOPICS[topic]).unwrap();
                let matching = |group: &&usize| TopicFilter::new(FILTERS[**group]).unwrap().matches(&topic);
                let groups = world.groups.keys().filter(matching).copied().collect();
                let mut sent = Sent {
                    number,
                    topic,
                    size,
                    came: world.steady,
                    expires: expiry.map(|after| world.wall + after),
                    stored,
                    id: None,
                    groups,
                };
                sent.id = world.backlog.admit(&sent.message(), SteadyTime(world.steady));
                prop_assert_eq!(sent.id.is_some(), KEPT.contains(&sent.topic.as_str()));
                world.queue.push_back(sent);
            }
            Step::Answer { count } => {
                for _ in 0..count {
                    world.write();
                    if let Some(sent) = world.answer()
                        && sent.stored
                        && sent.id.is_some()
                    {
                        kept.push(sent);
                    }
                    world.trim()?;
                    trim_naively(&mut kept, world.steady, world.wall);
                }
            }
            Step::Create { group } => {
                if world.groups.contains_key(&group) {
                    continue;
                }
                let filter = TopicFilter::new(FILTERS[group]).unwrap();
                let now = (Timestamp(world.wall), SteadyTime(world.steady));
                let begin = world.backlog.for_group(&filter, (100, 10_000), now.0, now.1);
                while !world.queue.is_empty() {
                    world.write();
                }
                let got: Vec<usize> = begin
                    .iter()
                    .filter_map(|id| world.disk.get(id))
                    .map(|sent| sent.number)
                    .collect();
                let heard_of_later = world.answers.iter().filter(|sent| sent.stored && sent.id.is_some());
                let expected: Vec<usize> = kept
                    .iter()
                    .chain(heard_of_later)
                    .filter(|sent| filter.matches(&sent.topic))
                    .filter(|sent| world.steady - sent.came < LIMITS.age)
                    .filter(|sent| sent.expires.is_none_or(|at| at > world.wall))
                    .map(|sent| sent.number)
                    .collect();
                prop_assert_eq!(&got, &expected);
                world.groups.insert(group, got);
            }
            Step::Remove { group } => drop(world.groups.remove(&group)),
            Step::Wait { milliseconds } => {
                world.steady += milliseconds;
                world.wall += milliseconds;
            }
            Step::SetWallClock { to } => world.wall = to,
            Step::Restart { arrived } => {
                for _ in 0..arrived {
                    world.write();
                }
                world.queue.clear();
                kept.extend(world.answers.drain(..).filter(|sent| sent.stored && sent.id.is_some()));
                world.restart();
                world.trim()?;
                trim_naively(&mut kept, world.steady, world.wall);
            }
        }
        for got in world.groups.values() {
            prop_assert!(got.is_sorted_by(|a, b| a < b), "out of order or twice: {got:?}");
        }
    }
    let status = world.backlog.status(SteadyTime(world.steady), |_| 0);
    for (topic, status) in KEPT.iter().rev().zip(status) {
        let of_topic = || kept.iter().filter(|sent| sent.topic.as_str() == *topic);
        prop_assert_eq!(status.topic.as_str(), *topic);
        prop_assert_eq!(status.messages, of_topic().count());
        prop_assert_eq!(status.bytes, of_topic().map(Sent::bytes).sum::<usize>());
        let oldest = of_topic().next().map(|sent| (world.steady - sent.came) / 1000);
        prop_assert_eq!(status.age, oldest);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_group_begins_with_what_is_kept_and_misses_nothing_after(steps in prop::collection::vec(step(), 1..100)) {
        run(steps)?;
    }
}

fn filled(limits: BacklogLimits, messages: &[&str]) -> Backlog {
    let mut backlog = Backlog::new(limits, [TopicName::new("p/commits").unwrap()]);
    for (at, payload) in (0_u64..).zip(messages) {
        let sent = Sent {
            number: 0,
            topic: TopicName::new("p/commits").unwrap(),
            size: payload.len(),
            came: at,
            expires: None,
            stored: true,
            id: None,
            groups: Vec::new(),
        };
        if let Some(id) = backlog.admit(&sent.message(), SteadyTime(at)) {
            backlog.confirm(id);
        }
    }
    backlog
}

#[test]
fn a_bound_of_zero_keeps_nothing() {
    for limits in [
        BacklogLimits { age: 0, ..LIMITS },
        BacklogLimits { messages: 0, ..LIMITS },
        BacklogLimits { bytes: 0, ..LIMITS },
    ] {
        let backlog = filled(limits, &["one"]);
        assert!(backlog.is_empty());
        assert_eq!((backlog.topics().count(), backlog.age()), (0, 0));
    }
}

#[test]
fn a_group_with_less_room_begins_with_the_newest() {
    let backlog = filled(LIMITS, &["one", "two", "three"]);
    let begin = |room| {
        let filter = TopicFilter::new("p/#").unwrap();
        let begin = backlog.for_group(&filter, room, Timestamp(0), SteadyTime(3));
        begin.into_iter().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(begin((2, 1000)), [2, 3]);
    // Two times nine bytes of topic, and eight of payload.
    assert_eq!(begin((100, 26)), [2, 3]);
    assert_eq!(begin((100, 25)), [3]);
}

#[test]
fn a_message_that_is_larger_than_all_of_the_backlog_displaces_nothing() {
    let large = "x".repeat(LIMITS.bytes);
    let mut backlog = filled(LIMITS, &["one", &large]);
    assert!(backlog.trim(Timestamp(0), SteadyTime(2)).is_empty());
    assert_eq!(backlog.status(SteadyTime(2), |_| 0)[0].messages, 1);
}
