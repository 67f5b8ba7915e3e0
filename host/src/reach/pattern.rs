//! Which servers, and what on them, a grant names.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::glob::Glob;
use super::host::{BadHost, HostPattern};
use super::network::Addresses;
use super::target::{Scheme, Target};
use super::written::stored_as_text;

/// The longest pattern: URLs have at most this many bytes.
const MAX_LENGTH: usize = 2048;

/// A URL in which `*` stands for any text within the host or the path: `https://*.example.org/debian/*`. Scheme, host, port and
/// path are compared one by one, so that no text of one can pass for another.
///
/// | written | means |
/// |---|---|
/// | `https://HOST[:PORT][/PATH]`, `http`, `git`, `ssh://[USER@]…` | that; a host alone is all of it |
/// | `[USER@]HOST:PATH` | a path on a server of ssh, below the account's home unless it begins with `/` |
/// | `/PATH`, `file:///PATH` | repositories of this machine |
/// | `*` | everything that somebody asks for by its URL; no redirect |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// `*`.
    Anything,
    /// The same for a stock builder, which reads what signed events name: addresses that are written out are named there.
    Announced,
    /// Paths of this machine.
    Local(Glob),
    /// Paths on servers.
    Remote {
        scheme: Scheme,
        account: Option<Glob>,
        host: HostPattern,
        port: u16,
        path: Glob,
    },
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is none of the forms.
    #[error("it is not a URL: write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, git://HOST/PATH or /PATH")]
    Form,
    /// A scheme that this grant has no use for.
    #[error("it must begin with https:// or http://")]
    NotWeb,
    /// The host.
    #[error(transparent)]
    Host(#[from] BadHost),
    /// The port.
    #[error("{0:?} is not a port: write a number, or nothing for the scheme's own")]
    Port(String),
    /// Names and passwords are no part of what is granted.
    #[error("it must not hold a user's name or password: write what follows the @")]
    Credentials,
    /// Characters that parsers of URLs skip, replace or stop at.
    #[error("it has blanks, control characters, a backslash or a #, which no URL has")]
    Characters,
    /// Dots, which are resolved before a URL is compared.
    #[error("it has . or .. in its path, which no URL has when it is compared: write the path that they lead to")]
    Dots,
    /// `%xx` where paths are compared decoded.
    #[error("write the path as it is on the server, without %-sequences")]
    Encoded,
    /// Too long.
    #[error("it is empty, or longer than {MAX_LENGTH} bytes")]
    Length,
}

impl Pattern {
    /// One thing, literally: stars in it stand for themselves. `text` shows it, so it must not hold a password. A text that can't be
    /// read as a pattern is shown as `/…`: rights travel as texts between a host and its command line.
    #[must_use]
    pub fn exactly(target: Target, text: String) -> Self {
        let text = match text.parse::<Self>() {
            Ok(_) => text,
            Err(_) => "/…".to_owned(),
        };
        let what = match target {
            Target::Local(path) => What::Local(Glob::literal(&path)),
            Target::Remote { server, account, path } => What::Remote {
                scheme: server.scheme,
                account: account.as_deref().map(Glob::literal),
                host: HostPattern::One(server.host),
                port: server.port,
                path: Glob::literal(&path),
            },
        };
        Self { text, what }
    }

    /// What signed events name, for the stock bot that acts on them; written `*`.
    #[must_use]
    pub fn announced() -> Self {
        Self {
            text: "*".to_owned(),
            what: What::Announced,
        }
    }

    /// Whether it covers what is asked for.
    #[must_use]
    pub fn covers(&self, target: &Target) -> bool {
        if target.hides_dots() {
            return false;
        }
        match (&self.what, target) {
            (What::Anything | What::Announced, _) => true,
            (What::Local(glob), Target::Local(path)) => glob.matches(path),
            (
                What::Remote {
                    scheme,
                    account,
                    host,
                    port,
                    path,
                },
                Target::Remote {
                    server,
                    account: asking,
                    path: asked,
                },
            ) => {
                *scheme == server.scheme
                    && *port == server.port
                    && host.matches(&server.host)
                    && path.matches(asked)
                    && covers_account(host, account.as_ref(), asking.as_deref())
            }
            (What::Local(_), Target::Remote { .. }) | (What::Remote { .. }, Target::Local(_)) => false,
        }
    }

    /// Whether it covers what a server redirects to. `*` names no server, so that there is none that it could lead to.
    #[must_use]
    pub(super) fn covers_redirect(&self, target: &Target) -> bool {
        !matches!(self.what, What::Anything | What::Announced) && self.covers(target)
    }

