//! Asking the other hosts of a group about a message that one of them may have settled.
//!
//! Only messages that come again are asked about, so that nobody pays for this while nobody dies. A host that doesn't
//! answer keeps nobody from beginning: the work is done while it is waited for, and only what the work came to waits,
//! for as long as the patience lasts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claims::{Claims, Key, Moment, Standing};
use super::clearance::Clearance;
use super::connection::ConnectionOptions;
use super::consumer::{Consumer, Delivery};
use super::doubts::Doubts;
use super::herald::Herald;
use super::holder::{Holder, Word};
use super::inquiry::signed;
use super::jobs::{self, Heed, Jobs};
use super::presence;
use super::publisher::{LiveMessage, Publisher};
use super::take_overs::TakeOvers;
use crate::event::policy::may_work_in;
use crate::event::{CLOCK_SKEW, Event, LONGEST_TOPIC, Origin, OutgoingEvent, Verifier, is_id};
use crate::keys::{Duty, Signer};
use crate::ledger::Ledger;

/// Type of a question.
const QUESTION: &str = "foundry.peer-question.v1";

/// Type of an answer.
const ANSWER: &str = "foundry.peer-answer.v1";

/// Questions and answers that may wait.
const RECEIVE_MAXIMUM: u16 = 64;

/// Pause between answers to hosts of this name that nobody can prove to be any.
const UNPROVEN: Duration = Duration::from_secs(1);

/// How far ahead of this host's time a question's moment may be, in microseconds: twice what clocks may differ.
const AHEAD: Moment = CLOCK_SKEW.as_secs() * 2_000_000;

/// What hosts say to each other about a message.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    group: String,
    id: String,
    asked: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing: Option<Standing>,
}

/// The other hosts.
#[derive(Clone)]
pub struct Peers {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) own: Holder,
    herald: Herald,
    take_overs: TakeOvers,
    doubts: Doubts,
    /// When a host of this name was answered whose question nobody could prove to be one.
    answered_unproven: Mutex<Option<Instant>>,
    verifier: Arc<Verifier>,
    signer: Arc<Signer>,
    pub(super) ledger: Ledger,
    publisher: Publisher,
    pub(super) patience: Duration,
    pub(super) claims: Mutex<Claims>,
    /// Who waits for the answers to which question.
    pub(super) askers: Askers,
    /// What bots have done and have in hand.
    pub(super) jobs: Jobs,
    /// Hosts that were waited for in vain, and not heard of since.
    pub(super) absent: Mutex<BTreeSet<String>>,
}

/// Who waits for the answers to which question.
pub(super) type Askers = Mutex<HashMap<String, mpsc::UnboundedSender<Heard>>>;

/// An answer: whose, to the question of which moment, and what it says.
pub(super) type Heard = (String, Moment, Standing);

impl Peers {
    /// Begin to answer, and to be able to ask.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is a different part of the host")]
    pub fn start(
        options: ConnectionOptions,
        own: Holder,
        herald: Herald,
        verifier: Arc<Verifier>,
        signer: Arc<Signer>,
        ledger: Ledger,
        publisher: Publisher,
        patience: Duration,
        cancel: CancellationToken,
    ) -> Self {
        let take_overs = options.take_overs.clone();
        let options = ConnectionOptions {
            // Questions are repeated by those who ask.
            persistent: false,
            receive_maximum: RECEIVE_MAXIMUM,
            ..options
        };
        let filters = vec![verifier.topics.peer(&own.host), verifier.topics.host(&own.host)];
        let consumer = Consumer::onlooker(options, filters);
        let (deliveries, _state, _task) = consumer.start(cancel);
        let inner = Arc::new(Inner {
            claims: Mutex::new(Claims::of(&own.host)),
            own,
            herald,
            take_overs,
            doubts: Doubts::default(),
            answered_unproven: Mutex::default(),
            verifier,
            signer,
            ledger,
            publisher,
            patience,
            askers: Mutex::default(),
            jobs: Jobs::default(),
            absent: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&inner).listen(deliveries));
        Self { inner }
    }

