//! The archive against a simple model: whatever was written before a crash is what a start finds, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::change::{Archived, Change};
use super::store::Store;
use crate::database;
use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::routing::SubscriptionOptions;
use crate::session::{Kept, Ordinary};
use crate::topic::{GroupKey, Subscribable, TopicFilter, TopicName};

const TOPICS: [&str; 3] = ["a", "a/b", "ü/$x"];
const FILTERS: [&str; 3] = ["a/#", "+", "$SYS/x"];
const GROUPS: [&str; 2] = ["$share/g/a/#", "$share/h/+"];

#[derive(Debug, Clone)]
enum Step {
    Tell(Change),
    /// Everything told before is committed.
    Commit,
    /// The process dies, with what was not committed, and the next one starts after a while.
    Crash {
        seconds: u32,
    },
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn message() -> impl Strategy<Value = Message> {
    let expires = prop::option::of(0_u64..60_000);
    let payload = prop::collection::vec(any::<u8>(), 0..5);
    (prop::sample::select(TOPICS.to_vec()), payload, qos(), expires).prop_map(|(topic, payload, qos, expires)| {
        Message {
            topic: TopicName::new(topic).unwrap(),
            payload: database::payload(&payload),
            qos,
            retain: true,
            expires: expires.map(Timestamp),
            properties: Vec::new(),
            publisher: SessionId(0),
        }
    })
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    (qos(), any::<bool>(), any::<bool>(), prop::option::of(1_u32..9)).prop_map(
        |(qos, no_local, retain_as_published, identifier)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            identifier,
        },
    )
}

fn group(filter: &str) -> GroupKey {
    match Subscribable::parse(filter) {
        Ok(Subscribable::Shared(key)) => key,
        other => panic!("{other:?}"),
    }
}

