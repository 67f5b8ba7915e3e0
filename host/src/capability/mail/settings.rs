//! What the operator says of mail.

use std::fmt;
use std::path::{Path, PathBuf};

use lettre::message::Mailbox;

use super::server::MailServer;
use crate::secret_file::{self, SecretFileError};

/// How a host sends mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSettings {
    /// The server that takes it.
    pub server: MailServer,
    /// Whom it is from.
    pub from: Mailbox,
    /// Who the host is to the server, if the server wants to know.
    pub login: Option<Login>,
    /// Certificates of the authorities to believe about the server, in PEM form; none for those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// Mails that each bot may send in an hour.
    pub hourly: u32,
}

/// A user of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password.
    pub password: Password,
}

/// A password, which is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub(super) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Password {
    /// A password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// The first line of a file that nobody but its owner can read.
    ///
    /// # Errors
    /// [`SecretFileError`], without anything of the content.
    pub fn read(path: &Path) -> Result<Self, SecretFileError> {
        secret_file::first_line(path).map(Self)
    }
}

/// Why a host can't send mail.
#[derive(Debug, thiserror::Error)]
pub enum MailSetupError {
    /// A file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// TLS can't be set up.
    #[error("cannot set up TLS for {host}: {why}")]
    Tls {
        /// The server.
        host: String,
        /// What is wrong.
        why: String,
    },
}
