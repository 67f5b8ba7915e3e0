//! Answers the requests of the control socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::groups;
use super::letters;
use super::logs::Log;
use super::protocol::{Answer, Failure, FailureKind, HostStatus, ListedBot, MAX_RUNS, Reply, Request};
use super::server::Client;
use super::specs::LoadedBots;
use super::unread::ShownRun;
use crate::bus::{ConsumerState, Presence};
use crate::ledger::{LedgerError, LetterNumber};
use crate::runtime::LoadError;
use crate::supervisor::{BotSpec, Host, LoadFailure};

/// Log lines that are shown with a failed run.
const LOG_TAIL: usize = 20;

/// How long the broker may take to accept a subscription.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers requests.
pub(super) struct Desk {
    host: Host,
    loaded: LoadedBots,
    configured: BTreeSet<String>,
    pub(super) shutdown: CancellationToken,
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
    pub(super) async fn not_restored(&self, name: &str, spec: &BotSpec, failure: &LoadFailure) {
        let mut why = failure.to_string();
        if let Some(command) = self.host.remedy(spec, failure).await {
            why.push_str(&format!("; load it again: {command}"));
        }
        tracing::error!(bot = name, "not loaded again: {why}");
        let presence = Presence {
            host: self.host.name().to_owned(),
            bot: name.to_owned(),
            component: spec.source.to_string(),
            status: "absent".to_owned(),
            detail: Some(why),
            group: None,
            reads: Vec::new(),
            publishes: Vec::new(),
            since: String::new(),
        };
        self.absent().insert(name.to_owned(), presence);
    }

    fn absent(&self) -> MutexGuard<'_, BTreeMap<String, Presence>> {
        // Nothing panics while it holds this.
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn answer(&self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::Status => Ok(Answer::Status(self.status())),
            Request::Load(spec) => self.load(*spec, Manner::Beside).await,
            Request::Replace(spec) => self.load(*spec, Manner::InPlace).await,
            Request::Grants { bot } => Ok(Answer::InForce(Box::new(self.host.in_force(&bot)?))),
            Request::Stop { bot, component } => self.stop(&bot, component.as_deref()).await,
            Request::List => Ok(Answer::Bots {
                bots: self.list().await,
                left_out: self.host.left_out(),
            }),
            Request::Runs { limit, after } => {
                let backlog = groups::backlog(&self.host).await;
                let runs = self
                    .host
                    .ledger()
                    .runs_after(after, limit.min(MAX_RUNS))
                    .await?
                    .into_iter();
                let shown = runs.map(|run| ShownRun::of(run, &backlog, self.host.topics()));
                Ok(Answer::Runs(shown.collect()))
            }
            Request::Run { id } => self.run(&id).await,
            Request::DeadLetters { limit, after, of } => letters::page(&self.host, limit, after, of.as_deref()).await,
            Request::DeadLetter { number } => letters::one(&self.host, number).await,
            Request::DropDeadLetter { number } => {
                let found = match number {
                    LetterNumber::Host(number) => self.host.ledger().take_dead_letter(number).await?.is_some(),
                    LetterNumber::Group(number) => self.host.drop_group_dead_letter(number).await,
                };
                letter_found(found, number)
            }
            Request::RequeueDeadLetter { number } => {
                let found = match number {
                    LetterNumber::Host(number) => self.host.ledger().requeue_dead_letter(number).await?,
                    LetterNumber::Group(number) => self.host.requeue_group_dead_letter(number).await,
                };
                letter_found(found, number)
            }
            Request::Groups => groups::all(&self.host).await,
            Request::Group { filter } => groups::one(&self.host, &filter).await,
            Request::RemoveGroup { filter } => groups::remove(&self.host, &filter).await,
            Request::Collect { dry_run } => Ok(Answer::Collected(self.host.collect(dry_run).await?)),
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
        let outbox = *self.host.ledger().outbox_level().borrow();
        let loaded = *self.ready.borrow();
        let publisher = self.host.publisher();
        let since = publisher.disconnected_since;
        HostStatus {
            name: self.host.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            broker: format!("{:?}", self.host.broker()),
            broker_displaced: self.host.broker_displaced(),
            prefix: self.host.topics().full("").trim_end_matches('/').to_owned(),
            ready: loaded && publisher.connected,
            loaded,
            connected: publisher.connected,
            disconnected_since: since.map(|since| since.format(&Rfc3339).unwrap_or_default()),
            drain: self.host.drain().as_secs(),
            outbox: outbox.size,
            outbox_full: outbox.full,
            trouble: publisher.trouble.or_else(|| self.host.clock_trouble()),
            unable: self.host.inabilities(),
            concerns: self.host.concerns(),
            build_limits: self.host.services().builder.kept_by(),
            disk: self.host.disk(),
            kept: self.host.kept(),
        }
    }

