//! A farm in miniature: hosts with members of groups hand events on, repeat each other's work under other names, in any order, and die
//! at any moment; with the rules by which real hosts believe an event and know one again, and no broker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::rc::Rc;

use proptest::prelude::*;
use time::OffsetDateTime;

use super::policy::{Speaker, decide};
use super::*;
use crate::keys::{Binding, Duties, Fingerprint, Groups};
use crate::ledger::{Ledger, Settlement};
use crate::run::EventRow;

/// What each step of the pipeline publishes. A group that reads one publishes later ones.
const STEPS: [(&str, &str); 5] = [
    ("foundry.commit.v1", "commits"),
    ("foundry.build.v1", "builds"),
    ("foundry.sign.v1", "signs"),
    ("foundry.dist.v1", "dists"),
    ("foundry.failure.v1", FAILURES),
];

const HOSTS: usize = 3;

/// A host whose key may tell of builds, signatures and publications of its own group.
const LIAR: &str = "liar";

/// A group: what it reads, who its members are, and what they make of a message.
#[derive(Debug, Clone)]
struct Group {
    name: String,
    reads: usize,
    /// Its members: a host's number and the bot's name there.
    members: Vec<(usize, String)>,
    /// How many steps further each of its events is, and the key if it has one.
    makes: Vec<(usize, Option<String>)>,
    /// It gives up messages whose ids begin with a digit below this. Who reads failures gives none up: that would go on for ever.
    gives_up: u32,
}

impl Group {
    fn has_given_up(&self, event: &Event) -> bool {
        let digit = event.id.chars().next().and_then(|digit| digit.to_digit(16));
        self.reads < 4 && digit.is_some_and(|digit| digit < self.gives_up)
    }

    /// The origins of what comes of a message, with type and topic. Not the least of it depends on who does the work.
    fn work(&self, event: &Event) -> Vec<((&'static str, &'static str), Origin)> {
        let (group, input) = (self.name.clone(), event.id.clone());
        if self.has_given_up(event) {
            let attempt = ATTEMPT;
            return vec![(STEPS[4], Origin::GivenUp { group, input, attempt })];
        }
        let steps = self.makes.iter().enumerate().filter_map(|(number, (further, key))| {
            let step = STEPS[..4].get(self.reads + further)?;
            let place = match key {
                Some(key) => Place::Key(key.clone()),
                None => Place::Position(u32::try_from(number).unwrap()),
            };
            let (group, input, attempt) = (group.clone(), input.clone(), ATTEMPT);
            Some((
                *step,
                Origin::Message {
                    group,
                    input,
                    attempt,
                    place,
                },
            ))
        });
        steps.collect()
    }
}

fn event((event_type, topic): (&str, &str), origin: Origin, source: &str, cause: Option<String>) -> Event {
    let data = serde_json::json!({ "stage": "build" });
    let outgoing = OutgoingEvent {
        id: origin.id(&[event_type, topic]),
        topic: topic.to_owned(),
        event_type: event_type.to_owned(),
        subject: None,
        run: "run".to_owned(),
        cause,
        origin,
        data: data.as_object().unwrap().clone(),
    };
    Event::of(outgoing, source, &topics())
}

fn topics() -> Topics {
    Topics::new("foundry")
}

fn step_of(event: &Event) -> usize {
    let topics = topics();
    let topic = topics.short(event.topic.as_deref().unwrap());
    STEPS.iter().position(|(_, of)| *of == topic).unwrap_or(STEPS.len())
}

/// Numbers that look random, and are the same for each seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }
}

/// The farm while it works.
struct Farm<'a> {
    groups: &'a [Group],
    ledgers: Vec<Ledger>,
    dice: Dice,
    /// What waits for which group.
    queue: VecDeque<(usize, Rc<Event>)>,
    /// Whose events were handled, for each group's number and event's id, each time.
    handled: BTreeMap<(usize, String), Vec<String>>,
    /// How often a host did not wait for another one that had settled something.
    impatience: BTreeMap<(usize, String), usize>,
    /// All that honest hosts published, by id, with what it is in words.
    published: BTreeMap<String, (String, Rc<Event>)>,
    refused: usize,
}

impl<'a> Farm<'a> {
    fn new(groups: &'a [Group], seed: u64) -> Self {
        Self {
            groups,
            ledgers: (0..HOSTS)
                .map(|_| Ledger::open(Path::new(":memory:")).unwrap())
                .collect(),
            dice: Dice(seed | 1),
            queue: VecDeque::new(),
            handled: BTreeMap::new(),
            impatience: BTreeMap::new(),
            published: BTreeMap::new(),
            refused: 0,
        }
    }

    /// The broker gives an event to each group that reads its topic, at any place among what waits.
    fn publish(&mut self, event: &Rc<Event>) {
        for (number, group) in self.groups.iter().enumerate() {
            if group.reads == step_of(event) {
                let at = self.dice.below(self.queue.len() + 1);
                self.queue.insert(at, (number, Rc::clone(event)));
            }
        }
    }

