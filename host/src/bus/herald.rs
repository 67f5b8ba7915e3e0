//! What this host says of itself and its bots: signed, numbered, and said once more where the broker keeps something else.
//!
//! A broker keeps the last word of a topic, whoever sent it. Receivers believe none but the host's own words, and of those the
//! newest; but one that comes later sees only what the broker keeps. So a host looks at its own topics, and where the last
//! word is not its own present one it says that again. Nobody can make it do that more often than once in [`ROUND`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::holder::Holder;
use super::presence::{GONE, HostPresence, OFFLINE, ONLINE, Presence, Rank, Word, data};
use super::publisher::{LiveMessage, Publisher};
use crate::event::policy::{BOT_PRESENCE, HOST_PRESENCE};
use crate::event::{Event, Origin, OutgoingEvent, Topics};
use crate::keys::Signer;

/// Pause before the host says again what somebody replaced; everything that was replaced meanwhile is said together.
const ROUND: Duration = Duration::from_secs(5);

/// Topics of this host that are said again in one round. Somebody can invent any number of them.
const MOST: usize = 512;

/// What a connection speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The host itself.
    Host,
    /// One of its bots, as it presents itself while its connection lasts.
    Bot(Box<Presence>),
}

/// Says who this host is and which bots it has. Clones share what was said.
#[derive(Clone)]
pub struct Herald {
    inner: Arc<Inner>,
}

struct Inner {
    own: Holder,
    topics: Topics,
    signer: Arc<Signer>,
    said: Mutex<Said>,
    disturbed: Notify,
}

#[derive(Debug, Default)]
struct Said {
    /// When this start began, as others are told.
    began: u64,
    /// The number of the last word.
    turn: u64,
    /// What holds at present, by full topic.
    words: BTreeMap<String, Current>,
    /// Topics whose last word does not hold.
    disturbed: BTreeMap<String, Disturbance>,
}

/// What came instead of what holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    /// What nobody believes.
    Unproven,
    /// A word of this start from before, which those believe that have heard no later one.
    OfThisStart,
    /// A word of another start.
    OfAnother,
}

/// A word that holds at present.
#[derive(Debug)]
struct Current {
    subject: Subject,
    turn: u64,
    payload: Vec<u8>,
    /// What the broker says in this host's name when the connection breaks; true then.
    will: Option<Vec<u8>>,
    /// Whether the broker has said it.
    has_ended: bool,
}

/// What a connection says when it begins, and what the broker is to say when it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    turn: u64,
    /// The full topic.
    pub(super) topic: String,
    /// Said once the connection is there.
    pub(super) hello: Vec<u8>,
    /// Said by the broker.
    pub(super) will: Vec<u8>,
}

/// Speaks for the host or one bot, over any number of connections one after the other.
#[derive(Clone)]
pub struct Card {
    herald: Herald,
    subject: Subject,
    /// Whether a connection took the subject's leave.
    left: Arc<AtomicBool>,
}

impl Herald {
    /// For a start of a host that began at a time, in seconds since 1970, which is later than every start before it.
    #[must_use]
    pub fn new(own: Holder, topics: Topics, signer: Arc<Signer>, began: u64) -> Self {
        let said = Said {
            began,
            ..Said::default()
        };
        Self {
            inner: Arc::new(Inner {
                own,
                topics,
                signer,
                said: Mutex::new(said),
                disturbed: Notify::new(),
            }),
        }
    }

    /// What a connection needs to speak for the host or a bot.
    #[must_use]
    pub fn card(&self, subject: Subject) -> Card {
        Card {
            herald: self.clone(),
            subject,
            left: Arc::default(),
        }
    }

    /// A word that holds until the next one, whatever becomes of any connection: a retained message.
    #[must_use]
    pub fn say(&self, subject: Subject) -> Option<LiveMessage> {
        let turn = self.said().next_turn();
        let topic = self.topic(&subject);
        let payload = self.signed(&subject, turn, None)?;
        let current = Current {
            subject,
            turn,
            payload: payload.clone(),
            will: None,
            has_ended: false,
        };
        self.said().words.insert(topic.clone(), current);
        Some(retained(topic, payload))
    }

    /// A bot's leave, said in the host's name: the word that it is gone, and the removal of what the broker keeps.
    #[must_use]
    pub fn farewell(&self, bot: &Presence) -> Vec<LiveMessage> {
        let card = self.card(Subject::Bot(Box::new(bot.clone())));
        card.leave()
            .into_iter()
            .map(|(topic, payload)| retained(topic, payload))
            .collect()
    }