    /// What was said of hosts that are not believed.
    #[must_use]
    pub fn doubts(&self) -> Doubts {
        self.inner.doubts.clone()
    }

    /// A message is here; `again` if it may have been elsewhere before. Only hosts that have the duty `work`, if one is named,
    /// are asked and believed.
    #[must_use]
    pub fn clearance(&self, group: &str, id: &str, again: bool, work: Option<Duty>) -> Clearance {
        Clearance::of(&self.inner, (group.to_owned(), id.to_owned()), again, work)
    }
}

impl Inner {
    async fn listen(self: Arc<Self>, mut deliveries: mpsc::Receiver<Delivery>) {
        while let Some(delivery) = deliveries.recv().await {
            if delivery.topic == self.verifier.topics.host(&self.own.host) {
                self.presence(&delivery);
            } else {
                self.word(&delivery).await;
            }
            delivery.acknowledge();
        }
    }

    async fn word(&self, delivery: &Delivery) {
        let now = OffsetDateTime::now_utc();
        match self.verifier.verify(&delivery.payload, &delivery.topic, now) {
            Ok(event) => self.hear(event).await,
            Err(refusal) => {
                self.doubts.note(&refusal);
                self.answer_unproven(&delivery.payload);
            }
        }
    }

    /// Not every broker says that it gives a session to another client, but the other one shows itself. What the broker has
    /// kept may be from before this start, and so may what anybody sends again: a copy whose start began before this one's hears
    /// of this one, and shows itself with a later beginning if it goes on.
    fn presence(&self, delivery: &Delivery) {
        let now = OffsetDateTime::now_utc();
        let Ok(event) = self.verifier.verify(&delivery.payload, &delivery.topic, now) else {
            return;
        };
        let word = presence::of_host(event, &self.verifier.topics);
        let is_other = word.is_some_and(|word| word.is_online() && self.herald.is_outdone_by(&word.rank));
        if is_other && !delivery.retained {
            self.take_overs.suspect();
        }
    }

    /// Whoever starts under this name should hear that somebody has it, even if his key is not known here.
    fn answer_unproven(&self, payload: &[u8]) {
        let Some(Word::Question(question)) = Word::unproven(payload) else {
            return;
        };
        let mut last = locked(&self.answered_unproven);
        if last.is_none_or(|last| last.elapsed() >= UNPROVEN) {
            *last = Some(Instant::now());
            self.answer_name(question.start);
        }
    }

    /// Tell another start of this host's name that this one has it.
    fn answer_name(&self, to: u64) {
        if to == self.own.start {
            return;
        }
        match signed(
            &self.own.host,
            &self.verifier.topics,
            &self.signer,
            &self.own.answer(to),
        ) {
            Ok(payload) => self.publisher.live(LiveMessage {
                topic: self.verifier.topics.peer(&self.own.host),
                payload,
                retain: false,
            }),
            Err(error) => tracing::error!(%error, "cannot sign a word to another host"),
        }
    }

    /// Whether a host may have handled a message for a group, as far as its keys say what it may do. One of whom nothing is known
    /// yet may not, and one whose key was removed may not any more.
    pub(super) fn may_have_done(&self, host: &str, group: &str, work: Option<&Duty>) -> bool {
        let trusted = self.verifier.trust.now();
        trusted.bindings_of(host).any(|binding| {
            let may = match work {
                Some(work) => binding.may.contains(work) || binding.may.contains(&Duty::All),
                None => !binding.may.is_empty(),
            };
            may && may_work_in(binding, trusted.claims(), group)
        })
    }

