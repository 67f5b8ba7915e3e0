//! What a sweep of one kind of things came to.

use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Kinds of things that are kept for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Runs, with their events.
    Runs,
    /// Logs of runs.
    RunLogs,
    /// Logs of bots outside of runs.
    BotLogs,
    /// The log of a host in the background.
    HostLog,
    /// The states of bots.
    BotState,
    /// Artifacts.
    Artifacts,
    /// Repositories that were fetched.
    GitCaches,
    /// Build layers, roots, and copies of the machine's data.
    BuildRoots,
    /// Packages that were fetched for builds.
    BuildPackages,
    /// Compiled bots.
    Compiled,
}

impl Kind {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::RunLogs => "run logs",
            Self::BotLogs => "bot logs",
            Self::HostLog => "host log",
            Self::BotState => "bot state",
            Self::Artifacts => "artifacts",
            Self::GitCaches => "git caches",
            Self::BuildRoots => "build roots",
            Self::BuildPackages => "build packages",
            Self::Compiled => "compiled bots",
        }
    }
}

/// A number of things, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Tally {
    /// One more.
    pub fn add(&mut self, bytes: u64) {
        *self += Self { count: 1, bytes };
    }

    /// One less.
    pub fn take(&mut self, bytes: u64) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

/// How much of a kind is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bound {
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Seconds since it was of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

impl Bound {
    /// By size.
    #[must_use]
    pub fn size(bytes: u64) -> Self {
        Self {
            bytes: Some(bytes),
            seconds: None,
        }
    }

    /// By age.
    #[must_use]
    pub fn age(age: Duration) -> Self {
        Self {
            bytes: None,
            seconds: Some(age.as_secs()),
        }
    }

    /// By both.
    #[must_use]
    pub fn both(bytes: u64, age: Duration) -> Self {
        Self {
            bytes: Some(bytes),
            seconds: Some(age.as_secs()),
        }
    }
}

/// What a sweep of one kind came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// What.
    pub kind: Kind,
    /// What is left, or would be.
    pub kept: Tally,
    /// What was removed, or would be.
    pub removed: Tally,
    /// What of the rest is needed, and stays whatever the bound is.
    pub needed: Tally,
    /// How much is kept.
    pub bound: Bound,
    /// Why not all went that should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Report {
    /// Of a kind of which nothing was seen yet.
    #[must_use]
    pub fn new(kind: Kind, bound: Bound) -> Self {
        Self {
            kind,
            kept: Tally::default(),
            removed: Tally::default(),
            needed: Tally::default(),
            bound,
            trouble: None,
        }
    }

    /// Note what went wrong; the first is told.
    pub fn note(&mut self, error: &impl std::fmt::Display) {
        self.trouble.get_or_insert_with(|| error.to_string());
    }

    /// Whether there is more than the bound has room for, and not because it is needed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let most = self.bound.bytes.unwrap_or(u64::MAX);
        self.kept.bytes > most.max(self.needed.bytes)
    }
}
