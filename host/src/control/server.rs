//! The host's end of the control socket. A client that hangs, lies or leaves costs a connection, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::logs::Log;
use super::protocol::{
    Answer, Ask, Counters, Failure, FailureKind, HostStatus, ListedBot, MAX_REQUEST, Reply, Request, VERSION,
};
use super::specs::LoadedBots;
use crate::bus::{ConsumerState, Presence};
use crate::ledger::{LedgerError, RunStatus};
use crate::runtime::LoadError;
use crate::supervisor::{BotSpec, Host, LoadFailure};

/// Connections at the same time; more wait.
const CONNECTIONS: usize = 64;

/// How long a client may take to say what it wants, and to read what it gets.
const PATIENCE: Duration = Duration::from_secs(10);

/// Log lines that are shown with a failed run.
const LOG_TAIL: usize = 20;

/// Listens on the control socket.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    desk: Arc<Desk>,
}

impl Server {
    /// Listen in a state directory that is locked for this host. A socket that a dead host left is replaced.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn bind(state: &Path, desk: Arc<Desk>) -> std::io::Result<Self> {
        let path = super::socket(state);
        // It appears under its name when its mode is right, and in place of a stale one, in one step.
        let fresh = path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, &path)?;
        Ok(Self { listener, path, desk })
    }

    /// Answer until the host stops.
    pub(super) async fn run(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let stopping = self.desk.shutdown.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopping.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection on the control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            let desk = Arc::clone(&self.desk);
            let (reader, writer) = stream.into_split();
            tokio::spawn(async move {
                let client = Client { writer };
                if let Err(error) = attend(&desk, reader, client).await {
                    tracing::debug!(%error, "a client of the control socket left");
                }
                drop(place);
            });
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The client's reading end.
struct Client {
    writer: OwnedWriteHalf,
}

impl Client {
    async fn send(&mut self, reply: &Reply) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        tokio::time::timeout(PATIENCE, self.writer.write_all(&line)).await?
    }
}

/// Serve one connection: one request.
async fn attend(desk: &Desk, reader: OwnedReadHalf, mut client: Client) -> std::io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let mut limited = (&mut reader).take(MAX_REQUEST as u64);
    tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    let request = match serde_json::from_slice::<Ask>(&line) {
        Ok(ask) if ask.version == VERSION => ask.request,
        Ok(ask) => {
            let message = format!(
                "this host speaks version {VERSION} of the control protocol, not {} (restart the host, or use the same foundry-host)",
                ask.version
            );
            return client
                .send(&Reply::Failed(Failure::new(FailureKind::Failed, message)))
                .await;
        }
        Err(error) => {
            let message = format!("this is not a request: {error}");
            return client
                .send(&Reply::Failed(Failure::new(FailureKind::Usage, message)))
                .await;
        }
    };
    let reply = match request {
        // What streams ends when the client does.
        Request::Logs { of, lines, follow } => {
            let work = desk.logs(&mut client, of.as_deref(), lines, follow);
            tokio::select! {
                result = work => result?,
                () = left(reader) => return Ok(()),
            }
        }
        Request::Watch { filter } => tokio::select! {
            result = desk.watch(&mut client, &filter) => result?,
            () = left(reader) => return Ok(()),
        },
        // What changes something is done to its end, whether the client waits for it or not.
        other => desk.answer(other).await,
    };
    let reply = match reply {
        Ok(answer) => Reply::Last(answer),
        Err(failure) => Reply::Failed(failure),
    };
    client.send(&reply).await
}

/// Wait until the client closes the connection. What else it says is ignored.
async fn left(mut reader: BufReader<OwnedReadHalf>) {
    let mut ignored = [0; 256];
    while matches!(reader.read(&mut ignored).await, Ok(read) if read > 0) {}
}

/// Answers requests.
pub(super) struct Desk {
    host: Host,
    loaded: LoadedBots,
    configured: BTreeSet<String>,
    shutdown: CancellationToken,
    ready: watch::Sender<bool>,
    /// Bots that were loaded by hand and could not be loaded again.
    absent: Mutex<BTreeMap<String, Presence>>,
}