    /// An honest host publishes: in words, the same work is always the same event, and other work another one.
    fn say(&mut self, words: String, event: Event) {
        let event = Rc::new(event);
        let (known, _) = self
            .published
            .entry(event.id.clone())
            .or_insert_with(|| (words.clone(), Rc::clone(&event)));
        assert_eq!(*known, words, "one id for two works");
        for _ in 0..=usize::from(self.dice.one_in(3)) {
            self.publish(&event);
        }
    }

    /// Two watchbots, on two hosts, announce the same commits.
    fn announce(&mut self, commits: usize) {
        for commit in 0..commits {
            for host in 0..2 {
                let (bot, key) = ("watchbot".to_owned(), format!("commit {commit}"));
                let source = format!("h{host}/watch-{host}");
                let announced = event(STEPS[0], Origin::StockTimer { bot, key }, &source, None);
                self.say(format!("commit {commit}"), announced);
            }
        }
    }

    fn speaker(&self, event: &Event, receiver: usize) -> Speaker {
        let host = event.host();
        let number = (0..HOSTS).find(|number| host == format!("h{number}"));
        let groups: BTreeSet<String> = match number {
            Some(number) => {
                let of_host = |group: &&Group| group.members.iter().any(|(host, _)| *host == number);
                self.groups
                    .iter()
                    .filter(of_host)
                    .map(|group| group.name.clone())
                    .collect()
            }
            None => BTreeSet::from(["pub/liars".to_owned()]),
        };
        let may = if number.is_some() {
            Duties::all()
        } else {
            "build,sign,publish".parse().unwrap()
        };
        let fingerprint: Fingerprint = "00112233445566778899aabbccddeeff00112233".parse().unwrap();
        Speaker {
            key: fingerprint,
            binding: Some(Binding::new(host, may).unwrap().in_groups(Groups::of(groups).unwrap())),
            is_own: number == Some(receiver),
            claims: std::sync::Arc::default(),
        }
    }

    fn is_believed(&self, event: &Event, receiver: usize) -> bool {
        let upgraded = Upgraded {
            topics: OffsetDateTime::UNIX_EPOCH,
            origins: OffsetDateTime::UNIX_EPOCH,
            announcements: OffsetDateTime::UNIX_EPOCH,
        };
        let topic = event.topic.as_deref().unwrap();
        decide(&self.speaker(event, receiver), event, topic, &topics(), upgraded).is_ok()
    }

    /// Until nothing waits any more.
    async fn work(&mut self) {
        while let Some((number, event)) = self.queue.pop_front() {
            let group = &self.groups[number];
            let (host, bot) = group.members[self.dice.below(group.members.len())].clone();
            if !self.is_believed(&event, host) {
                self.refused += 1;
                continue;
            }
            if self.is_settled(number, &event, host).await {
                continue;
            }
            if self.dice.one_in(4) {
                // It dies with the message in hand, which goes to another member.
                self.queue.push_back((number, event));
                continue;
            }
            self.handle(number, &event, (host, &bot)).await;
            if self.dice.one_in(3) {
                // The acknowledgement was lost.
                self.queue.push_back((number, event));
            }
        }
    }

    /// Whether a host has settled it, or another one that it asks. One that stays away for too long is not waited for.
    async fn is_settled(&mut self, number: usize, event: &Event, host: usize) -> bool {
        let group = &self.groups[number].name;
        let mut elsewhere = false;
        for (other, ledger) in self.ledgers.iter().enumerate() {
            let settled = ledger.known(group, &event.id).await.unwrap().settled;
            if settled && other == host {
                return true;
            }
            elsewhere |= settled;
        }
        if elsewhere && self.dice.one_in(8) {
            *self.impatience.entry((number, event.id.clone())).or_default() += 1;
            return false;
        }
        if elsewhere {
            self.ledgers[host].settled_elsewhere(group, &event.id).await.unwrap();
        }
        elsewhere
    }

    async fn handle(&mut self, number: usize, input: &Event, (host, bot): (usize, &str)) {
        let group = &self.groups[number];
        let source = format!("h{host}/{bot}");
        let made: Vec<_> = group
            .work(input)
            .into_iter()
            .map(|(step, origin)| {
                let words = match &origin {
                    Origin::Message {
                        place: Place::Key(key), ..
                    } => format!("{step:?} of {} by key {key}", group.name),
                    origin => format!("{step:?} of {origin:?}"),
                };
                (words, event(step, origin, &source, Some(input.id.clone())))
            })
            .collect();
        let settlement = Settlement {
            bot: bot.to_owned(),
            message: Some((group.name.clone(), input.id.clone())),
            events: made.iter().map(|(_, event)| EventRow::of(event, "")).collect(),
            ..Settlement::default()
        };
        self.ledgers[host].settle(settlement).await.unwrap();
        let handled = self.handled.entry((number, input.id.clone())).or_default();
        handled.push(input.source.clone());
        for (words, event) in made {
            self.say(words, event);
        }
    }
}