    /// Where what it covers may lead.
    #[must_use]
    pub(super) fn addresses(&self) -> Addresses {
        match &self.what {
            What::Announced => Addresses::Named,
            What::Remote { host, .. } if host.names_an_address() => Addresses::Named,
            What::Anything | What::Local(_) | What::Remote { .. } => Addresses::Public,
        }
    }

    fn is_web(&self) -> bool {
        matches!(&self.what, What::Remote { scheme, .. } if matches!(scheme, Scheme::Http | Scheme::Https))
    }
}

/// Accounts of ssh. A grant without one is for URLs without one; where a star stands for hosts, it stands for accounts too.
fn covers_account(host: &HostPattern, granted: Option<&Glob>, asking: Option<&str>) -> bool {
    match (granted, asking) {
        (Some(granted), Some(asking)) => granted.matches(asking),
        (Some(_), None) => false,
        (None, None) => true,
        (None, Some(_)) => !matches!(host, HostPattern::One(_)),
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(BadPattern::Length);
        }
        if text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "\\#".contains(c))
        {
            return Err(BadPattern::Characters);
        }
        Ok(Self {
            what: parse(text)?,
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Result<What, BadPattern> {
    if text == "*" {
        return Ok(What::Anything);
    }
    // A URL of a repository is compared decoded; a plain path may have such characters itself.
    if text.starts_with("file://") && text.contains('%') {
        return Err(BadPattern::Encoded);
    }
    if let Some(path) = text.strip_prefix("file://").or(text.starts_with('/').then_some(text)) {
        let path = checked(path)
            .filter(|path| path.starts_with('/'))
            .ok_or(match has_dots(path) {
                true => BadPattern::Dots,
                false => BadPattern::Form,
            })?;
        return Ok(What::Local(Glob::new(path)));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return from_url(Scheme::parse(scheme).ok_or(BadPattern::Form)?, rest);
    }
    match text.split_once(':') {
        Some((host, path)) if !host.contains('/') && !path.is_empty() && !path.starts_with(':') => {
            remote(Scheme::Ssh, host, None, path)
        }
        _ => Err(BadPattern::Form),
    }
}

fn from_url(scheme: Scheme, rest: &str) -> Result<What, BadPattern> {
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        // A bare host is all of it.
        None => (rest, "/*"),
    };
    // The colons of an IPv6 address are within brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains([']', '@']) => {
            let number = port.parse().map_err(|_| BadPattern::Port(port.to_owned()))?;
            (host, Some(number))
        }
        _ => (authority, None),
    };
    // As in locations: the home of an account is asked for without the slash.
    let path = match scheme == Scheme::Ssh && path.starts_with("/~") {
        true => path.trim_start_matches('/'),
        false => path,
    };
    remote(scheme, host, port, path)
}

fn remote(scheme: Scheme, host: &str, port: Option<u16>, path: &str) -> Result<What, BadPattern> {
    let (account, host) = match host.rsplit_once('@') {
        Some((account, host)) if scheme == Scheme::Ssh && !account.contains(':') => (Some(account), host),
        Some(_) => return Err(BadPattern::Credentials),
        None => (None, host),
    };
    let path = checked(path).ok_or(BadPattern::Dots)?;
    let path = match scheme {
        Scheme::Http | Scheme::Https => as_in_urls(path)?,
        Scheme::Ssh | Scheme::Git if path.contains('%') => return Err(BadPattern::Encoded),
        Scheme::Ssh | Scheme::Git => path.to_owned(),
    };
    Ok(What::Remote {
        scheme,
        account: account.map(Glob::new),
        host: host.parse()?,
        port: port.unwrap_or_else(|| scheme.port()),
        path: Glob::new(&path),
    })
}

/// A path with the characters encoded that URLs have encoded when they are compared.
fn as_in_urls(path: &str) -> Result<String, BadPattern> {
    let url = Url::parse(&format!("http://host{path}")).map_err(|_| BadPattern::Form)?;
    Ok(match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    })
}

fn checked(path: &str) -> Option<&str> {
    (!has_dots(path)).then_some(path)
}

fn has_dots(path: &str) -> bool {
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    lower.split(['/', '?']).any(|segment| segment == "." || segment == "..")
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A pattern of HTTP(S) URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebPattern(Pattern);

impl FromStr for WebPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        match text.parse::<Pattern>() {
            Ok(pattern) if pattern.is_web() => Ok(Self(pattern)),
            Ok(_) | Err(BadPattern::Form) => Err(BadPattern::NotWeb),
            Err(error) => Err(error),
        }
    }
}

impl Deref for WebPattern {
    type Target = Pattern;

    fn deref(&self) -> &Pattern {
        &self.0
    }
}

impl fmt::Display for WebPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

stored_as_text!(Pattern => BadPattern, WebPattern => BadPattern);
