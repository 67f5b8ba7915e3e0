//! Why a commit's packages were not published.

use foundry_sdk::{artifacts, signing, site};

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
         that was published never changes: build a new version)"
    )]
    Conflict {
        /// Package and version, or the file.
        what: String,
        /// What is published.
        existing: String,
        /// What was to be.
        new: String,
    },
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
            Self::Conflict { .. } => "conflict",
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

impl From<site::Error> for Failure {
    fn from(error: site::Error) -> Self {
        match error {
            site::Error::NotGranted(what) => Self::Repository(format!("may not publish into {what}")),
            site::Error::BadPath(path) => Self::Repository(format!("{path} leads out of the repository")),
            site::Error::Conflict((path, existing, new)) => Self::Conflict {
                what: path,
                existing,
                new,
            },
            site::Error::Foreign(what) => Self::Repository(what),
            site::Error::Unavailable(why) => Self::Later(why),
        }
    }
}

impl From<signing::Error> for Failure {
    fn from(error: signing::Error) -> Self {
        match error {
            signing::Error::NotGranted(key) => Self::Signing(format!("may not sign with {key}")),
            signing::Error::NoKey(why) | signing::Error::BadInput(why) => Self::Signing(why),
            signing::Error::Unavailable(why) => Self::Later(why),
        }
    }
}

impl Failure {
    /// An artifact could not be read.
    #[must_use]
    pub fn artifact(file: &str, error: artifacts::Error) -> Self {
        let why = match error {
            artifacts::Error::NotFound(digest) => format!("no artifact has the digest {digest}"),
            artifacts::Error::Corrupt(digest) => format!("the stored bytes are not those of {digest}"),
            artifacts::Error::BadName(name) => format!("{name:?} is not a file name"),
            artifacts::Error::BadRange => "it is shorter than its event says".to_owned(),
            artifacts::Error::Unavailable(why) => return Self::Later(format!("{file}: {why}")),
        };
        Self::bad_file(file, why)
    }
}
