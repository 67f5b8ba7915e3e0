//! A running host, as its callers see it.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foundry_broker::{Broker, Operator, killpoint};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::admission::is_bot_name;
use super::bot::{Prepared, RunningBot};
use super::error::LoadFailure;
use super::inspector::Inspector;
use super::message::Link;
use super::spec::{BotSource, BotSpec, BotStatus, Condition};
use crate::bus::{
    BrokerAddress, ConnectionOptions, ConsumerState, LeftOut, Observer, Presence, Publisher, PublisherStatus,
};
use crate::capability::{LogLine, Services};
use crate::event::Topics;
use crate::ledger::Ledger;
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
    pub(super) bots: Mutex<BTreeMap<String, Slot>>,
    pub(super) broker: Mutex<Option<Broker>>,
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

/// A name is taken as soon as its bot is being loaded.
pub(super) enum Slot {
    Loading,
    Running(Box<RunningBot>),
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
        self.inner.link.clock.trouble()
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
        let name = self.reserve(&spec).await?;
        let prepared = match self.inner.prepare(&spec, &name).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.with_bots(|bots| bots.remove(&name));
                return Err(error);
            }
        };
        self.begin(&name, prepared, &spec.source).await
    }

    /// Note a bot that is going to be loaded. distbots are loaded before the signbots that lead to them, and what was signed
    /// before the host started may wait for them.
    pub fn expect(&self, spec: &BotSpec) {
        let keys = spec.options.get("gpg-key").map(Vec::as_slice).unwrap_or_default();
        self.inner.services.note_signer(spec.source.stock(), keys);
    }

    /// Start a bot whose name is taken for it, and wait until it is subscribed, or the broker lets it wait.
    pub(super) async fn begin(
        &self,
        name: &str,
        prepared: Prepared,
        source: &BotSource,
    ) -> Result<BotStatus, LoadFailure> {
        let bot = prepared.start();
        let mut session = bot.session();
        self.with_bots(|bots| bots.insert(name.to_owned(), Slot::Running(Box::new(bot))));
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
    async fn reserve(&self, spec: &BotSpec) -> Result<String, LoadFailure> {
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
        self.with_bots(|bots| {
            let mut name = wanted.clone();
            let mut number = 1;
            while bots.contains_key(&name) {
                match (&spec.name, &spec.source) {
                    (Some(_), _) => return Err(LoadFailure::NameTaken(wanted.clone())),
                    (None, BotSource::File(_)) => return Err(LoadFailure::AlreadyLoaded(wanted.clone())),
                    (None, BotSource::Stock(_)) => {}
                }
                number += 1;
                name = format!("{wanted}-{number}");
            }
            bots.insert(name.clone(), Slot::Loading);
            Ok(name)
        })
    }

    /// The bots of this host, by name.
    #[must_use]
    pub fn list(&self) -> Vec<BotStatus> {
        self.with_bots(|bots| {
            bots.values()
                .filter_map(|slot| match slot {
                    Slot::Running(bot) => Some(bot.status()),
                    Slot::Loading => None,
                })
                .collect()
        })
    }

    /// The bots of all hosts on the broker that this one believes, as they present themselves.
    #[must_use]
    pub fn everyone(&self) -> Vec<Presence> {
        self.inner.observer.bots()
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
        self.list()
            .into_iter()
            .find(|bot| bot.name == name)
            .ok_or_else(|| LoadFailure::NoSuchBot(name.to_owned()))
    }

    /// Stop a bot. Messages in its hands are finished, as far as they are in time; the others go back to the broker.
    ///
    /// # Errors
    /// [`LoadFailure::NoSuchBot`].
    pub async fn stop(&self, name: &str) -> Result<(), LoadFailure> {
        let bot = self.with_bots(|bots| match bots.remove(name) {
            Some(Slot::Running(bot)) => Some(bot),
            Some(Slot::Loading) => {
                bots.insert(name.to_owned(), Slot::Loading);
                None
            }
            None => None,
        });
        let bot = bot.ok_or_else(|| LoadFailure::NoSuchBot(name.to_owned()))?;
        bot.stop(self.inner.drain).await;
        tracing::info!(bot = name, "stopped");
        Ok(())
    }

    /// Stop all bots, then the host itself: messages in hand are finished as far as they are in time, and what they led
    /// to is published.
    pub async fn shutdown(&self) {
        killpoint::pass("drain");
        self.inner.stopping.cancel();
        let bots = self.with_bots(std::mem::take);
        let ends = bots.into_values().filter_map(|slot| match slot {
            Slot::Running(bot) => Some(bot.stop(self.inner.drain)),
            Slot::Loading => None,
        });
        futures::future::join_all(ends).await;
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

    pub(super) fn with_bots<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Slot>) -> T) -> T {
        // Nothing that runs under this lock can panic half-way through a change, so a poisoned map is whole.
        let mut bots = self.inner.bots.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut bots)
    }
}
