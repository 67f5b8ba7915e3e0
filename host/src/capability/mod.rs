//! What bots can do: one module per WIT interface, with its grant, its host side and its tests.

mod artifacts;
mod clock;
mod config;
mod grants;
mod log;
mod publish;
mod signing;
mod state;

pub mod build;
pub mod git;
pub mod http;
pub mod site;
pub mod tape;

pub use artifacts::{Artifact, ArtifactError, ArtifactStore};
pub use grants::{Grants, UrlPattern};
pub use http::HttpPattern;
pub use log::{Level, LogHub, LogLine};
pub(crate) use publish::derive_id;

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use crate::keys::{KeyStore, PassphraseSource};
use crate::ledger::Ledger;
use crate::runtime::{Invocation, wit};

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
    /// Where passphrases of keys come from.
    pub passphrases: PassphraseSource,
    /// Directories that are published.
    pub sites: site::Sites,
    /// What builds packages.
    pub builder: build::Builder,
    /// What makes HTTP requests.
    pub http: http::Http,
    /// Where the answers of git, builds and HTTP come from.
    pub tape: tape::Tape,
}

/// An interface of the contract that a bot may import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl Interface {
    /// All of them, as the documentation lists them.
    pub const ALL: [Self; 11] = [
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
        Self::from_name(import.strip_prefix("foundry:bot/")?.split_once('@')?.0)
    }

    /// Whether every bot has it, without a grant.
    #[must_use]
    pub fn is_for_all(self) -> bool {
        matches!(
            self,
            Self::Log | Self::State | Self::Config | Self::Publish | Self::Clock
        )
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
            Self::Site => wit::site::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Build => wit::build::add_to_linker::<_, Data>(linker, |invocation| invocation),
            Self::Signing => wit::signing::add_to_linker::<_, Data>(linker, |invocation| invocation),
        }
    }
}

impl wit::types::Host for Invocation {}
