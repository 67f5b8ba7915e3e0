//! What bots can do: one module per WIT interface, with its grant, its host side and its tests.

mod artifacts;
mod clock;
mod config;
mod grants;
mod log;
mod missing;
mod packages_keys;
mod publish;
mod signing;
mod state;

pub mod build;
pub mod git;
pub mod http;
pub mod mail;
pub mod site;
pub mod tape;
pub mod topic_grants;

pub use artifacts::{Artifact, ArtifactError, ArtifactStore};
pub use grants::Grants;
pub use log::{Level, LogHub, LogLine};
pub use mail::MailPattern;
pub use missing::{Lacking, MissingGrant, shell_word};
pub use packages_keys::PackagesKeys;
pub use topic_grants::{PublishGrant, ReadGrant};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use wasmtime::component::{HasSelf, Linker};

use crate::ability::Ability;
use crate::keys::{KeyStore, PassphraseSource};
use crate::ledger::Ledger;
use crate::runtime::{ContractImport, Invocation, wit};

/// What the capabilities of one host work with. Each field belongs to the capability of its name.
pub struct Services {
    /// The host's durable memory.
    pub ledger: Ledger,
    /// Artifacts' bytes.
    pub artifacts: ArtifactStore,
    /// Where log lines go.
    pub logs: Arc<LogHub>,
    /// Repositories.
    pub git: git::Git,
    /// The host's keys.
    pub keys: Arc<KeyStore>,
    /// Keys of the user's GnuPG ring that count for packages.
    pub packages_keys: PackagesKeys,
    /// Where passphrases of keys come from.
    pub passphrases: PassphraseSource,
    /// Directories that are published.
    pub sites: site::Sites,
    /// What builds packages.
    pub builder: build::Builder,
    /// What keeps bots from work on this machine.
    pub ability: Ability,
    /// What makes HTTP requests.
    pub http: http::Http,
    /// What sends mail.
    pub mail: mail::Mail,
    /// Where the answers of git, builds, HTTP and mail come from.
    pub tape: tape::Tape,
}

impl Services {
    /// Note the keys of a stock bot, if it is signbot.
    pub(crate) fn note_signer(&self, stock: Option<&str>, keys: &[String]) {
        if stock == Some("signbot") {
            self.packages_keys.grant(keys);
        }
    }
}

/// Not the name of a right that a bot can be loaded without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a right that a bot can be loaded without")]
pub struct BadRight;

impl std::str::FromStr for Interface {
    type Err = BadRight;

    fn from_str(text: &str) -> Result<Self, BadRight> {
        Self::from_name(text)
            .filter(|interface| interface.can_be_without())
            .ok_or(BadRight)
    }
}

/// An interface of the contract that a bot may import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// Its log.
    Log,
    /// Its state.
    State,
    /// Its options.
    Config,
    /// Publishing to its topics.
    Publish,
    /// The host's clock.
    Clock,
    /// The artifact store.
    Artifacts,
    /// Git repositories.
    Git,
    /// Package builds.
    Build,
    /// OpenPGP signatures.
    Signing,
    /// Published directories.
    Site,
    /// HTTP requests.
    Http,
    /// E-mail.
    Mail,
}

impl Interface {
    /// All of them, as the documentation lists them.
    pub const ALL: [Self; 12] = [
        Self::Log,
        Self::State,
        Self::Config,
        Self::Publish,
        Self::Clock,
        Self::Artifacts,
        Self::Git,
        Self::Build,
        Self::Signing,
        Self::Site,
        Self::Http,
        Self::Mail,
    ];

    /// Its name in the WIT package.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::State => "state",
            Self::Config => "config",
            Self::Publish => "publish",
            Self::Clock => "clock",
            Self::Artifacts => "artifacts",
            Self::Git => "git",
            Self::Build => "build",
            Self::Signing => "signing",
            Self::Site => "site",
            Self::Http => "http",
            Self::Mail => "mail",
        }
    }

    /// The interface of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }

    /// The interface that a component's import names: `foundry:bot/git@0.1.0`.
    #[must_use]
    pub fn of_import(import: &str) -> Option<Self> {
        ContractImport::parse(import)?.interface()
    }

    /// Whether every bot has it, without a grant.
    #[must_use]
    pub fn is_for_all(self) -> bool {
        matches!(
            self,
            Self::Log | Self::State | Self::Config | Self::Publish | Self::Clock
        )
    }

    /// Whether it has patterns that narrow each call, so that a bot can have it and yet no right to anything.
    #[must_use]
    pub fn can_be_without(self) -> bool {
        matches!(self, Self::Git | Self::Http | Self::Mail | Self::Signing | Self::Site)
    }

    /// The command line's option that grants it. Those that every bot has need none.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Log | Self::State | Self::Config | Self::Publish | Self::Clock => "nothing",
            Self::Artifacts => "--allow-artifacts",
            Self::Git => "--allow-git URL",
            Self::Build => "--allow-build",
            Self::Signing => "--allow-sign KEYID",
            Self::Site => "--allow-site DIR",
            Self::Http => "--allow-http URL",
            Self::Mail => "--allow-mail ADDRESS",
        }
    }

    /// Offer it to instances that come from this linker.
    pub(crate) fn link(self, linker: &mut Linker<Invocation>) -> wasmtime::Result<()> {
        type Data = HasSelf<Invocation>;
        match self {
            Self::Log => wit::log::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::State => wit::state::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Config => wit::config::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Publish => wit::publish::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Clock => wit::clock::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Artifacts => wit::artifacts::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Git => wit::git::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Http => wit::http::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Mail => wit::mail::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Site => wit::site::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Build => wit::build::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Signing => wit::signing::add_to_linker::<_, Data>(linker, |invocation| invocation),
        }
    }
}

impl wit::types::Host for Invocation {}
