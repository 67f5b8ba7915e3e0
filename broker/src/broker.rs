//! Starting and stopping.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use crate::access::{Gate, Owner};
use crate::archive::Archive;
use crate::config::Config;
use crate::connection::Context;
use crate::error::Error;
use crate::group::{BacklogLimits, Engine, EngineConfig, GroupLimits};
use crate::listen::{Certificates, Listeners};
use crate::operator::Operator;
use crate::publisher::Publisher;
use crate::routing::Hub;
use crate::session::{MailboxLimits, Registry, Session};
use crate::topic::TopicName;

/// How long [`Broker::stop`] waits for clients to be told.
const STOP: Duration = Duration::from_secs(5);

/// A running broker. Dropped, it ends without farewell to its clients; what was acknowledged is on disk either way.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    displaced: Option<SocketAddr>,
    tls_address: Option<SocketAddr>,
    websocket_address: Option<SocketAddr>,
    owner: Owner,
    certificates: Option<Arc<Certificates>>,
    /// An address at which clients of other machines can connect, if there is one.
    exposed: Option<SocketAddr>,
    context: Arc<Context>,
    engine: Option<Engine>,
    archive: Option<Archive>,
    listening: Vec<JoinHandle<()>>,
    hub: Option<JoinHandle<()>>,
    registry: JoinHandle<()>,
    /// Held as long as the broker lives.
    _lock: File,
}

