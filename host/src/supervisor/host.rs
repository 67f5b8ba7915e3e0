//! The host as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foundry_broker::{Broker, Operator, killpoint};
use tokio_util::sync::CancellationToken;

use super::admission::is_bot_name;
use super::bot::{Prepared, RunningBot};
use super::chores::{forget_old, forward_logs};
use super::error::{HostError, LoadFailure};
use super::inspector::Inspector;
use super::message::Link;
use super::spec::{BotSource, BotSpec, BotStatus, Condition};
use crate::bus::{
    BrokerAddress, Concerns, ConnectionOptions, ConsumerState, FAILURES, LiveMessage, Observer, Patience, Peers,
    Presence, Publisher, PublisherStatus, Topics,
};
use crate::capability::build::{self, Builder};
use crate::capability::git::{Git, GitConfig};
use crate::capability::http::Http;
use crate::capability::mail::{Mail, MailSettings};
use crate::capability::site::Sites;
use crate::capability::tape::Tape;
use crate::capability::{ArtifactStore, LogHub, LogLine, Services};
use crate::keys::{Algorithm, Fingerprint, KeyError, KeyStore, NewKey, PassphraseSource, Role, Signer, Trust};
use crate::ledger::{Ledger, OutboxLimits};
use crate::objects::Location;
use crate::runtime::ComponentInfo;
use crate::runtime::wit::types::Description;
use crate::tls::ClientTls;

/// How long `load` waits for the broker before it leaves the bot to connect on its own.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(5);

/// How long an event is kept for subscribers that may come back: Mosquitto forgets shared subscriptions when it restarts.
const READERS_PATIENCE: Duration = Duration::from_secs(60);

/// How long a stopping host waits for its last events to be published.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Which broker carries the messages.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one, at the start")]
pub enum BrokerChoice {
    /// The one inside this process.
    Embedded(foundry_broker::Config),
    /// Another one.
    External(BrokerAddress),
}

/// How messages between hosts are signed and checked.
#[derive(Debug, Clone)]
pub struct MessagesConfig {
    /// Topics' first part.
    pub prefix: String,
    /// The key that signs; by default the only one with the role `messages`, made at the first start.
    pub key: Option<String>,
    /// Fingerprints of the keys whose messages are handled; empty for all that the key store holds for this role.
    pub trust: Vec<Fingerprint>,
    /// Older messages are refused.
    pub max_age: Duration,
    /// How much the outbox may hold before bots take no more messages.
    pub outbox: OutboxLimits,
    /// How long to wait for a host that is away and may have settled a message that came here again.
    pub peer_patience: Duration,
    /// How long an event is kept after a broker elsewhere has acknowledged it, in case that it dies and forgets it.
    pub keep: Duration,
    /// Groups of bots on other hosts, by topic and endpoint: the embedded broker keeps their messages even before their
    /// first member was there.
    pub expect: Vec<(String, String)>,
}

impl Default for MessagesConfig {
    fn default() -> Self {
        Self {
            prefix: "foundry".to_owned(),
            key: None,
            trust: Vec::new(),
            max_age: Duration::from_secs(14 * 24 * 3600),
            outbox: OutboxLimits::default(),
            peer_patience: Duration::from_secs(60),
            keep: Duration::from_secs(10),
            expect: Vec::new(),
        }
    }
}

/// What a host is started with.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The host's name, unique on its broker.
    pub name: String,
    /// Directory of everything that it keeps.
    pub state: PathBuf,
    /// The broker.
    pub broker: BrokerChoice,
    /// Messages.
    pub messages: MessagesConfig,
    /// Where passphrases of keys come from.
    pub passphrases: PassphraseSource,
    /// Where artifacts are kept; none for the state directory.
    pub artifacts: Option<Location>,
    /// How packages are built.
    pub builds: build::Settings,
    /// How mail is sent; none for not at all.
    pub mail: Option<MailSettings>,
    /// How long messages in hand may take to be finished when a bot is stopped.
    pub drain: Duration,
    /// Whether every bot from a file has to be signed.
    pub require_signed_bots: bool,
    /// Topics, besides the stock ones, whose events `runs` shows.
    pub observe: Vec<String>,
}

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
    observer: Observer,
    bots: Mutex<BTreeMap<String, Slot>>,
    broker: Mutex<Option<Broker>>,
    pub(super) drain: Duration,
    pub(super) require_signed_bots: bool,
    /// The host takes no more bots; then, everything ends.
    stopping: CancellationToken,
    pub(super) cancel: CancellationToken,
    _lock: File,
}

