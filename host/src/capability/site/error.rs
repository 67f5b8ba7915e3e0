//! Why a site could not be changed.

use std::io;
use std::path::{Path, PathBuf};

use crate::package::PackageError;

/// Why a site could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A path that could lead out of the site, or into the host's own records.
    #[error("{0:?} is not a path inside of the site")]
    BadPath(String),
    /// A file that never changes is there already, with other bytes.
    #[error("{path} is there already with other bytes: it has SHA-256 {existing}, the new one has {new}")]
    Conflict {
        /// The file.
        path: String,
        /// SHA-256 of the file in the site.
        existing: String,
        /// SHA-256 of the file that was to be added.
        new: String,
    },
    /// A file that was to be added has other bytes than were promised.
    #[error("{file} is damaged: it has SHA-256 {found}, and {promised} was promised")]
    NotAsPromised {
        /// The file.
        file: PathBuf,
        /// Its SHA-256.
        found: String,
        /// What it should be.
        promised: String,
    },
    /// What should be a Debian package can't be read as one.
    #[error("cannot list the files of {path}: {source}")]
    NotAPackage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or what keeps it from being read now.
        source: PackageError,
    },
    /// The directory holds something else than an APT repository.
    #[error("{directory} is not empty and holds no APT repository: it has {entry}")]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// An entry that no APT repository has.
        entry: String,
    },
    /// The commit names a file that the transaction does not write.
    #[error("the transaction was to end with {0}, which it does not write")]
    NotWritten(String),
    /// Pieces of a text are replaced that it doesn't have, or not in their order.
    #[error("the pieces to replace are not pieces of the text in their order")]
    BadSplice,
    /// The transaction has been committed already.
    #[error("the transaction has been committed already")]
    Over,
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A record of the host in the site is damaged.
    #[error("cannot read {path}: {why}")]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The copy of the site can't be made, or can't be made to follow.
    #[error("cannot bring {url} up to date: {why}")]
    Mirror {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The site has a copy that is to follow, and this thread can't wait for the network.
    #[error("cannot bring {url} up to date: a thread outside of the program's runtime was to do it")]
    NoRuntime {
        /// Where it is.
        url: String,
    },
    /// Work on the site was cut off, because the host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

impl SiteError {
    /// Whether it is the package that can't be read, which will be the same the next time.
    pub(crate) fn is_by_package(&self) -> bool {
        matches!(self, Self::NotAPackage { source, .. } if source.is_by_package())
    }

    /// For `map_err`: what was tried on which path.
    pub(super) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }
}
