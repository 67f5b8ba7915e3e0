//! How a host starts: keys, ledger, broker and capabilities are opened, and what runs beside the bots begins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use foundry_broker::Broker;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::admission::is_bot_name;
use super::chores::forward_logs;
use super::error::HostError;
use super::holding;
use super::host::{Host, Inner};
use super::housekeeping::{DiskWatch, Expected, Housekeeping, Keeper};
use super::identity::{Identity, LEDGER};
use super::inspector::Inspector;
use super::message::Link;
use super::read_again::Files;
use super::reconsider::reconsider_refused;
use super::registry::Registry;
use super::settings::{BrokerChoice, HostConfig, PIPELINE, broker_directory};
use super::state_directory;
use crate::ability::Ability;
use crate::bus::{
    BrokerAddress, Concerns, ConnectionOptions, Herald, Holder, Inquiry, KEEP_ALIVE, Observer, Patience, Peers,
    Publisher, Subject, TakeOvers, client_id_of_part,
};
use crate::capability::build::{self, Builder};
use crate::capability::git::{Git, GitConfig};
use crate::capability::http::Http;
use crate::capability::mail::Mail;
use crate::capability::site::Sites;
use crate::capability::tape::Tape;
use crate::capability::{ArtifactStore, LogHub, PackagesKeys, Services};
use crate::event::{COMMITS, FAILURES, Topics, Verifier};
use crate::keys::{Algorithm, KeyError, KeyInfo, KeyStore, NewKey, Role, Signer, Trust};
use crate::ledger::Ledger;
use crate::tls::ReadTls;

/// How long an event is kept for subscribers that may come back: Mosquitto forgets shared subscriptions when it restarts.
const READERS_PATIENCE: Duration = Duration::from_secs(60);

/// How long the start waits for the embedded broker to bring what goes by: a moment, however busy the machine is.
const OBSERVED_WITHIN: Duration = Duration::from_secs(10);