/// A name is taken as soon as its bot is being loaded.
pub(super) enum Slot {
    Loading,
    Running(Box<RunningBot>),
}

impl Host {
    /// Start a host without any bot.
    ///
    /// # Errors
    /// [`HostError`], which names what it could not use.
    pub async fn start(config: HostConfig) -> Result<Self, HostError> {
        if !is_bot_name(&config.name) {
            return Err(HostError::BadName(config.name));
        }
        let lock = lock_state(&config.state)?;
        let keys = Arc::new(KeyStore::open(config.state.join("keys"))?);
        let (signer, trust) = message_keys(&keys, &config)?;
        let inspector = Inspector::new(config.state.join("compiled"))?;
        let ledger = Ledger::open(&config.state.join("ledger.sqlite"))?;
        let (broker, address) = match config.broker.clone() {
            BrokerChoice::Embedded(embedded) => {
                let broker = Broker::start(embedded).await?;
                let owner = broker.owner();
                let address = BrokerAddress {
                    login: Some((owner.user().to_owned(), owner.password().to_owned())),
                    ..BrokerAddress::local(broker.address())
                };
                (Some(broker), address)
            }
            BrokerChoice::External(address) => (None, address),
        };
        let tls = address.tls.as_ref().map(ClientTls::load).transpose()?;
        let services = Services {
            ledger: ledger.clone(),
            artifacts: match &config.artifacts {
                Some(location) => ArtifactStore::open(location)?,
                None => ArtifactStore::local(&config.state.join("artifacts"))?,
            },
            logs: Arc::new(LogHub::new(config.state.join("logs"))),
            git: Git::new(config.state.join("git"), GitConfig::default()).map_err(|source| {
                HostError::StateDirectory {
                    path: config.state.join("git"),
                    source,
                }
            })?,
            keys: Arc::clone(&keys),
            passphrases: config.passphrases.clone(),
            sites: Sites::new(),
            builder: Builder::new(&config.state.join("build"), config.builds.clone())?,
            http: Http::default(),
            mail: Mail::new(config.mail.as_ref())?,
            tape: Tape::Off,
        };
        let cancel = CancellationToken::new();
        let topics = Topics::new(&config.messages.prefix);
        if let Some(broker) = &broker {
            for (topic, endpoint) in &config.messages.expect {
                // If there are too many, the broker says so, and the group's members are told when they come.
                broker.operator().create_group(&topics.shared(endpoint, topic)).await;
            }
        }
        let connection = ConnectionOptions {
            broker: address,
            client_id: format!("foundry-{}", config.name),
            persistent: true,
            receive_maximum: 1,
            will: None,
            tls,
            keep_alive: Duration::from_secs(20),
            concerns: Concerns::default(),
        };
        if broker.is_none() {
            let options = ConnectionOptions {
                client_id: format!("foundry-{}-onlooker", config.name),
                ..connection.clone()
            };
            connection.concerns.watch(options, cancel.clone());
        }
        ledger.limit_outbox(config.messages.outbox);
        let patience = match broker {
            Some(_) => Patience::NONE,
            None => Patience {
                readers: READERS_PATIENCE,
                disk: config.messages.keep,
            },
        };
        let publisher = start_publisher(&connection, &config.name, &topics, patience, &ledger, &cancel);
        let peers = Peers::start(
            ConnectionOptions {
                client_id: format!("foundry-{}-peers", config.name),
                ..connection.clone()
            },
            &config.name,
            topics.clone(),
            Arc::clone(&signer),
            Arc::clone(&trust),
            ledger.clone(),
            publisher.clone(),
            config.messages.peer_patience,
            config.messages.max_age,
            cancel.clone(),
        );
        let link = Arc::new(Link {
            host: config.name.clone(),
            topics: topics.clone(),
            signer,
            trust: Arc::clone(&trust),
            ledger: ledger.clone(),
            peers,
            max_age: config.messages.max_age,
        });
        let mut observed: Vec<String> = ["commits", "builds", "signs", "dists", FAILURES]
            .map(ToOwned::to_owned)
            .into();
        observed.extend(config.observe.iter().cloned());
        observed.sort_unstable();
        observed.dedup();
        let (observer, _) = Observer::start(
            ConnectionOptions {
                client_id: format!("foundry-{}-observer", config.name),
                ..connection.clone()
            },
            &config.name,
            topics.clone(),
            &observed,
            trust,
            config.messages.max_age,
            ledger.clone(),
            cancel.clone(),
        );
        let services = Arc::new(services);
        tokio::spawn(forward_logs(
            services.logs.listen(),
            publisher.clone(),
            topics,
            cancel.clone(),
        ));
        tokio::spawn(forget_old(ledger, config.messages.max_age, cancel.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                inspector,
                services,
                link,
                connection,
                publisher,
                observer,
                bots: Mutex::default(),
                broker: Mutex::new(broker),
                drain: config.drain,
                require_signed_bots: config.require_signed_bots,
                stopping: CancellationToken::new(),
                cancel,
                _lock: lock,
            }),
        })
    }

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

    /// How the way to the broker is.
    #[must_use]
    pub fn publisher(&self) -> PublisherStatus {
        self.inner.publisher.status()
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
        self.status(name)
    }

    /// Take a name for a bot.
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
                if spec.name.is_some() {
                    return Err(LoadFailure::NameTaken(wanted.clone()));
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

    /// The bots of all hosts on the broker, as they present themselves.
    #[must_use]
    pub fn everyone(&self) -> Vec<Presence> {
        self.inner.observer.bots()
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
        let mut bots = self
            .inner
            .bots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut bots)
    }
}

