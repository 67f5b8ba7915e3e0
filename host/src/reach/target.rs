//! What a grant is compared with: a server and a path on it, or a path of this machine.

use std::fmt;

use url::Url;

use super::host::Host;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP without TLS.
    Http,
    /// HTTP over TLS.
    Https,
    /// OpenSSH.
    Ssh,
    /// git's own protocol.
    Git,
}

impl Scheme {
    /// The scheme of that name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Http, Self::Https, Self::Ssh, Self::Git]
            .into_iter()
            .find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    /// Its name in URLs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ssh => "ssh",
            Self::Git => "git",
        }
    }

    /// The port that is meant where a URL names none.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Ssh => 22,
            Self::Git => 9418,
        }
    }
}

/// A server. Two URLs whose servers are equal speak to the same one; credentials and connections of one are not for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Where it is.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

impl Server {
    /// The server of an HTTP(S) URL; `None` for URLs of other schemes.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let scheme = Scheme::parse(url.scheme()).filter(|scheme| matches!(scheme, Scheme::Http | Scheme::Https))?;
        Some(Self {
            scheme,
            host: Host::parse(url.host_str()?),
            port: url.port().unwrap_or_else(|| scheme.port()),
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.host)?;
        match self.port == self.scheme.port() {
            true => Ok(()),
            false => write!(f, ":{}", self.port),
        }
    }
}

/// What is asked for, in parts that are compared one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A path of this machine.
    Local(String),
    /// Something on a server.
    Remote {
        /// The server.
        server: Server,
        /// Who asks, where that decides about rights there: the account of ssh. Never a user of HTTP.
        account: Option<String>,
        /// The path, with the query that a URL has. Its dots are resolved.
        path: String,
    },
}

impl Target {
    /// What an HTTP(S) URL asks for; `None` for URLs of other schemes.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Some(Self::Remote {
            server: Server::of(url)?,
            account: None,
            path,
        })
    }

    /// The same, as it is written with a slash at its end.
    #[must_use]
    pub fn with_slash(self) -> Self {
        match self {
            Self::Local(path) => Self::Local(path + "/"),
            Self::Remote { server, account, path } => Self::Remote {
                server,
                account,
                path: path + "/",
            },
        }
    }

    /// Whether a server could read dots out of its path that are hidden from a comparison: `/public/..%2fprivate`.
    pub(super) fn hides_dots(&self) -> bool {
        let (Self::Local(path) | Self::Remote { path, .. }) = self;
        let path = path.split('?').next().unwrap_or_default().to_ascii_lowercase();
        let plain = path
            .replace("%2e", ".")
            .replace("%2f", "/")
            .replace("%5c", "/")
            .replace('\\', "/");
        plain.split('/').any(|segment| segment == "." || segment == "..")
    }
}
