//! Asking the other hosts of a group about a message that one of them may have settled.
//!
//! Only messages that come again are asked about, so that nobody pays for this while nobody dies. A host that doesn't
//! answer keeps nobody from beginning: the work is done while it is waited for, and only what the work came to waits,
//! for as long as the patience lasts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claims::{Claims, Key, Meaning, Moment, Standing};
use super::connection::ConnectionOptions;
use super::consumer::{Consumer, Delivery};
use super::publisher::{LiveMessage, Publisher};
use crate::event::{Event, OutgoingEvent, Refusal, Rule, Verifier, derive_id};
use crate::keys::Signer;
use crate::ledger::Ledger;

/// Type of a question.
const QUESTION: &str = "foundry.peer-question.v1";

/// Type of an answer.
const ANSWER: &str = "foundry.peer-answer.v1";

/// Questions and answers that may wait.
const RECEIVE_MAXIMUM: u16 = 64;

/// First and longest pause before a question is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// A host that hasn't answered for so long is taken to be away.
const SILENCE: Duration = Duration::from_secs(1);

/// Reasons not to hear a host that are told, at most: their texts come from outside.
const WARNINGS: usize = 100;

/// Pause before the question is asked all over again.
const AGAIN: Duration = Duration::from_secs(5);

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
    inner: Arc<Inner>,
}

struct Inner {
    verifier: Arc<Verifier>,
    signer: Arc<Signer>,
    ledger: Ledger,
    publisher: Publisher,
    patience: Duration,
    claims: Mutex<Claims>,
    /// Who waits for the answers to which question.
    askers: Mutex<HashMap<String, mpsc::UnboundedSender<Heard>>>,
    /// Hosts that were waited for in vain, and not heard of since.
    absent: Mutex<BTreeSet<String>>,
    /// Why hosts were not heard, as far as the operator was told.
    warned: Mutex<HashSet<Rule>>,
}

/// An answer: whose, to the question of which moment, and what it says.
type Heard = (String, Moment, Standing);

/// What is known of a message by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Hosts that are there have not all answered.
    Asking,
    /// Only hosts that seem to be away have not.
    Awaiting,
    /// It is this host's.
    Clear,
    /// It has had its effects on another host.
    Settled,
}

/// The leave to handle a message, once it is there. Dropped, the message is nobody's again.
pub struct Clearance {
    inner: Arc<Inner>,
    key: Key,
    verdict: watch::Receiver<Verdict>,
    had_to_ask: bool,
    /// Whether the claim is still one that asks; changes under the lock of the claims.
    asking: Arc<Mutex<bool>>,
    task: Option<JoinHandle<()>>,
}

impl Peers {
    /// Begin to answer, and to be able to ask.
    #[must_use]
    pub fn start(
        options: ConnectionOptions,
        verifier: Arc<Verifier>,
        signer: Arc<Signer>,
        ledger: Ledger,
        publisher: Publisher,
        patience: Duration,
        cancel: CancellationToken,
    ) -> Self {
        let (_, hello) = watch::channel(None);
        let consumer = Consumer {
            options: ConnectionOptions {
                // Questions are repeated by those who ask.
                persistent: false,
                receive_maximum: RECEIVE_MAXIMUM,
                ..options
            },
            filters: vec![verifier.topics.peer(&verifier.host)],
            hello,
            places: None,
        };
        let (deliveries, _state, _task) = consumer.start(cancel);
        let inner = Arc::new(Inner {
            claims: Mutex::new(Claims::of(&verifier.host)),
            verifier,
            signer,
            ledger,
            publisher,
            patience,
            askers: Mutex::default(),
            absent: Mutex::default(),
            warned: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&inner).listen(deliveries));
        Self { inner }
    }