    /// Note what came on one of this host's topics. `rank` is the place of the word, if it was verified to be this host's.
    /// Returns when this start has to have begun for its words to count, if another start of this host outdid it.
    pub(super) fn heard(&self, topic: &str, payload: &[u8], rank: Option<Rank>) -> Option<u64> {
        let start = self.inner.own.start;
        let disturbance = match rank {
            None => Disturbance::Unproven,
            Some(rank) if rank.start == start => Disturbance::OfThisStart,
            Some(_) => Disturbance::OfAnother,
        };
        let mut said = self.said();
        let holds = match said.words.get_mut(topic) {
            Some(current) => current.holds(payload),
            // The host's own word comes with its connection, and its bots of an earlier start are about to be loaded.
            None => {
                let comes = topic == self.topic(&Subject::Host) || disturbance == Disturbance::OfAnother;
                comes || payload.is_empty()
            }
        };
        if holds {
            said.disturbed.remove(topic);
        } else if said.disturbed.len() < MOST {
            said.disturbed.insert(topic.to_owned(), disturbance);
            self.inner.disturbed.notify_one();
        }
        let own = said.rank(start);
        rank.filter(|rank| rank.is_of_later_start(&own))
            .map(|rank| rank.began.saturating_add(1))
    }

    /// Whether another start's word would be believed rather than this one's.
    pub(super) fn is_outdone_by(&self, rank: &Rank) -> bool {
        rank.is_of_later_start(&self.said().rank(self.inner.own.start))
    }

    /// From now on this start began at that time. Everything is said again, with the same turns, so that the wills that brokers
    /// hold stay true.
    pub(super) fn begin_at(&self, began: u64) {
        let mut said = self.said();
        said.began = said.began.max(began);
        let all: Vec<_> = said
            .words
            .keys()
            .map(|topic| (topic.clone(), Disturbance::OfAnother))
            .collect();
        said.disturbed.extend(all);
        drop(said);
        self.inner.disturbed.notify_one();
    }

    /// Say again what somebody replaced, until cancelled.
    pub async fn defend(self, publisher: Publisher, cancel: CancellationToken) {
        let defend = async {
            loop {
                self.inner.disturbed.notified().await;
                tokio::time::sleep(ROUND).await;
                for message in self.corrections() {
                    publisher.live(message);
                }
            }
        };
        cancel.run_until_cancelled(defend).await;
    }

    /// What holds on the topics whose last word was another one.
    fn corrections(&self) -> Vec<LiveMessage> {
        let disturbed = std::mem::take(&mut self.said().disturbed);
        let corrections = disturbed.iter().flat_map(|(topic, by)| self.correction(topic, *by));
        corrections.collect()
    }

    fn correction(&self, topic: &str, by: Disturbance) -> Vec<LiveMessage> {
        tracing::debug!(topic, "says again what somebody else replaced");
        let current = self
            .said()
            .words
            .get(topic)
            .map(|word| (word.subject.clone(), word.turn, word.status()));
        let Some((subject, turn, status)) = current else {
            return self.removal(topic, by);
        };
        let Some(payload) = self.signed(&subject, turn, status) else {
            return Vec::new();
        };
        if let Some(word) = self
            .said()
            .words
            .get_mut(topic)
            .filter(|word| word.turn == turn && word.status() == status)
        {
            word.payload.clone_from(&payload);
        }
        vec![retained(topic.to_owned(), payload)]
    }

    /// This host has no such bot: what older versions left, or what somebody sent again, goes.
    fn removal(&self, topic: &str, by: Disturbance) -> Vec<LiveMessage> {
        if by != Disturbance::OfThisStart {
            return vec![retained(topic.to_owned(), Vec::new())];
        }
        let bot = self.inner.topics.short(topic).rsplit('/').next().unwrap_or_default();
        self.farewell(&Presence {
            host: self.inner.own.host.clone(),
            bot: bot.to_owned(),
            component: String::new(),
            status: GONE.to_owned(),
            detail: None,
            group: None,
            reads: Vec::new(),
            publishes: Vec::new(),
            since: String::new(),
        })
    }

