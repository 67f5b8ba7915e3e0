//! What this host knows of the others: who is there, and which events went by.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::ConnectionOptions;
use super::consumer::{Consumer, ConsumerState, Delivery};
use super::crowd::{Change, Crowd, Full};
use super::doubts::Doubts;
use super::herald::Herald;
use super::presence::{self, MAX_PRESENCE, Presence, Rank};
use super::record::record;
use super::unheard::{LeftOut, Unheard};
use crate::event::policy::presented_on;
use crate::event::{Event, Refusal, Verifier};
use crate::keys::TrustedKeys;
use crate::ledger::{Ledger, LedgerError};

/// Messages that may be unacknowledged at the observer.
const RECEIVE_MAXIMUM: u16 = 256;

/// How often it is looked whether the trusted keys are others.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps the presence of all bots, and the events of all hosts. Clones see the same.
#[derive(Clone)]
pub struct Observer {
    bots: Arc<Bots>,
    /// Of the first session.
    state: watch::Receiver<ConsumerState>,
}

/// The bots that are known, and those that nobody believes to be any.
#[derive(Debug)]
struct Bots {
    verifier: Arc<Verifier>,
    crowd: Mutex<Crowd>,
    unheard: Mutex<Unheard>,
}

impl Observer {
    /// Begin to watch the broker. Events on `event_topics` (without prefix) are recorded for `runs`.
    #[must_use]
    pub fn start(
        options: ConnectionOptions,
        event_topics: &[String],
        verifier: Arc<Verifier>,
        (herald, doubts): (Herald, Doubts),
        ledger: Ledger,
        cancel: CancellationToken,
    ) -> Self {
        let topics = &verifier.topics;
        let mut filters = vec![topics.full("hosts/+"), topics.full("bots/+/+")];
        filters.extend(event_topics.iter().map(|topic| topics.full(topic)));
        let source = Source {
            options: ConnectionOptions {
                receive_maximum: RECEIVE_MAXIMUM,
                ..options
            },
            filters,
            cancel,
        };
        let bots = Arc::new(Bots {
            verifier: Arc::clone(&verifier),
            crowd: Mutex::default(),
            unheard: Mutex::default(),
        });
        let recorder = Recorder {
            bots: Arc::clone(&bots),
            said_full: AtomicBool::new(false),
            verifier,
            herald,
            doubts,
            ledger,
        };
        let session = source.session();
        let state = session.state.clone();
        tokio::spawn(recorder.run(source, session));
        Self { bots, state }
    }

    /// Wait until the broker brings what goes by, so that all that is published from then on is seen; with a broker that is away,
    /// until it is there.
    pub async fn watches(&self) {
        // The sender is gone once the host ends.
        let _ = self
            .state
            .clone()
            .wait_for(|state| *state == ConsumerState::Subscribed)
            .await;
    }

    /// The bots of all hosts that this one believes, by host and name.
    #[must_use]
    pub fn bots(&self) -> Vec<Presence> {
        let crowd = self.bots.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        let known = crowd.all().filter(|bot| self.bots.verifier.knows(&bot.host));
        known.cloned().collect()
    }

    /// The bots that are left out of them.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        let unheard = self.bots.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.left_out()
    }
}

/// Where the messages come from.
struct Source {
    options: ConnectionOptions,
    filters: Vec<String>,
    cancel: CancellationToken,
}