/// Make the state directory, and make sure that no other host uses it.
fn lock_state(state: &Path) -> Result<File, HostError> {
    let failed = |source| HostError::StateDirectory {
        path: state.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(state.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(HostError::StateInUse(state.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The key that signs this host's messages, and those whose messages it handles.
fn message_keys(keys: &KeyStore, config: &HostConfig) -> Result<(Arc<Signer>, Arc<Trust>), KeyError> {
    let query = match &config.messages.key {
        Some(query) => query.clone(),
        None => {
            let known = keys.list()?;
            let own = known
                .iter()
                .find(|key| key.has_secret && key.roles.contains(&Role::Messages));
            match own {
                Some(key) => key.fingerprint.to_string(),
                None => {
                    let new = NewKey {
                        user_id: format!("Foundry host {} (messages)", config.name),
                        algorithm: Algorithm::Ed25519,
                        expires_in: None,
                        passphrase: None,
                    };
                    keys.generate(Role::Messages, &new)?.fingerprint.to_string()
                }
            }
        }
    };
    let signer = keys.signer(&query, Role::Messages, &config.passphrases)?;
    let allowed = (!config.messages.trust.is_empty()).then(|| {
        let others = config.messages.trust.iter().copied();
        others.chain([signer.fingerprint()]).collect()
    });
    let trust = Trust::new(keys.clone(), Role::Messages, allowed)?;
    Ok((signer, Arc::new(trust)))
}

fn start_publisher(
    connection: &ConnectionOptions,
    host: &str,
    topics: &Topics,
    patience: Patience,
    ledger: &Ledger,
    cancel: &CancellationToken,
) -> Publisher {
    let topic = topics.host(host);
    let presence = |status: &str| {
        let version = env!("CARGO_PKG_VERSION");
        serde_json::json!({ "host": host, "status": status, "version": version })
            .to_string()
            .into_bytes()
    };
    let options = ConnectionOptions {
        // The outbox is the session: what was unacknowledged is sent again from there.
        persistent: false,
        client_id: format!("{}-publisher", connection.client_id),
        // What is kept until the broker has proved to be alive should not be kept for long.
        keep_alive: Duration::from_secs(10),
        will: Some((topic.clone(), presence("offline"))),
        ..connection.clone()
    };
    let hello = LiveMessage {
        topic,
        payload: presence("online"),
        retain: true,
    };
    Publisher::start(options, Some(hello), patience, ledger.clone(), cancel.clone()).0
}