    /// A message is here; `again` if it may have been elsewhere before.
    #[must_use]
    pub fn clearance(&self, group: &str, id: &str, again: bool) -> Clearance {
        let inner = Arc::clone(&self.inner);
        let key = (group.to_owned(), id.to_owned());
        let had_to_ask = locked(&inner.claims).take(&key, again, now());
        let (sender, verdict) = watch::channel(if had_to_ask { Verdict::Asking } else { Verdict::Clear });
        let asking = Arc::new(Mutex::new(had_to_ask));
        let task = had_to_ask.then(|| {
            let question = Question {
                inner: Arc::clone(&inner),
                key: key.clone(),
                verdict: sender,
                asking: Arc::clone(&asking),
            };
            tokio::spawn(question.ask())
        });
        Clearance {
            inner,
            key,
            verdict,
            had_to_ask,
            asking,
            task,
        }
    }
}

impl Clearance {
    /// Whether another host may publish the same events as this one.
    #[must_use]
    pub fn had_to_ask(&self) -> bool {
        self.had_to_ask
    }

    /// Whether work may begin, as far as the hosts know that are there. `false` if the message has had its effects.
    pub async fn to_begin(&mut self) -> bool {
        self.verdict_that(|verdict| verdict != Verdict::Asking).await
    }

    /// Whether the work may take effect. `false` if the message has had its effects.
    pub async fn to_settle(&mut self) -> bool {
        self.verdict_that(|verdict| matches!(verdict, Verdict::Clear | Verdict::Settled))
            .await
    }

    async fn verdict_that(&mut self, fits: impl Fn(Verdict) -> bool) -> bool {
        let verdict = self.verdict.wait_for(|verdict| fits(*verdict)).await;
        // The task ends with a verdict, or with its host.
        verdict.map_or(true, |verdict| *verdict != Verdict::Settled)
    }
}

impl Drop for Clearance {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        let mut claims = locked(&self.inner.claims);
        let mut asking = locked(&self.asking);
        claims.let_go(&self.key, *asking);
        // A task that ends just now finds the claim gone.
        *asking = false;
    }
}

struct Question {
    inner: Arc<Inner>,
    key: Key,
    verdict: watch::Sender<Verdict>,
    asking: Arc<Mutex<bool>>,
}

impl Question {
    /// Ask until all have answered, or been waited for long enough.
    async fn ask(self) {
        let (sender, mut answers) = mpsc::unbounded_channel();
        let id = derive_id(&[
            "question",
            &self.inner.verifier.host,
            &self.key.0,
            &self.key.1,
            &rand::random::<u64>().to_string(),
        ]);
        locked(&self.inner.askers).insert(id.clone(), sender);
        let verdict = self.verdict_of(&id, &mut answers).await;
        locked(&self.inner.askers).remove(&id);
        if verdict == Verdict::Clear {
            let mut claims = locked(&self.inner.claims);
            let mut asking = locked(&self.asking);
            if std::mem::take(&mut *asking) {
                claims.cleared(&self.key);
            }
        }
        self.verdict.send_replace(verdict);
    }

    async fn verdict_of(&self, id: &str, answers: &mut mpsc::UnboundedReceiver<Heard>) -> Verdict {
        let begun = Instant::now();
        let mut granted = BTreeSet::new();
        let mut open: BTreeMap<String, Instant> = loop {
            match self.inner.ledger.peers(&self.key.0, OffsetDateTime::now_utc()).await {
                Ok(peers) => break peers.into_iter().map(|peer| (peer, begun)).collect(),
                Err(error) => tracing::warn!(%error, "cannot look up the other hosts of a group"),
            }
            tokio::time::sleep(PAUSE.1).await;
        };
        let mut pause = PAUSE.0;
        let mut since = begun;
        loop {
            if since.elapsed() >= AGAIN {
                since = Instant::now();
                locked(&self.inner.claims).ask_anew(&self.key, now());
                let granted = std::mem::take(&mut granted);
                open.extend(granted.into_iter().map(|peer| (peer, since)));
                // One that took its leave a while ago is waited for no longer.
                if let Ok(peers) = self.inner.ledger.peers(&self.key.0, OffsetDateTime::now_utc()).await {
                    open.retain(|peer, _| peers.contains(peer));
                }
            }
            let asked = locked(&self.inner.claims).since(&self.key);
            for peer in open.keys() {
                self.inner.ask(peer, id, &self.key, asked);
            }
            let next = Instant::now() + pause;
            pause = (pause * 2).min(PAUSE.1);
            while !open.is_empty() {
                let Ok(Some((peer, asked, standing))) = tokio::time::timeout_at(next, answers.recv()).await else {
                    break;
                };
                match locked(&self.inner.claims).weigh(&self.key, &peer, asked, standing) {
                    Meaning::Settled => return Verdict::Settled,
                    Meaning::GoAhead => {
                        open.remove(&peer);
                        granted.insert(peer);
                    }
                    Meaning::Wait => {
                        open.entry(peer).and_modify(|heard| *heard = Instant::now());
                    }
                }
            }
            self.give_up_on_the_absent(&mut open);
            if open.is_empty() {
                return Verdict::Clear;
            }
            if open.values().all(|heard| heard.elapsed() >= SILENCE) {
                self.verdict.send_replace(Verdict::Awaiting);
            }
        }
    }