/// A session that brings them, until it is ended.
struct Session {
    deliveries: mpsc::Receiver<Delivery>,
    state: watch::Receiver<ConsumerState>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Source {
    /// Subscribe; the broker brings what it keeps.
    fn session(&self) -> Session {
        let consumer = Consumer::onlooker(self.options.clone(), self.filters.clone());
        let cancel = self.cancel.child_token();
        let (deliveries, state, task) = consumer.start(cancel.clone());
        Session {
            deliveries,
            state,
            cancel,
            task,
        }
    }

    /// Subscribe again. What is not acknowledged by now comes again as well.
    async fn again(&self, session: Session) -> Session {
        session.cancel.cancel();
        let _ = session.task.await;
        self.session()
    }
}

struct Recorder {
    bots: Arc<Bots>,
    /// Whether it was said that there are too many bots to know.
    said_full: AtomicBool,
    verifier: Arc<Verifier>,
    herald: Herald,
    doubts: Doubts,
    ledger: Ledger,
}

impl Recorder {
    async fn run(self, source: Source, mut session: Session) {
        let mut look = tokio::time::interval(LOOK);
        let mut known = self.verifier.trust.now();
        self.forget_unknown(&known).await;
        loop {
            tokio::select! {
                delivery = session.deliveries.recv() => {
                    let Some(delivery) = delivery else { return };
                    self.receive(&delivery).await;
                    delivery.acknowledge();
                }
                _ = look.tick() => {
                    let now = self.verifier.trust.now();
                    let is_other = !Arc::ptr_eq(&known, &now);
                    if is_other {
                        self.forget_unknown(&now).await;
                        self.note_known().await;
                    }
                    self.reconsider(is_other).await;
                    // Strangers may have taken the room of those that are believed now.
                    if is_other && self.unheard().ask_again() {
                        session = source.again(session).await;
                    }
                    known = now;
                }
            }
        }
    }

    async fn receive(&self, delivery: &Delivery) {
        match presented_on(self.verifier.topics.short(&delivery.topic)) {
            Some(host) => self.presence(&delivery.topic, host, &delivery.payload).await,
            None => self.event(delivery).await,
        }
    }

    /// Somebody presents a host or a bot of that name. Nobody but the host itself is believed, and nothing that was said before
    /// what is known. What the broker removes says nothing either: anybody may have had it removed.
    async fn presence(&self, topic: &str, host: &str, payload: &bytes::Bytes) {
        let verified = match payload.len() {
            1..=MAX_PRESENCE => Some(self.verifier.verify(payload, topic, OffsetDateTime::now_utc())),
            _ => None,
        };
        let word = match verified {
            Some(Ok(event)) => self.word(event),
            Some(Err(refusal)) => {
                self.refused(topic, payload, &refusal);
                None
            }
            None => None,
        };
        if host == self.verifier.host {
            self.own(topic, payload, word.as_ref().map(|(rank, _)| *rank)).await;
        }
        match word {
            Some((_, change)) => self.changed(change).await,
            None if payload.is_empty() => self.unheard().forget(topic),
            None => {}
        }
    }

    /// Take in what a verified event says.
    fn word(&self, event: Event) -> Option<(Rank, Change)> {
        let topics = &self.verifier.topics;
        self.unheard().forget(event.topic.as_deref().unwrap_or_default());
        let mut crowd = self.bots.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        if event.topic.as_deref() == Some(&topics.host(event.host())) {
            let word = presence::of_host(event, topics)?;
            crowd.begins(&word.what.host, word.rank);
            return Some((word.rank, Change::default()));
        }
        let word = presence::of_bot(event, topics)?;
        Some((word.rank, crowd.hear(word)))
    }

    /// What may become acceptable is kept until then, and told of; the rest is nobody's.
    fn refused(&self, topic: &str, payload: &bytes::Bytes, refusal: &Refusal) {
        let Some(cure) = refusal.cure(OffsetDateTime::now_utc()) else {
            tracing::debug!(topic, %refusal, "somebody presents a host or a bot, and is not believed");
            return self.unheard().forget(topic);
        };
        self.doubts.note(refusal);
        let is_bot = self.verifier.topics.short(topic).starts_with("bots/");
        self.unheard().keep(topic, payload, is_bot, cure, refusal.to_string());
    }

    /// See to it that the broker keeps this host's own words on its topics.
    async fn own(&self, topic: &str, payload: &[u8], rank: Option<Rank>) {
        let Some(began) = self.herald.heard(topic, payload, rank) else {
            return;
        };
        let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default();
        match self.ledger.begin_start(began, now).await {
            Ok(began) => self.herald.begin_at(began),
            Err(error) => tracing::warn!(%error, "cannot note that another start has this host's name"),
        }
    }

    async fn changed(&self, change: Change) {
        if let Some(full) = &change.full {
            self.say_full(full);
        }
        if let Some(left) = &change.left {
            self.noted(self.left(left).await);
        }
        if let Some(now) = &change.now {
            self.noted(self.joined(now).await);
        }
    }