/// Runs a farm, in which somebody says other things first.
fn farm(groups: &[Group], commits: usize, seed: u64, lies: &[Event]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut farm = Farm::new(groups, seed);
    for lie in lies {
        farm.publish(&Rc::new(lie.clone()));
    }
    farm.announce(commits);
    runtime.block_on(farm.work());
    Outcome {
        handled: farm.handled,
        impatience: farm.impatience,
        published: farm
            .published
            .into_iter()
            .map(|(id, (_, event))| (id, (*event).clone()))
            .collect(),
        refused: farm.refused,
    }
}

struct Outcome {
    handled: BTreeMap<(usize, String), Vec<String>>,
    impatience: BTreeMap<(usize, String), usize>,
    published: BTreeMap<String, Event>,
    refused: usize,
}

/// What a liar makes of an event that an honest host is going to publish: the same id, with a story of his own.
fn lie(honest: &Event, story: usize) -> Event {
    let group = || "pub/liars".to_owned();
    let input = honest.cause.clone().unwrap_or_else(|| "c1".to_owned());
    let mut lie = honest.clone();
    lie.source = format!("{LIAR}/bot");
    let attempt = ATTEMPT;
    let place = Place::Position(0);
    match story % 7 {
        // The words of the honest one.
        0 => {}
        1 => {
            lie.derivation = Origin::Message {
                group: group(),
                input,
                attempt,
                place,
            }
            .into()
        }
        2 => {
            lie.derivation = Origin::GivenUp {
                group: group(),
                input,
                attempt,
            }
            .into()
        }
        3 => lie.derivation = Origin::of_its_own(LIAR).into(),
        4 => {
            let [bot, key] = ["watchbot", "commit 0"].map(ToOwned::to_owned);
            lie.derivation = Origin::StockTimer { bot, key }.into();
        }
        5 => lie.derivation = Attributes::default(),
        // What he may say, under the id that it has.
        _ => {
            let origin = Origin::Message {
                group: group(),
                input,
                attempt,
                place,
            };
            lie = event(
                STEPS[1],
                origin,
                &format!("{LIAR}/bot"),
                honest.cause.clone().or(Some("c1".to_owned())),
            );
        }
    }
    // On a topic on which he may speak.
    if story.is_multiple_of(2) {
        let (event_type, topic) = STEPS[1 + story % 3];
        (lie.event_type, lie.topic) = (event_type.to_owned(), Some(topics().full(topic)));
    }
    lie
}

fn any_groups() -> impl Strategy<Value = Vec<Group>> {
    let member = (0..HOSTS, "[a-c]{1,2}");
    let make = (1_usize..3, prop::option::of("[k-m]"));
    let group = (
        0_usize..5,
        prop::collection::vec(member, 1..4),
        prop::collection::vec(make, 0..3),
        0_u32..5,
    );
    let named = |groups: Vec<_>| {
        let groups = groups.into_iter().enumerate();
        let groups = groups.map(|(number, (reads, members, makes, gives_up))| Group {
            name: format!("pub/{number}"),
            reads,
            members,
            makes,
            gives_up,
        });
        groups.collect()
    };
    prop::collection::vec(group, 1..6).prop_map(named)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Same work has the same id and other work another one, each event is handled for each group that reads it, and once, but for hosts
    /// that did not wait for others.
    #[test]
    fn each_event_is_handled_once_by_each_group_whoever_repeats_it(
        groups in any_groups(), commits in 1_usize..4, seed in any::<u64>(),
    ) {
        let outcome = farm(&groups, commits, seed, &[]);
        prop_assert_eq!(outcome.refused, 0);
        for (id, event) in &outcome.published {
            let readers = groups.iter().enumerate().filter(|(_, group)| group.reads == step_of(event));
            for (number, group) in readers {
                let work = (number, id.clone());
                let times = outcome.handled.get(&work).map_or(0, Vec::len);
                let most = 1 + outcome.impatience.get(&work).copied().unwrap_or(0);
                prop_assert!((1..=most).contains(&times), "{} {} times for {}", id, times, group.name);
            }
        }
        // Another order, other hosts, other deaths: the same events.
        let again = farm(&groups, commits, seed.rotate_left(7) ^ 0x5555, &[]);
        prop_assert!(again.published.keys().eq(outcome.published.keys()));
    }

    /// A liar who knows all ids beforehand takes none of them.
    #[test]
    fn a_host_that_says_whatever_it_likes_takes_no_honest_events_place(
        groups in any_groups(), commits in 1_usize..4, seed in any::<u64>(),
        stories in prop::collection::vec(0_usize..21, 1..6),
    ) {
        let honest = farm(&groups, commits, seed, &[]);
        let lies: Vec<_> = honest
            .published
            .values()
            .flat_map(|event| stories.iter().map(|story| lie(event, *story)))
            .collect();
        let outcome = farm(&groups, commits, seed, &lies);
        for work in honest.handled.keys() {
            let by = outcome.handled.get(work).cloned().unwrap_or_default();
            let is_honest = |source: &String| !source.starts_with(LIAR);
            prop_assert!(!by.is_empty() && by.iter().all(is_honest), "{:?} by {:?}", work, by);
        }
    }
}
