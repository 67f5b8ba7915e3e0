//! A bot's hold on one commit's tree: the tree itself, or what was recorded of one.

use std::path::Path;

use super::{GitError, Source};
use crate::capability::tape::{Content, Tree};
use crate::runtime::wit::git::Signature;

/// What stands behind the contract's `git.source`.
#[derive(Debug)]
pub enum Checkout {
    /// A tree in a directory, and who signed its commit.
    Live(Source, Signature),
    /// A recorded one.
    Recorded {
        /// The commit's id.
        commit: String,
        /// What was recorded.
        tree: Tree,
    },
}

impl Checkout {
    /// The commit's id.
    #[must_use]
    pub fn commit(&self) -> &str {
        match self {
            Self::Live(source, _) => &source.info().id,
            Self::Recorded { commit, .. } => commit,
        }
    }

    /// The directory of the tree, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Live(source, _) => Some(source.path()),
            Self::Recorded { .. } => None,
        }
    }

    /// A file's bytes; none where there is no such file.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        match self {
            Self::Live(source, _) => source.read(path),
            Self::Recorded { tree, .. } => Ok(tree.files.get(path).map(|Content(bytes)| bytes.clone())),
        }
    }
}
