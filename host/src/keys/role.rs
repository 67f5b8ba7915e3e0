//! What a key is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a key is for. Keys of different roles should differ, so that a thief of one can't do the work of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs the events that hosts send to each other; public keys with this role belong to other hosts.
    Messages,
    /// Signs packages: signbot's.
    Packages,
    /// Signs the metadata of an APT repository: distbot's.
    Repository,
    /// Signs git commits. Public keys only: those of the committers whose commits buildbot accepts.
    Commits,
    /// Signs bots; public keys with this role belong to those whose bots may be loaded.
    Bots,
}

impl Role {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Messages,
        Self::Packages,
        Self::Repository,
        Self::Commits,
        Self::Bots,
    ];

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Packages => "packages",
            Self::Repository => "repository",
            Self::Commits => "commits",
            Self::Bots => "bots",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a role.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a role: expected messages, packages, repository, commits or bots")]
pub struct NotARole {
    /// What was given.
    pub text: String,
}

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| NotARole { text: text.to_owned() })
    }
}
