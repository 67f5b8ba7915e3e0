//! What an operator asks for when loading a bot, and what the host answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bus::Counters;
use crate::capability::Grants;

/// Where a bot's component comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BotSource {
    /// One of the bots inside the binary.
    Stock(String),
    /// A component's file.
    File(PathBuf),
}

impl BotSource {
    /// The name of the stock bot that it is; `None` for a file.
    #[must_use]
    pub fn stock(&self) -> Option<&str> {
        match self {
            Self::Stock(name) => Some(name),
            Self::File(_) => None,
        }
    }
}

impl std::fmt::Display for BotSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stock(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A bot to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BotSpec {
    /// The component.
    pub source: BotSource,
    /// Name on this host; by default the component's own, with a number if that is taken.
    #[serde(default)]
    pub name: Option<String>,
    /// Option values by option name.
    #[serde(default)]
    pub options: BTreeMap<String, Vec<String>>,
    /// Rights, beyond those that a stock bot has by its options.
    #[serde(default)]
    pub grants: Grants,
    /// Messages that it may handle at the same time.
    #[serde(default = "one")]
    pub instances: u16,
    /// The component's digest, `sha256:` and hex: another component is not loaded.
    #[serde(default)]
    pub digest: Option<String>,
    /// Load it only if its component is signed by a key with the role `bots`.
    #[serde(default)]
    pub signed: bool,
    /// Memory of an instance, in bytes; none for the host's default.
    #[serde(default)]
    pub memory: Option<usize>,
    /// Time that one message may take; none for what the bot asks for within the host's bounds, or the host's default.
    #[serde(default)]
    pub timeout: Option<Duration>,
}

fn one() -> u16 {
    1
}

impl BotSpec {
    /// A bot with no options and no rights yet.
    #[must_use]
    pub fn new(source: BotSource) -> Self {
        Self {
            source,
            name: None,
            options: BTreeMap::new(),
            grants: Grants::default(),
            instances: 1,
            digest: None,
            signed: false,
            memory: None,
            timeout: None,
        }
    }

    /// Add a value of an option.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<String>) -> Self {
        self.options.entry(name.to_owned()).or_default().push(value.into());
        self
    }

    /// Call it so.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }
}

/// How a bot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Not subscribed yet.
    Starting,
    /// At work, or waiting for it.
    Running,
    /// Takes no work for now, since this host cannot do it; others of its group get it.
    Unable,
    /// Kept from work, since its code failed again and again.
    Quarantined,
}

impl Condition {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Unable => "unable",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A loaded bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BotStatus {
    /// Name on this host.
    pub name: String,
    /// What it is: `buildbot`.
    pub component: String,
    /// Its version.
    pub version: String,
    /// How it is.
    pub condition: Condition,
    /// Why, where there is something to say.
    pub detail: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// Topics that it reads, without prefix.
    pub reads: Vec<String>,
    /// Topics that it publishes to, without prefix.
    pub publishes: Vec<String>,
    /// Messages and ticks that came to an end since it was loaded.
    pub handled: u64,
    /// Messages and ticks whose attempts failed since it was loaded.
    pub failed: u64,
    /// Messages that it has in hand.
    pub in_hand: u64,
    /// What its operator should know: where it does not get what it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Since when it is loaded, RFC 3339.
    pub since: String,
}

impl BotStatus {
    /// What it has done and has in hand.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            handled: self.handled,
            failed: self.failed,
            in_hand: self.in_hand,
        }
    }
}

/// What a loaded bot may do and use: its rights and limits, as they are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InForce {
    /// Name on this host.
    pub bot: String,
    /// Where its component came from.
    pub source: BotSource,
    /// The component's digest.
    pub digest: String,
    /// Fingerprint of the key that signed the component, if one did.
    pub signer: Option<String>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Topics that it reads, without prefix.
    pub reads: Vec<String>,
    /// Topics that it publishes to, without prefix.
    pub publishes: Vec<String>,
    /// Everything else that it may do.
    pub grants: Grants,
    /// Memory of an instance, in bytes.
    pub memory: usize,
    /// Time that one message may take.
    pub timeout: Duration,
    /// Bytes of state that it may keep.
    pub state: u64,
    /// Messages that it may handle at the same time.
    pub instances: u16,
}