impl Host {
    /// Start a host without any bot.
    ///
    /// # Errors
    /// [`HostError`], which names what it could not use.
    pub async fn start(config: HostConfig) -> Result<Self, HostError> {
        if !is_bot_name(&config.name) {
            return Err(HostError::BadName(config.name));
        }
        let lock = state_directory::lock(&config.state)?;
        let identity = Identity::of(&config.state, &config.name, config.name_is_chosen)?;
        let own = Holder::starting(&identity.name, &identity.identity);
        let config = HostConfig {
            name: identity.name,
            ..config
        };
        let keys = KeyStore::open(config.state.join("keys"))?;
        let keys = Arc::new(match &config.gnupg_home {
            Some(home) => keys.with_gnupg_home(home.clone()),
            None => keys,
        });
        let (signer, trust) = message_keys(&keys, &config)?;
        let inspector = Inspector::new(config.state.join("compiled"))?;
        let ledger = Ledger::open(&config.state.join(LEDGER))?;
        ledger.limit_outbox(config.messages.outbox);
        let (broker, address) = open_broker(&config).await?;
        let tls = address.tls.as_ref().map(ReadTls::of).transpose()?;
        let ability = Ability::default();
        let services = Arc::new(open_services(&config, &ledger, &keys, &ability, Purpose::Work)?);
        let cancel = CancellationToken::new();
        let topics = Topics::new(&config.messages.prefix);
        let verifier = Arc::new(Verifier {
            host: config.name.clone(),
            own_key: signer.fingerprint(),
            trust,
            topics: topics.clone(),
            max_age: config.messages.max_age,
            announced_on: announced_on(&config.observe),
            upgraded: ledger.upgraded(),
        });
        if let Some(broker) = &broker {
            for (topic, endpoint) in &config.messages.expect {
                // If there are too many, the broker says so, and the group's members are told when they come.
                broker.operator().create_group(&topics.shared(endpoint, topic)).await;
            }
        }
        let connection = ConnectionOptions {
            broker: address,
            client_id: client_id_of_part(&config.name, "host"),
            persistent: true,
            receive_maximum: 1,
            tls,
            keep_alive: Duration::from_secs(20),
            concerns: Concerns::of(&ability),
            take_overs: TakeOvers::default(),
        };
        let files = Files {
            broker: broker.as_ref().map(Broker::operator),
            client: connection.tls.clone(),
        };
        tokio::spawn(files.clone().watch(cancel.clone()));
        let (lost_sender, lost) = watch::channel(None);
        // Who has the broker inside comes before all others on it.
        if broker.is_none() {
            let inquiry = Inquiry {
                own: own.clone(),
                connection: connection.clone(),
                signer: Arc::clone(&signer),
                verifier: Arc::clone(&verifier),
            };
            holding::arrive(&inquiry, config.take_over, &config.state).await?;
            tokio::spawn(holding::defend(inquiry, lost_sender, cancel.clone()));
        }
        // Each part of the host has a connection of its own, so that none waits for another.
        let connection_of = |part: &str| ConnectionOptions {
            client_id: client_id_of_part(&config.name, part),
            ..connection.clone()
        };
        let patience = match broker {
            Some(_) => Patience::NONE,
            None => {
                connection.concerns.watch(connection_of("onlooker"), cancel.clone());
                let clock = connection.concerns.clock();
                tokio::spawn(clock.watch(connection_of("clock"), cancel.clone()));
                Patience {
                    readers: READERS_PATIENCE,
                    disk: config.messages.keep,
                }
            }
        };
        let now = seconds_now();
        let began = ledger.begin_start(now, now).await?;
        let herald = Herald::new(own.clone(), topics.clone(), Arc::clone(&signer), began);
        let options = ConnectionOptions {
            // The outbox is the session: what was unacknowledged is sent again from there.
            persistent: false,
            keep_alive: KEEP_ALIVE,
            ..connection_of("publisher")
        };
        let itself = Some(herald.card(Subject::Host));
        let publisher = Publisher::start(options, itself, patience, ledger.clone(), cancel.clone()).0;
        tokio::spawn(herald.clone().defend(publisher.clone(), cancel.clone()));
        // Named after this start: a copy of this host must not take the session from it over which the two hear of each other.
        // Nothing is kept for it once it ends.
        let peers = Peers::start(
            connection_of(&format!("peers-{:x}", own.start)),
            own,
            herald.clone(),
            Arc::clone(&verifier),
            Arc::clone(&signer),
            ledger.clone(),
            publisher.clone(),
            config.messages.peer_patience,
            cancel.clone(),
        );
        let observer = Observer::start(
            connection_of("observer"),
            &observed(&config.observe),
            Arc::clone(&verifier),
            (herald.clone(), peers.doubts()),
            ledger.clone(),
            cancel.clone(),
        );
        // A broker elsewhere may be away; this one is here, and a client that finds the host started finds that it records.
        if broker.is_some() && tokio::time::timeout(OBSERVED_WITHIN, observer.watches()).await.is_err() {
            tracing::warn!("the own broker does not bring what goes by yet: `runs` may lack what happens now");
        }
        tokio::spawn(forward_logs(
            services.logs.listen(),
            publisher.clone(),
            (topics.clone(), config.name.clone()),
            cancel.clone(),
        ));
        let keeper = keeper(&config, &services, &ability);
        tokio::spawn(Arc::clone(&keeper).keep_house(cancel.clone()));
        tokio::spawn(reconsider_refused(
            ledger.clone(),
            Arc::clone(&verifier),
            Arc::clone(&services.keys),
            cancel.clone(),
        ));
        let link = Arc::new(Link {
            host: config.name,
            topics,
            signer,
            verifier,
            ledger,
            peers,
            herald,
            ability,
        });
        let host = Self {
            inner: Arc::new(Inner {
                inspector,
                services,
                link,
                connection,
                publisher,
                observer,
                bots: keeper.bots.clone(),
                keeper,
                has_old_sessions: identity.has_old_sessions && broker.is_none(),
                broker: Mutex::new(broker),
                files,
                drain: config.drain,
                longest_message: config.longest_message,
                require_signed_bots: config.require_signed_bots,
                stopping: CancellationToken::new(),
                cancel,
                lost,
                _lock: lock,
            }),
        };
        host.count_jobs();
        Ok(host)
    }
}

/// The host's housekeeping, with the table of its bots.
fn keeper(config: &HostConfig, services: &Arc<Services>, ability: &Ability) -> Arc<Keeper> {
    let housekeeping = Housekeeping::new(
        config.state.clone(),
        broker_directory(config),
        Arc::clone(services),
        config.retention.clone(),
        config.messages.max_age,
    );
    let disk = DiskWatch::new(ability.clone());
    // Before any bot takes work.
    disk.look(&config.state, &config.retention);
    Arc::new(Keeper {
        housekeeping: Arc::new(housekeeping),
        disk,
        expected: Expected::default(),
        bots: Registry::default(),
        state: config.state.clone(),
    })
}

