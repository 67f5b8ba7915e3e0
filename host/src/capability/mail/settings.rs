//! What the operator says of mail.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lettre::message::Mailbox;

use super::server::MailServer;

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
    /// [`MailSetupError`], without anything of the content.
    pub fn read(path: &Path) -> Result<Self, MailSetupError> {
        let unreadable = |source| MailSetupError::Read {
            path: path.to_owned(),
            source,
        };
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(MailSetupError::Permissions {
                path: path.to_owned(),
                mode,
            });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self::new(text.lines().next().unwrap_or_default()))
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
    /// Others can read it.
    #[error("{} can be read by others, its mode is {mode:03o} (make it its owner's alone: chmod 600 FILE)", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
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