impl Broker {
    /// Opens the data directory, listens, and serves.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let exposed = check_exposure(&config)?;
        let lock = lock(&config.data_dir)?;
        let owner = Owner::of(&config.data_dir).map_err(|source| Error::DataDirectory {
            path: config.data_dir.clone(),
            source,
        })?;
        let gate = Gate::new(config.access.clone(), owner.clone())?;
        let listeners = Listeners::bind(&config).await?;
        let Config {
            data_dir,
            limits,
            backlog,
            ..
        } = config;
        let engine_config = EngineConfig {
            limits: GroupLimits {
                messages: limits.group_messages,
                bytes: limits.group_bytes,
                deliveries: limits.group_deliveries,
                retry: u64::from(limits.group_retry_seconds) * 1000,
                retry_most: u64::from(limits.group_retry_most_seconds) * 1000,
                lease: (limits.group_lease_seconds > 0).then(|| u64::from(limits.group_lease_seconds) * 1000),
            },
            leases: limits.group_leases.clone(),
            groups: limits.groups,
            retention: (limits.group_retention_seconds > 0).then_some(limits.group_retention_seconds),
            backlog: BacklogLimits {
                age: u64::try_from(backlog.age.as_millis()).unwrap_or(u64::MAX),
                messages: backlog.messages,
                bytes: backlog.bytes,
            },
            backlog_topics: backlog_topics(&backlog.topics)?,
            dead_prefix: limits.dead_letter_topic.clone(),
        };
        let mailbox_limits = MailboxLimits {
            messages: limits.queued_messages,
            bytes: limits.queued_bytes,
        };
        let (archive, archived) = Archive::start(&data_dir)?;
        let ends = archived
            .sessions
            .iter()
            .filter_map(|session| Some((session.id, session.ends?)))
            .collect();
        let sessions: Vec<Session> = archived
            .sessions
            .into_iter()
            .map(|session| Session::restore(session, mailbox_limits))
            .collect();
        let (mut hub, hub_handle) = Hub::new(limits.retained_bytes, archive.handle());
        hub.restore(&archived.retained, &sessions);
        let engine = Engine::start(&data_dir, engine_config, hub_handle.clone())?;
        let publisher = Publisher::new(hub_handle.clone(), engine.handle());
        let (mut registry, registry_handle) =
            Registry::new(publisher.clone(), archive.handle(), mailbox_limits, limits.sessions);
        registry.restore(sessions, &ends, archived.wills);
        let context = Arc::new(Context {
            publisher,
            hub: hub_handle,
            groups: engine.handle(),
            archive: archive.handle(),
            registry: registry_handle,
            gate,
            limits,
        });
        let (address, displaced) = (listeners.plain, listeners.displaced);
        let certificates = listeners.certificates.clone();
        let (tls_address, websocket_address) = (listeners.tls, listeners.websocket);
        let listening = listeners.serve(&context).into_iter().map(tokio::spawn).collect();
        let (hub, registry) = (tokio::spawn(hub.run()), tokio::spawn(registry.run()));
        tracing::info!(%address, data = %data_dir.display(), "broker listens");
        Ok(Self {
            address,
            displaced,
            tls_address,
            websocket_address,
            owner,
            certificates,
            exposed,
            context,
            engine: Some(engine),
            archive: Some(archive),
            listening,
            hub: Some(hub),
            registry,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it would listen if another program did not: it had [`Config::any_port`], and took another port.
    pub fn displaced(&self) -> Option<SocketAddr> {
        self.displaced
    }

    /// Where it listens with TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Where it listens for WebSockets.
    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.websocket_address
    }

    /// What a program of the same user logs in with to do everything.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    #[cfg(any(fuzzing, test))]
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// What an operator can see and do, while the broker runs.
    pub fn operator(&self) -> Operator {
        Operator::new(&self.context, self.certificates.as_ref(), self.exposed)
    }

    /// Stops listening, tells all clients, and closes the store. Takes ten seconds at most.
    pub async fn stop(mut self) {
        for listener in &self.listening {
            listener.abort();
        }
        if timeout(STOP, self.context.registry.stop()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        // The hub gives the archive the last wills, so it ends first.
        self.context.hub.stop();
        if let Some(hub) = self.hub.take()
            && timeout(STOP, hub).await.is_err()
        {
            tracing::warn!("routing did not end in time");
        }
        let (engine, archive) = (self.engine.take(), self.archive.take());
        let stop = move || {
            engine.into_iter().for_each(|mut engine| engine.stop());
            archive.into_iter().for_each(|mut archive| archive.stop());
        };
        if tokio::task::spawn_blocking(stop).await.is_err() {
            tracing::error!("cannot wait for the threads that write");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for task in self.listening.iter().chain(&self.hub).chain([&self.registry]) {
            task.abort();
        }
        if let Some(mut engine) = self.engine.take() {
            engine.stop();
        }
        if let Some(mut archive) = self.archive.take() {
            archive.stop();
        }
    }
}

fn backlog_topics(topics: &[String]) -> Result<Vec<TopicName>, Error> {
    let topics = topics.iter().map(|topic| {
        TopicName::new(topic).map_err(|error| Error::BacklogTopic {
            topic: topic.clone(),
            why: error.to_string(),
        })
    });
    topics.collect()
}

/// Makes sure that the directory is there and that nobody else works on it.
fn lock(directory: &Path) -> Result<File, Error> {
    let unusable = |source| Error::DataDirectory {
        path: directory.to_owned(),
        source,
    };
    // What waits here may be private, whatever the directory above allows.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(unusable)?;
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(directory.join("lock"))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Clients of other machines have to be users. Returns an address at which they can connect.
fn check_exposure(config: &Config) -> Result<Option<SocketAddr>, Error> {
    let addresses = [
        Some(config.listen),
        config.tls.as_ref().map(|tls| tls.listen),
        config.websocket.as_ref().map(|websocket| websocket.listen),
    ];
    let exposed = addresses
        .into_iter()
        .flatten()
        .find(|address| !address.ip().is_loopback());
    match exposed {
        Some(address) if config.access.users.is_empty() => Err(Error::Unprotected { address }),
        _ => {
            if !config.listen.ip().is_loopback() {
                tracing::warn!(address = %config.listen, "passwords cross the network in clear: use broker.tls for other machines");
            }
            Ok(exposed)
        }
    }
}
