//! A running host, as its callers see it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foundry_broker::{Broker, Operator, killpoint};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::admission::is_bot_name;
use super::bot::{Prepared, RunningBot};
use super::error::LoadFailure;
use super::housekeeping::{DiskStatus, Keeper};
use super::inspector::Inspector;
use super::message::Link;
use super::read_again::Files;
use super::registry::{Registry, Turn};
use super::spec::{BotSource, BotSpec, BotStatus, Condition};
use crate::bus::{
    BrokerAddress, ConnectionOptions, ConsumerState, Counts, LeftOut, OFFLINE, Observer, Presence, Publisher,
    PublisherStatus,
};
use crate::capability::{LogLine, Services};
use crate::event::Topics;
use crate::ledger::{Ledger, LedgerError};
use crate::retention::Report;
use crate::runtime::ComponentInfo;
use crate::runtime::wit::types::Description;

/// How long `load` waits for the broker before it leaves the bot to connect on its own.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a stopping host waits for its last events to be published.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running host. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) inspector: Inspector,
    pub(super) services: Arc<Services>,
    pub(super) link: Arc<Link>,
    pub(super) connection: ConnectionOptions,
    pub(super) publisher: Publisher,
    pub(super) observer: Observer,
    pub(super) bots: Registry<RunningBot>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) broker: Mutex<Option<Broker>>,
    /// Certificates that may change.
    pub(super) files: Files,
    /// Whether bots may have left sessions at a broker elsewhere under the client identifiers of an older version.
    pub(super) has_old_sessions: bool,
    pub(super) drain: Duration,
    pub(super) longest_message: Duration,
    pub(super) require_signed_bots: bool,
    /// The host takes no more bots; then, everything ends.
    pub(super) stopping: CancellationToken,
    pub(super) cancel: CancellationToken,
    /// Why the host has to end, once another one has its name.
    pub(super) lost: watch::Receiver<Option<String>>,
    pub(super) _lock: File,
}