    fn topic(&self, subject: &Subject) -> String {
        match subject {
            Subject::Host => self.inner.topics.host(&self.inner.own.host),
            Subject::Bot(bot) => self.inner.topics.bot(&bot.host, &bot.bot),
        }
    }

    /// The signed event that says a word; with another status than the subject's own, if one is given.
    fn signed(&self, subject: &Subject, turn: u64, status: Option<&str>) -> Option<Vec<u8>> {
        let Inner {
            own, topics, signer, ..
        } = &*self.inner;
        let rank = Rank {
            began: self.said().began,
            start: own.start,
            turn,
        };
        let (event_type, part, data) = match subject {
            Subject::Host => (HOST_PRESENCE, "host", data(&host_word(own, rank, status))),
            Subject::Bot(bot) => (BOT_PRESENCE, bot.bot.as_str(), data(&bot_word(bot, rank, status))),
        };
        let origin = Origin::of_its_own(&own.host);
        let topic = self.topic(subject);
        let outgoing = OutgoingEvent::own(origin, topics.short(&topic), event_type, "presence", data);
        match Event::of(outgoing, &format!("{}/{part}", own.host), topics).sign(signer) {
            Ok(payload) => Some(payload),
            Err(error) => {
                tracing::error!(%error, "cannot sign this host's presence: other hosts do not see it");
                None
            }
        }
    }

    /// Nothing panics while it holds this.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.inner.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    /// Whether this is what holds. After the will, the word that began the connection does not any more.
    fn holds(&mut self, payload: &[u8]) -> bool {
        if self.will.as_deref() == Some(payload) {
            self.payload = payload.to_vec();
            self.has_ended = true;
        }
        self.payload == payload
    }

    fn status(&self) -> Option<&'static str> {
        self.has_ended.then_some(OFFLINE)
    }
}

impl Said {
    /// The place of this start.
    fn rank(&self, start: u64) -> Rank {
        Rank {
            began: self.began,
            start,
            turn: 0,
        }
    }

    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

impl Card {
    /// What the next connection says; none if the key can't sign.
    pub(super) fn visit(&self) -> Option<Visit> {
        let turn = self.herald.said().next_turn();
        Some(Visit {
            turn,
            topic: self.herald.topic(&self.subject),
            hello: self.herald.signed(&self.subject, turn, None)?,
            will: self.herald.signed(&self.subject, turn, Some(OFFLINE))?,
        })
    }

    /// The connection is there: its words hold from now on.
    pub(super) fn begin(&self, visit: &Visit) {
        let current = Current {
            subject: self.subject.clone(),
            turn: visit.turn,
            payload: visit.hello.clone(),
            will: Some(visit.will.clone()),
            has_ended: false,
        };
        self.herald.said().words.insert(visit.topic.clone(), current);
    }

    /// The subject's leave was said over its connection.
    pub(super) fn has_left(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// The subject's leave, said in the host's name, if no connection was there to take it; see [`Herald::farewell`].
    #[must_use]
    pub fn belated_leave(&self) -> Vec<LiveMessage> {
        if self.left.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.leave()
            .into_iter()
            .map(|(topic, payload)| retained(topic, payload))
            .collect()
    }

    /// The subject takes its leave: what to publish, retained. The broker keeps nothing of it then.
    pub(super) fn leave(&self) -> Vec<(String, Vec<u8>)> {
        let topic = self.herald.topic(&self.subject);
        let turn = {
            let mut said = self.herald.said();
            said.words.remove(&topic);
            said.next_turn()
        };
        let gone = self.herald.signed(&self.subject, turn, Some(GONE));
        gone.into_iter()
            .chain([Vec::new()])
            .map(|payload| (topic.clone(), payload))
            .collect()
    }
}

fn host_word(own: &Holder, rank: Rank, status: Option<&str>) -> Word<HostPresence> {
    Word {
        what: HostPresence {
            host: own.host.clone(),
            status: status.unwrap_or(ONLINE).to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: own.identity.clone(),
        },
        rank,
    }
}

fn bot_word(bot: &Presence, rank: Rank, status: Option<&str>) -> Word<Presence> {
    let status = status.unwrap_or(&bot.status).to_owned();
    Word {
        what: Presence { status, ..bot.clone() },
        rank,
    }
}

fn retained(topic: String, payload: Vec<u8>) -> LiveMessage {
    LiveMessage {
        topic,
        payload,
        retain: true,
    }
}

#[cfg(test)]
mod tests;
