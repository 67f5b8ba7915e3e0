//! One bot in a world of its own: no broker, no other bot, nothing kept. What authors' tests run their bots in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::admission::{ASKING, STATE_LIMIT};
use super::error::{HostError, LoadFailure};
use super::inspector::Inspector;
use super::options;
use super::rights::{self, Rights, limits};
use super::settings::LONGEST_MESSAGE;
use super::spec::BotSpec;
use crate::ability::Ability;
use crate::capability::build::{Builder, Settings};
use crate::capability::git::{Git, GitConfig};
use crate::capability::http::Http;
use crate::capability::mail::{Mail, MailSettings};
use crate::capability::site::Sites;
use crate::capability::tape::{Tape, World};
use crate::capability::topic_grants::Outlets;
use crate::capability::{ArtifactStore, Lacking, LogHub, LogLine, MissingGrant, PackagesKeys, Services};
use crate::event::{OutgoingEvent, schema};
use crate::keys::{KeyStore, PassphraseSource};
use crate::ledger::{Ledger, LedgerError, Settlement};
use crate::reach::Network;
use crate::runtime::wit::types::Message;
use crate::runtime::{Answer, BotContext, Effects, Fault, Instances, StateWrite, Verdict};

/// A bot that is ready for one message after another.
pub struct Trial {
    instances: Instances,
    services: Arc<Services>,
    name: String,
    topic: String,
    /// What it lacks to be loaded.
    lacks: Vec<MissingGrant>,
    /// What it may publish once it has that.
    outlets: Outlets,
    /// The names of its own options.
    bots_own: Vec<String>,
    /// Lines of its log that were reported. The first report has those that it wrote while it was loaded.
    seen: AtomicUsize,
    // Holds everything that the services keep; gone with the trial.
    _directory: TempDir,
}

/// What the operator says of the world outside of a trial.
#[derive(Debug, Clone, Default)]
pub struct Outside<'a> {
    /// The server that mail goes through; none by default.
    pub mail: Option<&'a MailSettings>,
    /// The exceptions for what bots reach over the network.
    pub network: Arc<Network>,
}

