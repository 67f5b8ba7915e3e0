//! Why a commit was not fetched or checked out, and what that says of the cache.

use serde::{Deserialize, Serialize};

use super::error::GitError;

/// Why a commit was not fetched.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    /// Another attempt with another cache would end the same way.
    Git(GitError),
    /// The cache may be damaged; what libgit2 says.
    Cache(String),
    /// What was fetched costs too much to be read, now and with each fetch that begins where it is: it must not be kept.
    Costly(GitError),
    /// There was not as much memory as libgit2 asked for.
    Memory,
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        // Some of libgit2's functions say what they could not do, and the system's word at the end.
        let said = error.message();
        let no_memory = error.class() == git2::ErrorClass::NoMemory
            || ["Out of memory", "Cannot allocate memory"]
                .iter()
                .any(|words| said.contains(words));
        match no_memory {
            true => Self::Memory,
            false => Self::Cache(said.to_owned()),
        }
    }
}
