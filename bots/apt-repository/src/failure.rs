//! Why a commit's packages were not published.

use crate::index::{Conflict, IndexError};

/// Why nothing was published. Either it will never work, or it may later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A file of the build isn't what it says.
    #[error("{file}: {why}")]
    BadFile {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing to publish.
    #[error("there is no package among the artifacts")]
    NoPackages,
    /// A package for machines that the repository doesn't serve.
    #[error("{file} is for {architecture}, and the repository serves {served} (add --arch {architecture} to serve it)")]
    NotServed {
        /// The file.
        file: String,
        /// Its architecture.
        architecture: String,
        /// What the repository serves.
        served: String,
    },
    /// The same version is published already, with other bytes.
    #[error(
        "{what} is published already with other bytes: the published SHA-256 is {existing}, the new one is {new} (a version \
         that was published never changes: commit a new version in debian/changelog, for instance with `dch`, or have \
         buildbot give each commit one of its own with --autobump BRANCH)"
    )]
    Conflict {
        /// Package and version, or the file.
        what: String,
        /// What is published.
        existing: String,
        /// What was to be.
        new: String,
    },
    /// The same version is published already from another commit, and nothing shows that it is the same source.
    #[error(
        "{source_package} {version} is published already from commit {published}, and this build is of commit {new}: without a \
         source package from both, nothing shows that it is the same source (a version that was published never changes: \
         commit a new version in debian/changelog, or have buildbot give each commit one of its own with --autobump BRANCH)"
    )]
    OtherCommit {
        /// Source package.
        source_package: String,
        /// Its version.
        version: String,
        /// The commit that is published.
        published: String,
        /// The build's commit.
        new: String,
    },
    /// Nobody who counts has stated that these packages were signed.
    #[error("{0}")]
    Statement(String),
    /// It has names that others provide; which ones, and what allows it.
    #[error("{0}")]
    Names(String),
    /// The directory can't be published into.
    #[error("{0}")]
    Repository(String),
    /// The metadata can't be signed.
    #[error("{0}")]
    Signing(String),
    /// Something that may work later: a full disk, a store that doesn't answer.
    #[error("{0}")]
    Later(String),
}

impl Failure {
    /// Where in the publication it happened, for the failure event.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match self {
            Self::BadFile { .. } | Self::NoPackages => "packages",
            Self::NotServed { .. } => "architecture",
            Self::Conflict { .. } | Self::OtherCommit { .. } => "conflict",
            Self::Statement(_) => "statement",
            Self::Names(_) => "names",
            Self::Repository(_) => "repository",
            Self::Signing(_) => "signing",
            Self::Later(_) => "host",
        }
    }

    /// A file that isn't what it says.
    pub fn bad_file(file: &str, why: impl ToString) -> Self {
        Self::BadFile {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }
}

impl From<Conflict> for Failure {
    fn from(Conflict { what, existing, new }: Conflict) -> Self {
        Self::Conflict { what, existing, new }
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Self::Repository(error.to_string())
    }
}