    async fn load(&self, spec: BotSpec, manner: Manner) -> Result<Answer, Failure> {
        // The bots that belong to the host come first: they have a claim to their names.
        let mut ready = self.ready.subscribe();
        tokio::select! {
            _ = ready.wait_for(|ready| *ready) => {}
            () = self.shutdown.cancelled() => return Err(LoadFailure::Stopping.into()),
        }
        let status = match manner {
            Manner::Beside => self.host.load(spec.clone()).await?,
            Manner::InPlace => self.host.replace(spec.clone()).await?,
        };
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

    async fn list(&self) -> Vec<ListedBot> {
        let own: BTreeMap<_, _> = self
            .host
            .list()
            .into_iter()
            .map(|bot| (bot.name.clone(), bot))
            .collect();
        let host = self.host.name();
        let mut listed: BTreeMap<(String, String), ListedBot> = BTreeMap::new();
        // What this host knows of its own is newer than what the broker has of it.
        let others: Vec<_> = self
            .host
            .everyone()
            .into_iter()
            .filter(|bot| bot.host != host)
            .collect();
        let jobs = self.host.jobs_of(&others).await;
        for presence in others {
            let local = jobs
                .get(&presence.host)
                .and_then(|counts| counts.get(&presence.bot))
                .copied();
            let name = (presence.host.clone(), presence.bot.clone());
            listed.insert(name, ListedBot { presence, local });
        }
        for (name, bot) in own {
            let local = bot.counters();
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
                "no run and no commit, or more than one run, has an id that begins with {id} (see `foundry-host runs`)"
            )));
        };
        let mut log = Vec::new();
        if run.state.status.has_failed() {
            log = self.host.services().logs.of_run(&run.id).unwrap_or_default();
            log = log.split_off(log.len().saturating_sub(LOG_TAIL));
        }
        let backlog = groups::backlog(&self.host).await;
        Ok(Answer::Run {
            run: Box::new(ShownRun::of(run, &backlog, self.host.topics())),
            log,
        })
    }

    pub(super) async fn logs(
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

    pub(super) async fn watch(&self, client: &mut Client, filter: &str) -> std::io::Result<Result<Answer, Failure>> {
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
            Ok(ConsumerState::Connecting(_) | ConsumerState::Unable(_)) | Err(_) => {
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

fn letter_found(found: bool, number: LetterNumber) -> Result<Answer, Failure> {
    if found {
        return Ok(Answer::Done);
    }
    Err(not_found(format!(
        "there is no dead letter {number} (see `foundry-host dead-letters list`)"
    )))
}

pub(super) fn not_found(message: String) -> Failure {
    Failure::new(FailureKind::NotFound, message)
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::new(FailureKind::Failed, error.to_string())
    }
}

/// What happens to a bot that has the name already.
enum Manner {
    /// It stays; the new one gets another name.
    Beside,
    /// The new one replaces it.
    InPlace,
}

impl From<LoadFailure> for Failure {
    fn from(failure: LoadFailure) -> Self {
        use LoadFailure as F;
        let kind = match &failure {
            F::NoSuchStockBot(..) | F::NoSuchBot(_) => FailureKind::NotFound,
            F::Component(LoadError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                FailureKind::NotFound
            }
            F::Component(LoadError::NotAComponent { .. })
            | F::Admission(_)
            | F::Digest { .. }
            | F::Signature { .. }
            | F::Refused { .. }
            | F::NotGranted { .. }
            | F::Description(_) => FailureKind::Refused,
            F::Options { .. } | F::BadName(_) | F::ReservedName(_) => FailureKind::Usage,
            F::NameTaken(_) | F::AlreadyLoaded(_) => FailureKind::Conflict,
            _ => FailureKind::Failed,
        };
        Self::new(kind, failure.to_string())
    }
}