    fn noted(&self, result: Result<(), LedgerError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "cannot note who else is in a group");
        }
    }

    /// Note that another host has a member of a group, also one that is away: it may have settled what comes here again.
    async fn joined(&self, bot: &Presence) -> Result<(), LedgerError> {
        if let Some(group) = self.others_group(bot)
            && !self.ledger.remember_peer(group, &bot.host).await?
        {
            tracing::debug!(group, host = bot.host, "not remembered: too many hosts are in groups");
        }
        Ok(())
    }

    /// A host whose last member of a group took its leave is forgotten after a while.
    async fn left(&self, bot: &Presence) -> Result<(), LedgerError> {
        let Some(group) = self.others_group(bot) else {
            return Ok(());
        };
        let has_another = {
            let crowd = self.bots.crowd.lock().unwrap_or_else(PoisonError::into_inner);
            crowd
                .all()
                .any(|other| other.host == bot.host && other.group.as_deref() == Some(group))
        };
        if has_another {
            return Ok(());
        }
        self.ledger.peer_left(group, &bot.host, OffsetDateTime::now_utc()).await
    }

    /// The group that another host's bot is in.
    fn others_group<'a>(&self, bot: &'a Presence) -> Option<&'a str> {
        bot.group.as_deref().filter(|_| bot.host != self.verifier.host)
    }

    /// Hosts that no key is bound to any more, or never was, are waited for no longer.
    async fn forget_unknown(&self, trusted: &TrustedKeys) {
        let known = trusted.hosts().map(ToOwned::to_owned).collect();
        self.noted(self.ledger.forget_peers_but(known).await);
    }

    /// Note those in groups whose keys are known by now.
    async fn note_known(&self) {
        let known: Vec<_> = {
            let crowd = self.bots.crowd.lock().unwrap_or_else(PoisonError::into_inner);
            let known = crowd.all().filter(|bot| self.verifier.knows(&bot.host));
            known.cloned().collect()
        };
        for bot in known {
            self.noted(self.joined(&bot).await);
        }
    }

    /// Look again at what was refused.
    async fn reconsider(&self, trust_changed: bool) {
        let refused = self.unheard().take(trust_changed, OffsetDateTime::now_utc());
        for (topic, payload) in refused {
            if let Some(host) = presented_on(self.verifier.topics.short(&topic)).map(ToOwned::to_owned) {
                self.presence(&topic, &host, &payload).await;
            }
        }
    }

    fn unheard(&self) -> MutexGuard<'_, Unheard> {
        // Nothing panics while it holds this.
        self.bots.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_full(&self, full: &Full) {
        if self.said_full.swap(true, Ordering::Relaxed) {
            return;
        }
        match full {
            Full::All => {
                tracing::warn!("there are too many bots on the broker: those that came last are not in the list")
            }
            Full::OfHost(host) => {
                tracing::warn!(
                    host,
                    "the host presents too many bots: those that came last are not in the list"
                );
            }
        }
    }

    /// Refused events are the business of the bots they were meant for; here they are just not recorded. One whose reason may pass is
    /// kept for then.
    async fn event(&self, delivery: &Delivery) {
        // What is acknowledged does not come again.
        while let Err(error) = self.kept(delivery).await {
            tracing::warn!(%error, "cannot record an event; trying again");
            if matches!(error, LedgerError::Closed) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn kept(&self, delivery: &Delivery) -> Result<(), LedgerError> {
        let topic = self.verifier.topics.short(&delivery.topic);
        let now = OffsetDateTime::now_utc();
        match self.verifier.verify(&delivery.payload, &delivery.topic, now) {
            Ok(event) => record(&self.ledger, &self.verifier, &event, topic).await,
            Err(refusal) => {
                tracing::debug!(topic, %refusal, "not recorded");
                match refusal.cure(now) {
                    Some(cure) => {
                        let ledger = &self.ledger;
                        ledger.keep_unrecorded(&delivery.topic, &delivery.payload, cure).await
                    }
                    None => Ok(()),
                }
            }
        }
    }
}