/// Changes as the broker tells them; the rows of mail are numbered when the steps are taken.
fn change() -> impl Strategy<Value = Change> {
    let session = || (1_u64..4).prop_map(SessionId);
    let expiry = || prop::sample::select(vec![0_u32, 10, 40, u32::MAX]);
    let filter = || prop::sample::select(FILTERS.to_vec()).prop_map(|filter| TopicFilter::new(filter).unwrap());
    let key = || prop::sample::select(GROUPS.to_vec()).prop_map(group);
    let mail =
        (message(), options(), any::<bool>(), 1_u16..9).prop_map(|(message, options, retain, packet_id)| Ordinary {
            qos: options.qos,
            retain,
            subscription: options.identifier,
            kept: Some(Kept {
                row: 0,
                packet_id,
                restored: false,
            }),
            message: Arc::new(message),
        });
    prop_oneof![
        4 => (session(), expiry()).prop_map(|(session, expiry)| Change::Open {
            session,
            client_id: format!("client-{}", session.0),
            user: (session.0 == 1).then(|| "ann".to_owned()),
            expiry,
        }),
        1 => (session(), expiry()).prop_map(|(session, expiry)| Change::Resume(session, expiry)),
        2 => (session(), expiry(), prop::option::of(0_u64..60_000))
            .prop_map(|(session, expiry, ends)| Change::Park(session, expiry, ends.map(Timestamp))),
        1 => session().prop_map(Change::End),
        2 => (session(), filter(), options()).prop_map(|(session, filter, options)| Change::Subscribe(session, filter, options)),
        1 => (session(), filter()).prop_map(|(session, filter)| Change::Unsubscribe(session, filter)),
        2 => (session(), key(), qos(), prop::option::of(1_u32..9))
            .prop_map(|(session, key, qos, identifier)| Change::Join(session, key, qos, identifier)),
        1 => (session(), key()).prop_map(|(session, key)| Change::Quit(session, key)),
        6 => (session(), mail).prop_map(|(session, mail)| Change::Mail(session, mail)),
        3 => (0_i64..8).prop_map(Change::Done),
        2 => (0_i64..8).prop_map(Change::Received),
        1 => (0_i64..8, 1_u16..9).prop_map(|(row, id)| Change::Renumber(row, id)),
        2 => (session(), 1_u16..5).prop_map(|(session, id)| Change::Took(session, id)),
        1 => (session(), 1_u16..5).prop_map(|(session, id)| Change::Forgot(session, id)),
        2 => (session(), message(), 0_u32..3).prop_map(|(session, will, delay)| Change::Will(session, will, delay)),
        1 => session().prop_map(Change::NoWill),
        3 => message().prop_map(|message| Change::Retain(Arc::new(message))),
        1 => message().prop_map(|message| Change::Unretain(message.topic)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => change().prop_map(Step::Tell),
        4 => Just(Step::Commit),
        1 => (0_u32..30).prop_map(|seconds| Step::Crash { seconds }),
    ]
}

/// One comparable line for each thing that is remembered.
type Memory = BTreeSet<String>;

fn line(message: &Message) -> String {
    let Message {
        topic,
        payload,
        qos,
        expires,
        ..
    } = message;
    format!("{topic} {:?} {qos:?} {expires:?}", payload.as_slice())
}

fn memory_of(archived: &Archived) -> Memory {
    let mut memory = Memory::new();
    for message in &archived.retained {
        memory.insert(format!("retained {}", line(message)));
    }
    for (session, message, delay) in &archived.wills {
        memory.insert(format!("will {session:?} {} {delay}", line(message)));
    }
    for session in &archived.sessions {
        let id = session.id;
        memory.insert(format!(
            "session {id:?} {} {:?} {} {:?}",
            session.client_id, session.user, session.expiry, session.ends
        ));
        for (filter, options) in &session.subscriptions {
            memory.insert(format!("subscription {id:?} {filter} {options:?}"));
        }
        for (key, membership) in &session.groups {
            memory.insert(format!("member {id:?} {key} {membership:?}"));
        }
        for id_in_use in &session.inbound {
            memory.insert(format!("inbound {id:?} {id_in_use}"));
        }
        let mut last = 0;
        for mail in &session.mail {
            assert!(mail.row > last, "mail is in order");
            last = mail.row;
            let what = mail.ordinary.as_ref().map(|mail| {
                let message = line(&mail.message);
                format!("{message} {:?} {} {:?}", mail.qos, mail.retain, mail.subscription)
            });
            memory.insert(format!("mail {} {id:?} {} {what:?}", mail.row, mail.packet_id));
        }
    }
    memory
}

#[derive(Debug, Clone)]
struct ModelSession {
    client_id: String,
    user: Option<String>,
    expiry: u32,
    ends: Option<Timestamp>,
}

/// What has been told, by what it is about.
#[derive(Debug, Clone, Default)]
struct Model {
    sessions: BTreeMap<SessionId, ModelSession>,
    subscriptions: BTreeMap<(SessionId, String), String>,
    mail: BTreeMap<i64, (SessionId, Ordinary, bool)>,
    inbound: BTreeSet<(SessionId, u16)>,
    wills: BTreeMap<SessionId, (Message, u32)>,
    retained: BTreeMap<TopicName, Arc<Message>>,
}

impl Model {
    fn tell(&mut self, change: &Change) {
        match change.clone() {
            Change::Open {
                session,
                client_id,
                user,
                expiry,
            } => {
                let ends = None;
                let opened = ModelSession {
                    client_id,
                    user,
                    expiry,
                    ends,
                };
                self.sessions.insert(session, opened);
            }
            Change::Resume(session, expiry) => self.park(session, expiry, None),
            Change::Park(session, expiry, ends) => self.park(session, expiry, ends),
            Change::End(session) => {
                self.sessions.remove(&session);
                self.forget(|other| other != session);
            }
            Change::Subscribe(session, filter, options) => {
                let line = format!("subscription {session:?} {filter} {options:?}");
                self.subscriptions.insert((session, filter.to_string()), line);
            }
            Change::Join(session, key, qos, identifier) => {
                let line = format!("member {session:?} {key} {:?}", (qos, identifier));
                self.subscriptions.insert((session, key.to_string()), line);
            }
            Change::Unsubscribe(session, filter) => drop(self.subscriptions.remove(&(session, filter.to_string()))),
            Change::Quit(session, key) => drop(self.subscriptions.remove(&(session, key.to_string()))),
            Change::Mail(session, mail) => {
                self.mail.insert(mail.kept.unwrap().row, (session, mail, false));
            }
            Change::Done(row) => drop(self.mail.remove(&row)),
            Change::Received(row) => {
                if let Some((_, _, received)) = self.mail.get_mut(&row) {
                    *received = true;
                }
            }
            Change::Renumber(row, id) => {
                let mail = self.mail.get_mut(&row);
                if let Some(kept) = mail.and_then(|(_, mail, _)| mail.kept.as_mut()) {
                    kept.packet_id = id;
                }
            }
            Change::Took(session, id) => drop(self.inbound.insert((session, id))),
            Change::Forgot(session, id) => drop(self.inbound.remove(&(session, id))),
            Change::Will(session, will, delay) => drop(self.wills.insert(session, (will, delay))),
            Change::NoWill(session) => drop(self.wills.remove(&session)),
            Change::Retain(message) => drop(self.retained.insert(message.topic.clone(), message)),
            Change::Unretain(topic) => drop(self.retained.remove(&topic)),
        }
    }

    fn park(&mut self, session: SessionId, expiry: u32, ends: Option<Timestamp>) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.expiry = expiry;
            session.ends = ends;
        }
    }

    fn forget(&mut self, keep: impl Fn(SessionId) -> bool) {
        self.subscriptions.retain(|(session, _), _| keep(*session));
        self.mail.retain(|_, (session, ..)| keep(*session));
        self.inbound.retain(|(session, _)| keep(*session));
    }

    /// The broker starts at `now`: what has ended is gone, and says what there is.
    fn start(&mut self, now: Timestamp) -> Memory {
        self.sessions
            .retain(|_, session| session.expiry > 0 && session.ends.is_none_or(|ends| ends > now));
        let alive: BTreeSet<SessionId> = self.sessions.keys().copied().collect();
        self.forget(|session| alive.contains(&session));
        self.retained.retain(|_, message| !message.is_expired(now));
        let mut memory: Memory = self.subscriptions.values().cloned().collect();
        for (id, session) in &self.sessions {
            let ModelSession {
                client_id,
                user,
                expiry,
                ends,
            } = session;
            let away = (*expiry != u32::MAX).then(|| now.plus_seconds(*expiry));
            memory.insert(format!(
                "session {id:?} {client_id} {user:?} {expiry} {:?}",
                ends.or(away)
            ));
        }
        for (row, (session, mail, received)) in &self.mail {
            let what = (!received).then(|| {
                // What waits has the QoS of its delivery.
                let message = Message {
                    qos: mail.qos,
                    ..mail.message.as_ref().clone()
                };
                format!(
                    "{} {:?} {} {:?}",
                    line(&message),
                    mail.qos,
                    mail.retain,
                    mail.subscription
                )
            });
            memory.insert(format!(
                "mail {row} {session:?} {} {what:?}",
                mail.kept.unwrap().packet_id
            ));
        }
        for (session, id) in &self.inbound {
            memory.insert(format!("inbound {session:?} {id}"));
        }
        for (session, (will, delay)) in &self.wills {
            memory.insert(format!("will {session:?} {} {delay}", line(will)));
        }
        for message in self.retained.values() {
            memory.insert(format!("retained {}", line(message)));
        }
        memory
    }
}

