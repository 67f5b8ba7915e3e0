//! Where a repository is: a checked URL or path, whose credentials never print.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::reach::{Host, Pattern, Scheme, Server, Target};

/// Port of git's own protocol.
const DAEMON_PORT: u16 = 9418;

/// A repository's location. It displays without its password, so that it can go into logs, errors and events.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Local(PathBuf),
    /// An HTTP(S) server, smart or dumb.
    Http(HttpLocation),
    /// A path on a server that is reached by ssh.
    Ssh(SshLocation),
    /// A path on a `git daemon`.
    Daemon {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Path on the server.
        path: String,
    },
}

/// A repository on an HTTP(S) server.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpLocation {
    /// Without user and password, and without a slash at its end.
    pub(super) url: Url,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// A repository on a server that is reached by ssh.
#[derive(Clone, PartialEq, Eq)]
pub struct SshLocation {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// As the server's shell gets it, before quoting.
    pub(super) path: String,
}

impl Location {
    /// Whether the URL holds a password, which has no place in an event.
    #[must_use]
    pub fn has_password(&self) -> bool {
        matches!(self, Self::Http(http) if http.password.is_some())
    }

    /// The server that has it; none for this machine.
    pub(super) fn server(&self) -> Option<String> {
        match self {
            Self::Local(_) => None,
            Self::Http(HttpLocation { url, .. }) => Some(url.origin().ascii_serialization()),
            Self::Ssh(SshLocation { host, port, .. }) => Some(format!("ssh://{host}:{}", port.unwrap_or(22))),
            Self::Daemon { host, port, .. } => Some(format!("git://{host}:{port}")),
        }
    }

    /// What grants are compared with. A repository's path has no slash at its end.
    pub(super) fn target(&self) -> Target {
        let remote =
            |scheme: Scheme, host: &str, port: Option<u16>, account: Option<&String>, path: &str| Target::Remote {
                server: Server {
                    scheme,
                    host: Host::parse(host),
                    port: port.unwrap_or_else(|| scheme.port()),
                },
                account: account.cloned(),
                path: path.to_owned(),
            };
        match self {
            Self::Local(path) => Target::Local(path.to_string_lossy().into_owned()),
            Self::Http(HttpLocation { url, .. }) => Target::of(url).unwrap_or_else(|| Target::Local(url.to_string())),
            Self::Ssh(SshLocation { user, host, port, path }) => remote(Scheme::Ssh, host, *port, user.as_ref(), path),
            Self::Daemon { host, port, path } => remote(Scheme::Git, host, Some(*port), None, path),
        }
    }

    /// The grant of this repository alone.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        Pattern::exactly(self.target(), self.as_granted())
    }

    /// How a grant names it: as it displays, but for paths below a home of ssh, which no URL can name.
    pub(super) fn as_granted(&self) -> String {
        match self {
            Self::Ssh(SshLocation {
                user,
                host,
                port: None,
                path,
            }) if !path.starts_with(['/', '~']) => {
                let account = user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
                format!("{account}{host}:{path}")
            }
            _ => self.to_string(),
        }
    }

    /// The directory, if it is on this machine.
    pub(super) fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Http(HttpLocation { url, .. }) => write!(f, "{url}"),
            Self::Ssh(SshLocation { user, host, port, path }) => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                match host.contains(':') {
                    true => write!(f, "[{host}]")?,
                    false => f.write_str(host)?,
                }
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                let slash = if path.starts_with('/') { "" } else { "/" };
                write!(f, "{slash}{path}")
            }
            Self::Daemon { host, port, path } => match (host.contains(':'), *port) {
                (false, DAEMON_PORT) => write!(f, "git://{host}{path}"),
                (false, port) => write!(f, "git://{host}:{port}{path}"),
                (true, port) => write!(f, "git://[{host}]:{port}{path}"),
            },
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

impl fmt::Debug for HttpLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpLocation({})", self.url)
    }
}

impl fmt::Debug for SshLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshLocation({}:{})", self.host, self.path)
    }
}