    fn give_up_on_the_absent(&self, open: &mut BTreeMap<String, Instant>) {
        let mut absent = locked(&self.inner.absent);
        open.retain(|peer, heard| {
            let patience = if absent.contains(peer) {
                SILENCE
            } else {
                self.inner.patience
            };
            if heard.elapsed() < patience {
                return true;
            }
            if absent.insert(peer.clone()) {
                tracing::warn!(
                    host = peer,
                    "is away for too long; what it settled in the moment of its death is done again"
                );
            }
            false
        });
    }
}

impl Inner {
    async fn listen(self: Arc<Self>, mut deliveries: mpsc::Receiver<Delivery>) {
        while let Some(delivery) = deliveries.recv().await {
            let now = OffsetDateTime::now_utc();
            match self.verifier.verify(&delivery.payload, &delivery.topic, now) {
                Ok(event) => self.hear(event).await,
                Err(refusal) => self.refused(&refusal),
            }
            delivery.acknowledge();
        }
    }

    /// An unheard answer makes messages wait for the whole patience, so the operator learns what helps; each rule and key
    /// once, since questions are repeated.
    fn refused(&self, refusal: &Refusal) {
        let Refusal::Rule(rule) = refusal else {
            tracing::debug!(%refusal, "refused what a host says");
            return;
        };
        let mut warned = locked(&self.warned);
        if warned.len() < WARNINGS && warned.insert(rule.clone()) {
            tracing::warn!(%rule, "cannot hear another host's question or answer about a message");
        }
    }

    async fn hear(&self, event: Event) {
        let peer = event.host().to_owned();
        let Ok(about) = serde_json::from_value::<About>(Value::Object(event.data)) else {
            return;
        };
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
        let id = derive_id(&["answer", &self.verifier.host, question]);
        self.send(
            peer,
            ANSWER,
            &id,
            Some(question),
            About {
                group: key.0.clone(),
                id: key.1.clone(),
                asked,
                standing: Some(standing),
            },
        );
    }

    fn ask(&self, peer: &str, question: &str, key: &Key, asked: Moment) {
        self.send(
            peer,
            QUESTION,
            question,
            None,
            About {
                group: key.0.clone(),
                id: key.1.clone(),
                asked,
                standing: None,
            },
        );
    }

    fn send(&self, to: &str, event_type: &str, id: &str, cause: Option<&str>, about: About) {
        let Ok(Value::Object(data)) = serde_json::to_value(about) else {
            return;
        };
        let outgoing = OutgoingEvent {
            id: id.to_owned(),
            topic: format!("peers/{to}"),
            event_type: event_type.to_owned(),
            subject: None,
            run: "peers".to_owned(),
            cause: cause.map(ToOwned::to_owned),
            data,
        };
        match Event::of(
            outgoing,
            &format!("{}/peers", self.verifier.host),
            &self.verifier.topics,
        )
        .sign(&self.signer)
        {
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
fn now() -> Moment {
    let nanoseconds = OffsetDateTime::now_utc().unix_timestamp_nanos();
    Moment::try_from(nanoseconds / 1000).unwrap_or_default()
}

/// Nothing that runs under these locks panics half-way through a change.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