/// An event as an author writes it for a test.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialEvent {
    /// CloudEvents type.
    pub event_type: String,
    /// Topic without prefix; by default the first that the bot reads.
    pub topic: Option<String>,
    /// The event's id, which those of published events derive from.
    pub id: String,
    /// What it is about.
    pub subject: Option<String>,
    /// Data.
    pub data: Map<String, Value>,
    /// Attempts at it before this one.
    pub attempt: u32,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialReport {
    /// The outcome.
    pub outcome: TrialOutcome,
    /// Events that would have been published.
    pub published: Vec<OutgoingEvent>,
    /// The bot's whole state afterwards.
    pub state: BTreeMap<String, Vec<u8>>,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// What it would have to be granted besides, to be loaded and to publish all that: none if nothing.
    pub needs: Option<Lacking>,
    /// From the call to its end.
    pub took: Duration,
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialOutcome {
    /// Done.
    Done,
    /// The bot asks for another attempt.
    Retry {
        /// At least this much later.
        after: Duration,
        /// Why.
        why: String,
    },
    /// The bot gives the message up.
    Reject(String),
    /// The bot's code failed.
    Fault(Fault),
}

/// Why there was no trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The bot can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadFailure),
    /// The world can't be set up.
    #[error("cannot set up a world for the test: {0}")]
    World(String),
    /// The event isn't one that any host would deliver.
    #[error("the event would never reach a bot: {0}")]
    Event(#[from] schema::SchemaError),
    /// The state can't be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Trial {
    /// Load a bot, as a host would: options and grants are checked, and the bot's `configure` is called. Only topics need
    /// no grant here, where nobody else reads or writes them; [`TrialReport::needs`] names the grants.
    ///
    /// # Errors
    /// [`TrialError`], which says what is wrong and what to do.
    pub async fn load(inspector: &Inspector, spec: &BotSpec) -> Result<Self, TrialError> {
        Self::load_in(inspector, spec, Tape::Off, Outside::default()).await
    }

    /// The same, in a world that is recorded, or was, or that reaches something outside.
    ///
    /// # Errors
    /// As [`Trial::load`].
    pub async fn load_in(
        inspector: &Inspector,
        spec: &BotSpec,
        tape: Tape,
        outside: Outside<'_>,
    ) -> Result<Self, TrialError> {
        let (component, Answer { description, said }) = inspector.ask(&spec.source).await?;
        let name = spec.name.clone().unwrap_or_else(|| description.name.clone());
        let resolved = options::resolve(&description, &spec.options).map_err(|error| LoadFailure::Options {
            name: name.clone(),
            error,
        })?;
        let rights = Rights::of(spec, &name, &component, &description, &resolved)?;
        rights::require(&name, &description, rights.imports)?;
        let admitted = component
            .admit(inspector.engine(), &rights.grants)
            .map_err(LoadFailure::Admission)?;
        let directory = tempfile::tempdir().map_err(world)?;
        let services = Arc::new(services(directory.path(), tape, outside)?);
        let bot = Arc::new(BotContext {
            source: format!("test/{name}"),
            name: name.clone(),
            stock: spec.source.stock().map(ToOwned::to_owned),
            groups: rights.routes.groups(),
            options: resolved.values,
            outlets: Outlets::unlimited(&resolved.outputs),
            grants: rights.grants,
            state_limit: STATE_LIMIT,
            services: Arc::clone(&services),
        });
        bot.keep(&said);
        let engine = inspector.engine();
        let asking = Instances::new(engine.clone(), admitted.clone(), Arc::clone(&bot), ASKING);
        super::admission::configure(&asking, &name).await?;
        Ok(Self {
            instances: Instances::new(
                engine.clone(),
                admitted,
                bot,
                limits(spec, &description, LONGEST_MESSAGE),
            ),
            services,
            name,
            topic: resolved
                .inputs
                .first()
                .map(|(_, topic)| topic.clone())
                .unwrap_or_default(),
            lacks: rights.topics,
            outlets: rights.routes.outlets,
            bots_own: options::known_options(&description),
            seen: AtomicUsize::new(0),
            _directory: directory,
        })
    }

    /// What git, builds, HTTP and mail answered so far, if that is recorded.
    #[must_use]
    pub fn recorded(&self) -> Option<World> {
        self.services.tape.recorded()
    }

    /// Give the bot state from earlier messages.
    ///
    /// # Errors
    /// [`TrialError::Ledger`].
    pub async fn set_state(&self, state: BTreeMap<String, Vec<u8>>) -> Result<(), TrialError> {
        let writes = state.into_iter().map(|(key, value)| StateWrite {
            key,
            value: Some(value),
        });
        self.settle(writes.collect()).await
    }

    /// Let the bot handle an event.
    ///
    /// # Errors
    /// [`TrialError`] if there was nothing to handle; how the bot fares is in the report.
    pub async fn handle(&self, event: TrialEvent) -> Result<TrialReport, TrialError> {
        schema::check(&event.event_type, &event.data)?;
        let message = Message {
            run: event.id.chars().take(12).collect(),
            id: event.id,
            topic: event.topic.unwrap_or_else(|| self.topic.clone()),
            event_type: event.event_type,
            source: "test/tester".to_owned(),
            subject: event.subject,
            time: self.time(),
            attempt: event.attempt,
            data: Value::Object(event.data).to_string(),
        };
        self.report(self.instances.handle(&message)).await
    }

    /// Tell the bot that a timer went off.
    ///
    /// # Errors
    /// [`TrialError::Ledger`].
    pub async fn tick(&self, timer: &str) -> Result<TrialReport, TrialError> {
        self.report(self.instances.tick(timer)).await
    }

    /// The time of an event: where the world's clock begins, if that is recorded.
    fn time(&self) -> String {
        let begin = self.services.tape.begin();
        let time = begin.unwrap_or_else(OffsetDateTime::now_utc);
        time.format(&Rfc3339).unwrap_or_default()
    }

    async fn report(&self, work: impl Future<Output = Result<Verdict, Fault>>) -> Result<TrialReport, TrialError> {
        let start = Instant::now();
        let verdict = work.await;
        let took = start.elapsed();
        let all = self.log()?;
        let seen = self.seen.swap(all.len(), Ordering::Relaxed);
        let log = all.get(seen..).unwrap_or_default().to_vec();
        let (outcome, effects) = match verdict {
            Ok(Verdict::Done(effects)) => (TrialOutcome::Done, effects),
            Ok(Verdict::Retry { after, why }) => (TrialOutcome::Retry { after, why }, Effects::default()),
            Ok(Verdict::Reject(why)) => (TrialOutcome::Reject(why), Effects::default()),
            Err(fault) => (TrialOutcome::Fault(fault), Effects::default()),
        };
        self.settle(effects.state_writes().collect()).await?;
        Ok(TrialReport {
            outcome,
            needs: self.needs(&effects.events),
            published: effects.events,
            state: self.state().await?,
            log,
            took,
        })
    }

    /// What the bot has to be granted besides to be loaded, and to publish these events.
    fn needs(&self, events: &[OutgoingEvent]) -> Option<Lacking> {
        let mut grants = self.lacks.clone();
        for event in events {
            let allowed = self.outlets.check(&event.topic, &event.event_type, &event.data);
            let needed = MissingGrant::PublishType {
                topic: event.topic.clone(),
                event_type: event.event_type.clone(),
            };
            if allowed.is_err() && !grants.contains(&needed) {
                grants.push(needed);
            }
        }
        let bots_own = self.bots_own.clone();
        (!grants.is_empty()).then_some(Lacking { grants, bots_own })
    }

    /// All that the bot logged so far.
    fn log(&self) -> Result<Vec<LogLine>, TrialError> {
        self.services.logs.newest(Some(&self.name), usize::MAX).map_err(world)
    }

    async fn settle(&self, writes: Vec<StateWrite>) -> Result<(), TrialError> {
        let settlement = Settlement {
            bot: self.name.clone(),
            writes,
            ..Settlement::default()
        };
        self.services.ledger.settle(settlement).await?;
        Ok(())
    }

    async fn state(&self) -> Result<BTreeMap<String, Vec<u8>>, TrialError> {
        let mut state = BTreeMap::new();
        for key in self.services.ledger.state_keys(&self.name, "").await? {
            if let Some(value) = self.services.ledger.state(&self.name, &key).await? {
                state.insert(key, value);
            }
        }
        Ok(state)
    }
}

fn world(error: impl std::fmt::Display) -> TrialError {
    TrialError::World(error.to_string())
}

/// The capabilities of a host, all of whose memory is in one directory. The user's GnuPG ring is no part of it: what is tried
/// out signs with no key of theirs.
fn services(directory: &Path, tape: Tape, outside: Outside<'_>) -> Result<Services, TrialError> {
    let Outside { mail, network } = outside;
    let builds = Settings {
        network: Arc::clone(&network),
        ..Settings::default()
    };
    let git = GitConfig {
        network: Arc::clone(&network),
        ..GitConfig::default()
    };
    let keys = KeyStore::open(directory.join("keys")).map_err(world)?;
    Ok(Services {
        ledger: Ledger::open(&directory.join("ledger.sqlite"))?,
        artifacts: ArtifactStore::local(&directory.join("artifacts")).map_err(world)?,
        logs: Arc::new(LogHub::new(directory.join("logs"))),
        git: Git::new(directory.join("git"), git).map_err(world)?,
        keys: Arc::new(keys.with_gnupg_home(directory.join("gnupg"))),
        packages_keys: PackagesKeys::default(),
        passphrases: PassphraseSource::none(),
        sites: Sites::new(),
        builder: Builder::new(&directory.join("build"), builds)
            .map_err(HostError::Builds)
            .map_err(world)?,
        ability: Ability::default(),
        http: Http::new(network),
        mail: Mail::new(mail).map_err(world)?,
        tape,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::git::Granted;
    use crate::reach::{Pattern, Permits};

    /// What reading a repository of this machine by its name fails with, where nothing listens.
    async fn refused(network: Network) -> String {
        let directory = tempfile::tempdir().unwrap();
        let outside = Outside {
            network: Arc::new(network),
            ..Outside::default()
        };
        let services = services(directory.path(), Tape::Off, outside).unwrap();
        let pattern: Pattern = "http://*:1/*".parse().unwrap();
        let granted = Granted::check("http://localhost:1/x.git", &Permits::from([pattern].as_slice())).unwrap();
        services.git.refs(&granted).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn git_keeps_to_the_network_settings_that_a_trial_is_given() {
        let said = refused(Network::default()).await;
        assert!(said.contains("private-hosts = [\"localhost\"]"), "{said}");
        let network = Network {
            private_hosts: vec!["localhost".parse().unwrap()],
            ..Network::default()
        };
        let said = refused(network).await;
        assert!(said.contains("cannot read") && !said.contains("private"), "{said}");
    }
}