impl Desk {
    pub(super) fn new(
        host: Host,
        loaded: LoadedBots,
        configured: BTreeSet<String>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            host,
            loaded,
            configured,
            shutdown,
            ready: watch::channel(false).0,
            absent: Mutex::default(),
        }
    }

    /// All bots are loaded.
    pub(super) fn ready(&self) {
        self.ready.send_replace(true);
    }

    /// A bot that was loaded by hand could not be loaded again. It stays in the list, with the reason.
    pub(super) fn not_restored(&self, name: &str, spec: &BotSpec, failure: &LoadFailure) {
        tracing::error!(bot = name, "not loaded again: {failure}");
        let presence = Presence {
            host: self.host.name().to_owned(),
            bot: name.to_owned(),
            component: spec.source.to_string(),
            status: "absent".to_owned(),
            detail: Some(failure.to_string()),
            group: None,
            reads: Vec::new(),
            publishes: Vec::new(),
            since: String::new(),
        };
        self.absent().insert(name.to_owned(), presence);
    }

    fn absent(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Presence>> {
        // Nothing panics while it holds this.
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::Status => Ok(Answer::Status(self.status())),
            Request::Load(spec) => self.load(*spec).await,
            Request::Stop { bot, component } => self.stop(&bot, component.as_deref()).await,
            Request::List => Ok(Answer::Bots(self.list())),
            Request::Runs { limit } => Ok(Answer::Runs(self.host.ledger().runs(limit).await?)),
            Request::Run { id } => self.run(&id).await,
            Request::DeadLetters => Ok(Answer::DeadLetters(self.host.ledger().dead_letters().await?)),
            Request::DropDeadLetter { number } => match self.host.ledger().take_dead_letter(number).await? {
                Some(_) => Ok(Answer::Done),
                None => Err(not_found(format!(
                    "there is no dead letter {number} (see `foundry-host dead-letters list`)"
                ))),
            },
            Request::Shutdown => {
                self.shutdown.cancel();
                Ok(Answer::Done)
            }
            Request::Logs { .. } | Request::Watch { .. } => Err(Failure::new(
                FailureKind::Failed,
                "this request has more than one answer",
            )),
        }
    }

    fn status(&self) -> HostStatus {
        HostStatus {
            name: self.host.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            broker: format!("{:?}", self.host.broker()),
            prefix: self.host.topics().full("").trim_end_matches('/').to_owned(),
            ready: *self.ready.borrow(),
        }
    }

    async fn load(&self, spec: BotSpec) -> Result<Answer, Failure> {
        // The bots that belong to the host come first: they have a claim to their names.
        let mut ready = self.ready.subscribe();
        tokio::select! {
            _ = ready.wait_for(|ready| *ready) => {}
            () = self.shutdown.cancelled() => return Err(LoadFailure::Stopping.into()),
        }
        let status = self.host.load(spec.clone()).await?;
        if let Err(error) = self.loaded.remember(&status.name, &spec) {
            let _ = self.host.stop(&status.name).await;
            return Err(Failure::new(
                FailureKind::Failed,
                format!("cannot keep {}: {error}", status.name),
            ));
        }
        self.absent().remove(&status.name);
        Ok(Answer::Loaded(status))
    }

    async fn stop(&self, bot: &str, component: Option<&str>) -> Result<Answer, Failure> {
        let absent = self.absent().remove(bot).is_some();
        if let (Some(wanted), Ok(status)) = (component, self.host.status(bot))
            && status.component != wanted
        {
            return Err(not_found(format!(
                "{bot} is a {}, not a {wanted} (see `foundry-host list`)",
                status.component
            )));
        }
        match self.host.stop(bot).await {
            Err(LoadFailure::NoSuchBot(_)) if absent => {}
            other => other?,
        }
        self.loaded
            .forget(bot)
            .map_err(|error| Failure::new(FailureKind::Failed, error.to_string()))?;
        if self.configured.contains(bot) {
            tracing::info!(
                bot,
                "comes back when the host starts again, since the configuration has it"
            );
        }
        Ok(Answer::Done)
    }

    fn list(&self) -> Vec<ListedBot> {
        let own: BTreeMap<_, _> = self
            .host
            .list()
            .into_iter()
            .map(|bot| (bot.name.clone(), bot))
            .collect();
        let host = self.host.name();
        let mut listed: BTreeMap<(String, String), ListedBot> = BTreeMap::new();
        for presence in self.host.everyone() {
            // What this host knows of its own is newer than what the broker has of it.
            if presence.host != host {
                listed.insert(
                    (presence.host.clone(), presence.bot.clone()),
                    ListedBot { presence, local: None },
                );
            }
        }
        for (name, bot) in own {
            let local = Counters {
                handled: bot.handled,
                failed: bot.failed,
                in_hand: bot.in_hand,
            };
            let presence = Presence {
                host: host.to_owned(),
                bot: name.clone(),
                component: bot.component,
                status: bot.condition.name().to_owned(),
                detail: bot.detail,
                group: bot.group,
                reads: bot.reads,
                publishes: bot.publishes,
                since: bot.since,
            };
            listed.insert(
                (host.to_owned(), name),
                ListedBot {
                    presence,
                    local: Some(local),
                },
            );
        }
        for (name, presence) in self.absent().iter() {
            let bot = ListedBot {
                presence: presence.clone(),
                local: None,
            };
            listed.entry((host.to_owned(), name.clone())).or_insert(bot);
        }
        listed.into_values().collect()
    }

    async fn run(&self, id: &str) -> Result<Answer, Failure> {
        let Some(run) = self.host.ledger().run(id).await? else {
            return Err(not_found(format!(
                "no run, or more than one, has an id that begins with {id} (see `foundry-host runs`)"
            )));
        };
        let mut log = Vec::new();
        if run.status == RunStatus::Failed {
            log = self.host.services().logs.of_run(&run.id).unwrap_or_default();
            log = log.split_off(log.len().saturating_sub(LOG_TAIL));
        }
        Ok(Answer::Run {
            run: Box::new(run),
            log,
        })
    }

    async fn logs(
        &self,
        client: &mut Client,
        of: Option<&str>,
        lines: usize,
        follow: bool,
    ) -> std::io::Result<Result<Answer, Failure>> {
        let mut log = match Log::open(&self.host, of, lines).await {
            Ok(log) => log,
            Err(failure) => return Ok(Err(failure)),
        };
        for line in &log.kept {
            client.send(&Reply::Part(Answer::Line(line.clone()))).await?;
        }
        if !follow {
            return Ok(Ok(Answer::Done));
        }
        loop {
            let line = tokio::select! {
                line = log.next() => line,
                () = self.shutdown.cancelled() => None,
            };
            let Some(line) = line else { return Ok(Ok(Answer::Done)) };
            client.send(&Reply::Part(Answer::Line(line))).await?;
        }
    }

    async fn watch(&self, client: &mut Client, filter: &str) -> std::io::Result<Result<Answer, Failure>> {
        let (mut sightings, mut session) = self.host.watch(filter);
        let begun = async {
            let state = session
                .wait_for(|state| !matches!(state, ConsumerState::Connecting(_)))
                .await;
            state
                .map(|state| state.clone())
                .unwrap_or(ConsumerState::Connecting(None))
        };
        match tokio::time::timeout(PATIENCE, begun).await {
            Ok(ConsumerState::Subscribed) => {}
            Ok(ConsumerState::Refused(why)) => {
                let message = format!("cannot watch {filter}: {why}");
                return Ok(Err(Failure::new(FailureKind::Refused, message)));
            }
            Ok(ConsumerState::Connecting(_)) | Err(_) => {
                let message = format!(
                    "cannot watch {filter}: no connection to the broker {:?}",
                    self.host.broker()
                );
                return Ok(Err(Failure::new(FailureKind::Failed, message)));
            }
        }
        client.send(&Reply::Part(Answer::Watching)).await?;
        loop {
            let sighting = tokio::select! {
                sighting = sightings.recv() => sighting,
                () = self.shutdown.cancelled() => None,
            };
            let Some(sighting) = sighting else {
                return Ok(Ok(Answer::Done));
            };
            client.send(&Reply::Part(Answer::Sighting(Box::new(sighting)))).await?;
        }
    }
}

fn not_found(message: String) -> Failure {
    Failure::new(FailureKind::NotFound, message)
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::new(FailureKind::Failed, error.to_string())
    }
}

impl From<LoadFailure> for Failure {
    fn from(failure: LoadFailure) -> Self {
        use LoadFailure as F;
        let kind = match &failure {
            F::NoSuchStockBot(..) | F::NoSuchBot(_) => FailureKind::NotFound,
            F::Component(LoadError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                FailureKind::NotFound
            }
            F::Component(LoadError::NotAComponent { .. }) | F::Admission(_) | F::Refused { .. } | F::Description(_) => {
                FailureKind::Refused
            }
            F::Options { .. } | F::BadName(_) => FailureKind::Usage,
            F::NameTaken(_) => FailureKind::Conflict,
            _ => FailureKind::Failed,
        };
        Self::new(kind, failure.to_string())
    }
}