impl Host {
    /// The host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.link.host
    }

    /// The broker's address.
    #[must_use]
    pub fn broker(&self) -> &BrokerAddress {
        &self.inner.connection.broker
    }

    /// The address that another program has, and the embedded broker would have without it.
    #[must_use]
    pub fn broker_displaced(&self) -> Option<SocketAddr> {
        // Nothing panics while it holds this.
        let broker = self.inner.broker.lock().unwrap_or_else(PoisonError::into_inner);
        broker.as_ref().and_then(Broker::displaced)
    }

    /// What an operator can do with the embedded broker; none with another broker.
    #[must_use]
    pub fn operator(&self) -> Option<Operator> {
        // Nothing panics while it holds this.
        let broker = self.inner.broker.lock().unwrap_or_else(PoisonError::into_inner);
        broker.as_ref().map(Broker::operator)
    }

    /// Topics.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.inner.link.topics
    }

    /// The host's memory.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.link.ledger
    }

    /// How long messages in hand may take to be finished when a bot or the host is stopped.
    #[must_use]
    pub fn drain(&self) -> Duration {
        self.inner.drain
    }

    /// How the way to the broker is.
    #[must_use]
    pub fn publisher(&self) -> PublisherStatus {
        self.inner.publisher.status()
    }

    /// What is wrong with this machine's clock, if anything is; bots take no work then.
    #[must_use]
    pub fn clock_trouble(&self) -> Option<String> {
        self.inner.connection.concerns.clock().trouble()
    }

    /// What keeps bots from taking work: this machine, or its clock.
    #[must_use]
    pub fn inabilities(&self) -> Vec<String> {
        self.inner.link.ability.all()
    }

    /// How full the disk is; `None` in the moment before anybody has looked.
    #[must_use]
    pub fn disk(&self) -> Option<DiskStatus> {
        self.inner.keeper.disk.status()
    }

    /// What the last sweep found; empty before the first.
    #[must_use]
    pub fn kept(&self) -> Vec<Report> {
        self.inner.keeper.housekeeping.last()
    }

    /// Keep house now, or say what would be removed.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was removed then.
    pub async fn collect(&self, dry_run: bool) -> Result<Vec<Report>, LedgerError> {
        let keeper = &self.inner.keeper;
        keeper
            .housekeeping
            .by_hand(keeper.loaded(), OffsetDateTime::now_utc(), dry_run)
            .await
    }

    /// What in the broker's settings can lose messages.
    #[must_use]
    pub fn concerns(&self) -> Vec<String> {
        self.inner.connection.concerns.all()
    }

    /// The host's capabilities.
    #[must_use]
    pub fn services(&self) -> &Arc<Services> {
        &self.inner.services
    }

    /// A component's description and imports, without loading it as a bot.
    ///
    /// # Errors
    /// [`LoadFailure`] if it isn't a bot.
    pub async fn inspect(&self, source: &BotSource) -> Result<(ComponentInfo, Description), LoadFailure> {
        self.inner.inspector.inspect(source).await
    }

    /// The command that loads a bot with all that it lacks, where that is why it can't be loaded.
    pub async fn remedy(&self, spec: &BotSpec, failure: &LoadFailure) -> Option<String> {
        self.inner.inspector.remedy(spec, failure).await
    }

    /// Load a bot and start it. Returns when it is subscribed, or when the broker lets it wait.
    ///
    /// # Errors
    /// [`LoadFailure`], which says what is wrong and what to do.
    pub async fn load(&self, spec: BotSpec) -> Result<BotStatus, LoadFailure> {
        let turn = self.reserve(&spec).await?;
        self.fill(&turn, &spec).await
    }

    /// Put a bot under the name whose turn it is. All that can fail is done while the one that has the name still works.
    pub(super) async fn fill(&self, turn: &Turn<RunningBot>, spec: &BotSpec) -> Result<BotStatus, LoadFailure> {
        let prepared = tokio::select! {
            prepared = self.inner.prepare(spec, turn.name()) => prepared?,
            () = self.inner.stopping.cancelled() => return Err(LoadFailure::Stopping),
        };
        if let Some(old) = turn.take() {
            old.stop(self.inner.drain).await;
        }
        self.begin(turn, prepared, &spec.source).await
    }

    /// Note a bot that is going to be loaded. distbots are loaded before the signbots that lead to them, and what was signed
    /// before the host started may wait for them.
    pub fn expect(&self, spec: &BotSpec) {
        if let Some(name) = &spec.name {
            self.inner.keeper.expected.note(name);
        }
        let keys = spec.options.get("gpg-key").map(Vec::as_slice).unwrap_or_default();
        self.inner.services.note_signer(spec.source.stock(), keys);
    }

    /// Start a bot under the name whose turn it is, and wait until it is subscribed, or the broker lets it wait.
    async fn begin(
        &self,
        turn: &Turn<RunningBot>,
        prepared: Prepared,
        source: &BotSource,
    ) -> Result<BotStatus, LoadFailure> {
        let bot = prepared.start();
        let (name, mut session) = (turn.name(), bot.session());
        if let Err(bot) = turn.put(bot) {
            bot.stop(self.inner.drain).await;
            return Err(LoadFailure::Stopping);
        }
        let ready = session.wait_for(|state| *state != ConsumerState::Connecting(None));
        let _ = tokio::time::timeout(SUBSCRIBE_PATIENCE, ready).await;
        tracing::info!(bot = name, %source, "loaded");
        let status = self.status(name)?;
        for note in &status.notes {
            tracing::warn!(bot = name, "{note}");
        }
        Ok(status)
    }

    /// Take a name for a bot. Without a name in `spec`, a stock bot whose name is taken gets a number, as the original's
    /// commands start any number of each bot. A bot from a file is refused: it is most often a new build of the one that is
    /// loaded, and both would share the messages.
    async fn reserve(&self, spec: &BotSpec) -> Result<Turn<RunningBot>, LoadFailure> {
        if self.inner.stopping.is_cancelled() {
            return Err(LoadFailure::Stopping);
        }
        let wanted = match (&spec.name, &spec.source) {
            (Some(name), _) | (None, BotSource::Stock(name)) => name.clone(),
            (None, BotSource::File(_)) => self.inspect(&spec.source).await?.1.name,
        };
        if !is_bot_name(&wanted) {
            return Err(LoadFailure::BadName(wanted));
        }
        let may_have_a_number = spec.name.is_none() && matches!(spec.source, BotSource::Stock(_));
        let numbered = (2..u32::MAX)
            .take_while(|_| may_have_a_number)
            .map(|number| format!("{wanted}-{number}"));
        let claimed = self.inner.bots.claim(std::iter::once(wanted.clone()).chain(numbered));
        let taken = match spec.name {
            Some(_) => LoadFailure::NameTaken,
            None => LoadFailure::AlreadyLoaded,
        };
        claimed.ok_or_else(|| taken(wanted))
    }

    /// The bots of this host, by name.
    #[must_use]
    pub fn list(&self) -> Vec<BotStatus> {
        self.inner.bots.all(RunningBot::status)
    }

    /// The bots of all hosts on the broker that this one believes, as they present themselves.
    #[must_use]
    pub fn everyone(&self) -> Vec<Presence> {
        let mut bots = self.inner.observer.bots();
        if self.inner.connection.concerns.gives_to_the_away() {
            bots.iter_mut().for_each(Presence::note_its_share);
        }
        bots
    }

    /// What the hosts of these bots count of them, as far as they are there and answer in two seconds.
    pub async fn jobs_of(&self, bots: &[Presence]) -> BTreeMap<String, Counts> {
        let is_there = |bot: &&Presence| bot.status != OFFLINE;
        let hosts: BTreeSet<_> = bots.iter().filter(is_there).map(|bot| bot.host.clone()).collect();
        match self.publisher().connected {
            true => self.inner.link.peers.jobs(hosts).await,
            false => BTreeMap::new(),
        }
    }

    /// Tell others what this host's bots have done and have in hand, when they ask.
    pub(super) fn count_jobs(&self) {
        let inner = Arc::downgrade(&self.inner);
        self.inner.link.peers.count_by(move || {
            let Some(inner) = inner.upgrade() else {
                return Counts::new();
            };
            let all = inner.bots.all(RunningBot::status).into_iter();
            all.map(|bot| (bot.name.clone(), bot.counters())).collect()
        });
    }

    /// The bots that are left out of them, since nobody knows whose they are.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        self.inner.observer.left_out()
    }

    /// How a bot is.
    ///
    /// # Errors
    /// [`LoadFailure::NoSuchBot`].
    pub fn status(&self, name: &str) -> Result<BotStatus, LoadFailure> {
        let status = self.inner.bots.of(name, RunningBot::status);
        status.ok_or_else(|| LoadFailure::NoSuchBot(name.to_owned()))
    }

    /// Stop a bot, after it is loaded or replaced if that is under way. Messages in its hands are finished, as far as they are in time; the others go back to the broker.
    ///
    /// # Errors
    /// [`LoadFailure::NoSuchBot`].
    pub async fn stop(&self, name: &str) -> Result<(), LoadFailure> {
        let turn = self.inner.bots.turn(name).await;
        let bot = turn.take().ok_or_else(|| LoadFailure::NoSuchBot(name.to_owned()))?;
        bot.stop(self.inner.drain).await;
        tracing::info!(bot = name, "stopped");
        Ok(())
    }

    /// Stop all bots, then the host itself: messages in hand are finished as far as they are in time, and what they led
    /// to is published.
    pub async fn shutdown(&self) {
        killpoint::pass("drain");
        self.inner.stopping.cancel();
        let ends = self
            .inner
            .bots
            .close()
            .into_iter()
            .map(|bot| bot.stop(self.inner.drain));
        // Those that somebody else stops at this moment have as long.
        tokio::join!(futures::future::join_all(ends), self.inner.bots.at_rest());
        if self.inner.publisher.status().connected {
            let mut level = self.ledger().outbox_level();
            // What is only kept in case that the broker dies is kept for the next start as well.
            let published = level.wait_for(|status| status.size.rows <= self.publisher().kept);
            let _ = tokio::time::timeout(LAST_WORDS, published).await;
        }
        self.inner.cancel.cancel();
        let broker = self.inner.broker.lock().ok().and_then(|mut broker| broker.take());
        if let Some(broker) = broker {
            broker.stop().await;
        }
    }

    /// Wait until another host has this one's name, so that this one has to end. Returns the reason; whoever waits stops the
    /// host.
    pub async fn lost_name(&self) -> String {
        let mut lost = self.inner.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // Nobody can take the name of a host that has the broker inside.
            Err(_) => std::future::pending().await,
        }
    }

    /// All log lines from now on.
    #[must_use]
    pub fn logs(&self) -> tokio::sync::broadcast::Receiver<Arc<LogLine>> {
        self.inner.services.logs.listen()
    }

    /// Whether some bot is quarantined.
    #[must_use]
    pub fn ails(&self) -> bool {
        self.list().iter().any(|bot| bot.condition == Condition::Quarantined)
    }
}