    async fn hear(&self, event: Event) {
        let peer = event.host().to_owned();
        if let Some(word) = Word::of(&event.event_type, &event.data) {
            match word {
                Word::Question(question) if peer == self.own.host => self.answer_name(question.start),
                Word::Question(_) | Word::Answer(_) => {}
            }
            return;
        }
        match self
            .jobs
            .hear(&peer, &event.event_type, event.cause.as_deref(), &event.data)
        {
            Heed::Answer(data) => return self.send_to(&peer, jobs::answer(&self.own.host, &peer, &event.id, data)),
            Heed::Heard => return,
            Heed::Other => {}
        }
        let Ok(about) = serde_json::from_value::<About>(Value::Object(event.data)) else {
            return;
        };
        // Lamport's clock takes over what it hears, and promises are kept for weeks.
        if about.group.len() > LONGEST_TOPIC || !is_id(&about.id) || about.asked > now().saturating_add(AHEAD) {
            tracing::debug!(peer, "a host asks about what can be no message");
            return;
        }
        locked(&self.absent).remove(&peer);
        let (key, asked) = ((about.group, about.id), about.asked);
        match (event.event_type.as_str(), about.standing, event.cause) {
            (QUESTION, None, _) => self.answer(&peer, &event.id, &key, asked).await,
            (ANSWER, Some(standing), Some(question)) => {
                if let Some(asker) = locked(&self.askers).get(&question) {
                    let _ = asker.send((peer, asked, standing));
                }
            }
            _ => {}
        }
    }

    /// Memory first, then the ledger: what is settled in between is found there.
    async fn answer(&self, peer: &str, question: &str, key: &Key, asked: Moment) {
        let mut standing = locked(&self.claims).answer(key, peer, asked);
        if standing == Standing::Free {
            // A promise has to outlive this host: the message may come to it for the first time after its next start.
            match self.ledger.promise(&key.0, &key.1).await {
                Ok(false) => standing = Standing::Settled,
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot tell another host whether a message is settled");
                    return;
                }
            }
        }
        self.send(
            peer,
            ANSWER,
            Origin::of_its_own(&self.own.host),
            Some(question),
            About {
                group: key.0.clone(),
                id: key.1.clone(),
                asked,
                standing: Some(standing),
            },
        );
    }

    pub(super) fn ask(&self, peer: &str, question: &Origin, key: &Key, asked: Moment) {
        self.send(
            peer,
            QUESTION,
            question.clone(),
            None,
            About {
                group: key.0.clone(),
                id: key.1.clone(),
                asked,
                standing: None,
            },
        );
    }

    fn send(&self, to: &str, event_type: &str, origin: Origin, cause: Option<&str>, about: About) {
        let Ok(Value::Object(data)) = serde_json::to_value(about) else {
            return;
        };
        let outgoing = OutgoingEvent {
            cause: cause.map(ToOwned::to_owned),
            ..OutgoingEvent::own(origin, &format!("peers/{to}"), event_type, "peers", data)
        };
        self.send_to(to, outgoing);
    }

    /// The question of a host about what its bots have done.
    pub(super) fn jobs_question(&self, to: &str) -> OutgoingEvent {
        jobs::question(&self.own.host, to)
    }

    /// Sign an event and send it to a host.
    pub(super) fn send_to(&self, to: &str, outgoing: OutgoingEvent) {
        match Event::of(outgoing, &format!("{}/peers", self.own.host), &self.verifier.topics).sign(&self.signer) {
            Ok(payload) => self.publisher.live(LiveMessage {
                topic: self.verifier.topics.peer(to),
                payload,
                retain: false,
            }),
            Err(error) => tracing::error!(%error, "cannot sign a word to another host"),
        }
    }
}

/// Microseconds since 1970.
pub(super) fn now() -> Moment {
    let nanoseconds = OffsetDateTime::now_utc().unix_timestamp_nanos();
    Moment::try_from(nanoseconds / 1000).unwrap_or_default()
}

/// Nothing that runs under these locks panics half-way through a change.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
