//! Why git could not do it.

use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::Branch;

/// Why a repository could not be asked or checked out. Locations are shown without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum GitError {
    /// No such repository, or no access to it.
    #[error("cannot read {repository}: {why}")]
    NotFound {
        /// The repository, without credentials.
        repository: String,
        /// What the server or the file system said, and what to do.
        why: String,
    },
    /// The branch or commit isn't in the repository (any more).
    #[error("{repository} has {what}")]
    NoSuchRef {
        /// The repository, without credentials.
        repository: String,
        /// What is missing: `no branch or tag "x"`.
        what: String,
    },
    /// The server did not answer in time.
    #[error("{repository} did not answer within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// The repository, without credentials.
        repository: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The URL, branch, commit or path is malformed or dangerous, or the tree is.
    #[error("{what}: {why}")]
    BadRequest {
        /// What was refused; never a credential.
        what: String,
        /// Why.
        why: String,
    },
    /// Anything else that may pass: the network, the server, the disk.
    #[error("cannot read {repository} now: {why}")]
    Unavailable {
        /// The repository, without credentials.
        repository: String,
        /// What went wrong.
        why: String,
    },
}

impl GitError {
    pub(super) fn not_found(repository: &(impl Display + ?Sized), why: impl Into<String>) -> Self {
        Self::NotFound {
            repository: repository.to_string(),
            why: why.into(),
        }
    }

    pub(super) fn no_such_ref(repository: &(impl Display + ?Sized), what: impl Into<String>) -> Self {
        Self::NoSuchRef {
            repository: repository.to_string(),
            what: what.into(),
        }
    }

    pub(super) fn no_branch(repository: &(impl Display + ?Sized), branch: &Branch) -> Self {
        Self::no_such_ref(
            repository,
            format!("no branch or tag {:?} (any more)", branch.to_string()),
        )
    }

    pub(super) fn timed_out(repository: &(impl Display + ?Sized), limit: Duration) -> Self {
        Self::TimedOut {
            repository: repository.to_string(),
            limit,
        }
    }

    pub(super) fn bad(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::BadRequest {
            what: what.into(),
            why: why.into(),
        }
    }

    pub(super) fn unavailable(repository: &(impl Display + ?Sized), why: impl ToString) -> Self {
        Self::Unavailable {
            repository: repository.to_string(),
            why: why.to_string(),
        }
    }
}
