//! Which URLs a grant allows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::capability::UrlPattern;

/// A URL in which `*` stands for any text: `https://hooks.example.org/*`. Scheme, host, port and path are compared one
/// by one, so that no text of the path can pass for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpPattern {
    text: String,
    scheme: String,
    host: String,
    port: Option<u16>,
    path: UrlPattern,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Neither scheme.
    #[error("it must begin with https:// or http://")]
    Scheme,
    /// No host.
    #[error("it names no host")]
    Host,
    /// The port.
    #[error("{0:?} is not a port")]
    Port(String),
    /// Names and passwords belong into headers.
    #[error("it must not hold a user's name or password")]
    Credentials,
}

impl FromStr for HttpPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let (scheme, rest) = text.split_once("://").ok_or(BadPattern::Scheme)?;
        if !["http", "https"].contains(&scheme) {
            return Err(BadPattern::Scheme);
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            // A bare host is all of it.
            None => (rest, "/*"),
        };
        if authority.contains('@') {
            return Err(BadPattern::Credentials);
        }
        // The colons of an IPv6 address are within brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let number = port.parse().map_err(|_| BadPattern::Port(port.to_owned()))?;
                (host, Some(number))
            }
            _ => (authority, None),
        };
        if host.is_empty() {
            return Err(BadPattern::Host);
        }
        Ok(Self {
            text: text.to_owned(),
            scheme: scheme.to_owned(),
            host: host.to_ascii_lowercase(),
            port,
            path: UrlPattern::new(path),
        })
    }
}

impl HttpPattern {
    /// Whether it allows a URL.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        let default = if self.scheme == "https" { 443 } else { 80 };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        url.scheme() == self.scheme
            && url
                .host_str()
                .is_some_and(|host| UrlPattern::new(self.host.as_str()).matches(host))
            && url.port_or_known_default() == Some(self.port.unwrap_or(default))
            && self.path.matches(&target)
    }

    /// Whether it names a private address outright: the only way to one. A name could lead anywhere, today or tomorrow.
    #[must_use]
    pub fn is_private_on_purpose(&self) -> bool {
        self.host == "localhost" || matches!(Host::parse(&self.host), Ok(Host::Ipv4(_) | Host::Ipv6(_)))
    }
}

impl fmt::Display for HttpPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for HttpPattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        text.parse()
    }
}

impl From<HttpPattern> for String {
    fn from(pattern: HttpPattern) -> Self {
        pattern.text
    }
}