fn run(path: &Path, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut store = Store::open(path).unwrap();
    // These tests kill no machine.
    store.database.run("hurry", "PRAGMA synchronous = OFF").unwrap();
    let (mut committed, mut told) = (Model::default(), Model::default());
    let (mut now, mut last_row) = (Timestamp(0), 0);
    store.database.begin().unwrap();
    for step in steps {
        match step {
            Step::Tell(mut change) => {
                if let Change::Mail(_, mail) = &mut change {
                    last_row += 1;
                    mail.kept.as_mut().unwrap().row = last_row;
                }
                if let Change::Done(row) | Change::Received(row) | Change::Renumber(row, _) = &mut change {
                    *row = last_row - *row;
                }
                store.apply(&change).unwrap();
                told.tell(&change);
            }
            Step::Commit => {
                store.database.commit().unwrap();
                store.database.begin().unwrap();
                committed = told.clone();
            }
            Step::Crash { seconds } => {
                drop(store);
                store = Store::open(path).unwrap();
                store.database.run("hurry", "PRAGMA synchronous = OFF").unwrap();
                now = now.plus_seconds(seconds);
                let archived = store.load(now).unwrap();
                prop_assert_eq!(memory_of(&archived), committed.start(now));
                told = committed.clone();
                store.database.begin().unwrap();
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn start_finds_what_was_committed_and_nothing_else(steps in prop::collection::vec(step(), 1..80)) {
        let directory = tempfile::tempdir().unwrap();
        let mut steps = steps;
        steps.push(Step::Crash { seconds: 1 });
        run(&directory.path().join("sessions.sqlite"), steps)?;
    }
}
