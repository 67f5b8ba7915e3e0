//! What a host is started with.

use std::path::PathBuf;
use std::time::Duration;

use foundry_broker::Backlog;

use crate::bus::BrokerAddress;
use crate::capability::build;
use crate::capability::mail::MailSettings;
use crate::keys::{Fingerprint, PassphraseSource};
use crate::ledger::OutboxLimits;
use crate::objects::Location;
use crate::reach::Network;
use crate::retention::Limits;

/// The topics of the stock bots, in the order of the pipeline.
pub const PIPELINE: [&str; 4] = ["commits", "builds", "signs", "dists"];

/// Time that a message of a bot from a file may take at most, unless its operator gives it more.
pub const LONGEST_MESSAGE: Duration = Duration::from_secs(600);

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
    /// What the embedded broker keeps for groups that are created later; topics without prefix.
    pub backlog: Backlog,
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
            backlog: Backlog {
                topics: PIPELINE.map(ToOwned::to_owned).into(),
                ..Backlog::default()
            },
            expect: Vec::new(),
        }
    }
}

/// What a host is started with.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The host's name, unique on its broker.
    pub name: String,
    /// Whether the operator chose the name. Otherwise it is for the first start: the name that the state directory was used
    /// with before takes precedence.
    pub name_is_chosen: bool,
    /// Whether to take the name over at once from a host that seems to be online and does not answer.
    pub take_over: bool,
    /// Directory of everything that it keeps.
    pub state: PathBuf,
    /// The broker.
    pub broker: BrokerChoice,
    /// Messages.
    pub messages: MessagesConfig,
    /// Where passphrases of keys come from.
    pub passphrases: PassphraseSource,
    /// The GnuPG ring whose keys bots may be granted besides the store's; none for that of the environment.
    pub gnupg_home: Option<PathBuf>,
    /// Where artifacts are kept; none for the state directory.
    pub artifacts: Option<Location>,
    /// How packages are built.
    pub builds: build::Settings,
    /// How mail is sent; none for not at all.
    pub mail: Option<MailSettings>,
    /// How much is kept, and for how long.
    pub retention: Limits,
    /// Exceptions for what bots reach over the network.
    pub network: Network,
    /// How long messages in hand may take to be finished when a bot is stopped.
    pub drain: Duration,
    /// Time that a bot from a file may have for a message when it asks for it; its operator can give it more.
    pub longest_message: Duration,
    /// Whether every bot from a file has to be signed.
    pub require_signed_bots: bool,
    /// Topics, besides the stock ones, whose events `runs` shows.
    pub observe: Vec<String>,
}

/// The directory of the embedded broker, if there is one.
pub(super) fn broker_directory(config: &HostConfig) -> Option<PathBuf> {
    match &config.broker {
        BrokerChoice::Embedded(settings) => Some(settings.data_dir.clone()),
        BrokerChoice::External(_) => None,
    }
}