/// The embedded broker, if it is wanted, and where messages go.
async fn open_broker(config: &HostConfig) -> Result<(Option<Broker>, BrokerAddress), HostError> {
    match config.broker.clone() {
        BrokerChoice::Embedded(settings) => {
            let topics = Topics::new(&config.messages.prefix);
            let mut backlog = config.messages.backlog.clone();
            backlog.topics.iter_mut().for_each(|topic| *topic = topics.full(topic));
            let mut settings = foundry_broker::Config { backlog, ..settings };
            topics.prefix().clone_into(&mut settings.access.prefix);
            let broker = Broker::start(settings).await?;
            let owner = broker.owner();
            let address = BrokerAddress {
                login: Some((owner.user().to_owned(), owner.password().to_owned())),
                ..BrokerAddress::local(broker.address())
            };
            Ok((Some(broker), address))
        }
        BrokerChoice::External(address) => Ok((None, address)),
    }
}

/// What services are opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Bots use them. What killed processes have left of their work is removed first.
    Work,
    /// Somebody wants to know what there is, and nothing changes.
    Look,
}

/// What the host can do for bots.
pub(super) fn open_services(
    config: &HostConfig,
    ledger: &Ledger,
    keys: &Arc<KeyStore>,
    ability: &Ability,
    purpose: Purpose,
) -> Result<Services, HostError> {
    let state = &config.state;
    let network = Arc::new(config.network.clone());
    let builds = build::Settings {
        network: Arc::clone(&network),
        ..config.builds.clone()
    };
    let git = GitConfig {
        network: Arc::clone(&network),
        looks_only: purpose == Purpose::Look,
        ..GitConfig::default()
    };
    Ok(Services {
        ledger: ledger.clone(),
        artifacts: match &config.artifacts {
            Some(location) => ArtifactStore::open(location)?,
            None => ArtifactStore::local(&state.join("artifacts"))?,
        },
        logs: Arc::new(LogHub::new(state.join("logs")).with_most_of_bot(config.retention.log_file)),
        git: Git::new(state.join("git"), git).map_err(|source| HostError::StateDirectory {
            path: state.join("git"),
            source,
        })?,
        keys: Arc::clone(keys),
        packages_keys: PackagesKeys::default(),
        passphrases: config.passphrases.clone(),
        sites: Sites::new(),
        builder: match purpose {
            Purpose::Work => Builder::new(&state.join("build"), builds)?,
            Purpose::Look => Builder::looking(&state.join("build"), builds)?,
        },
        ability: ability.clone(),
        http: Http::new(network),
        mail: Mail::new(config.mail.as_ref())?,
        tape: Tape::Off,
    })
}

/// The topics whose events `runs` shows: those of the stock bots, failures, and those that the operator names, each once.
fn observed(others: &[String]) -> Vec<String> {
    let mut topics: Vec<String> = PIPELINE.into_iter().chain([FAILURES]).map(ToOwned::to_owned).collect();
    topics.extend_from_slice(others);
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// Where commits are announced, and those topics that the operator names besides: which of them are for commits, nobody says.
fn announced_on(others: &[String]) -> Vec<String> {
    [COMMITS.to_owned()].into_iter().chain(others.iter().cloned()).collect()
}

/// The key that signs this host's messages, and those whose messages it handles.
fn message_keys(keys: &KeyStore, config: &HostConfig) -> Result<(Arc<Signer>, Arc<Trust>), KeyError> {
    let query = match &config.messages.key {
        Some(query) => query.clone(),
        None => {
            let known = keys.list()?;
            let is_ours = |key: &&KeyInfo| key.host.as_ref().is_none_or(|host| *host == config.name);
            let own = known
                .iter()
                .filter(|key| key.has_secret && key.roles.contains(&Role::Messages))
                .find(is_ours);
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
    for key in keys.list()?.iter().filter(|key| key.is_unbound()) {
        tracing::warn!(
            %key,
            "a messages key is bound to no host, and believed in nothing (run `foundry-host key allow {} --host NAME --may DUTY`, \
             or `foundry-host key remove {}`)",
            key.fingerprint, key.fingerprint
        );
    }
    Ok((signer, Arc::new(trust)))
}

fn seconds_now() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default()
}
