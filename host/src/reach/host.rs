//! Hosts as URLs name them, in one spelling, and patterns of hosts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::address::is_loopback;
use super::glob::Glob;

/// A host: a name or an address, in the one spelling in which two are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name: lower case, IDNA in its ASCII form (`xn--…`), without the dot of the root at its end.
    Name(String),
    /// An address. `127.1`, `0x7f.1` and `2130706433` are `127.0.0.1` here, as resolvers read them.
    Address(IpAddr),
}

impl Host {
    /// Read a host as a URL has it, IPv6 addresses with or without brackets.
    ///
    /// What the URL standard doesn't know as a host, such as an address with a zone (`fe80::1%eth0`), is a name that equals itself only.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse() {
            return Self::Address(address);
        }
        match url::Host::parse(text) {
            Ok(url::Host::Domain(name)) => Self::name(&name),
            Ok(url::Host::Ipv4(address)) => Self::Address(address.into()),
            Ok(url::Host::Ipv6(address)) => Self::Address(address.into()),
            Err(_) => Self::name(&text.to_ascii_lowercase()),
        }
    }

    fn name(name: &str) -> Self {
        Self::Name(name.strip_suffix('.').unwrap_or(name).to_owned())
    }

    /// Whether it is this machine by its very name: `localhost`, or a loopback address.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Address(address) => is_loopback(*address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Which hosts a grant names: one, those below a name (`*.example.org`), or all (`*`).
///
/// What follows the last star begins with a dot, so that it ends in a name that somebody owns: `https://example.org*` would be
/// `example.org.evil.net` as well. Addresses have no names above them: only `*` stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// This one.
    One(Host),
    /// Names that match a text with stars.
    Names {
        /// As it was written, in lower case.
        text: String,
        /// The same, to match with.
        glob: Glob,
    },
}

/// Why a text is no pattern of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    /// Nothing.
    #[error("it names no host")]
    Missing,
    /// It is no host's name.
    #[error("{0:?} is not a host's name")]
    Malformed(String),
    /// The star is where foreign names would match.
    #[error("{text:?} would match hosts of others too: write {better}")]
    Open {
        /// The host as it was written.
        text: String,
        /// What was probably meant.
        better: String,
    },
}

impl FromStr for HostPattern {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        let malformed = || BadHost::Malformed(text.to_owned());
        match text.rsplit_once('*') {
            _ if text.is_empty() => Err(BadHost::Missing),
            _ if !text.chars().all(fits) => Err(malformed()),
            None => match Host::parse(text) {
                // What has a colon and is no address is a host with a port, or with something else that is none of its own.
                Host::Name(name) if name.split('.').any(str::is_empty) || name.contains([':', '[', ']']) => {
                    Err(malformed())
                }
                host => Ok(Self::One(host)),
            },
            Some(("", "")) => Ok(Self::Any),
            Some((before, after)) => {
                let Some(parent) = after.strip_prefix('.') else {
                    return Err(open(text));
                };
                let Host::Name(parent) = Host::parse(parent) else {
                    return Err(malformed());
                };
                if parent.split('.').any(str::is_empty) || !before.is_ascii() {
                    return Err(malformed());
                }
                let text = format!("{}*.{parent}", before.to_ascii_lowercase());
                let glob = Glob::new(&text);
                Ok(Self::Names { text, glob })
            }
        }
    }
}

/// Whether a character may be in a pattern of hosts: none that ends a URL's host, or that parsers of URLs skip or replace.
fn fits(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"/\\?#@%".contains(c)
}

/// What to write instead of a star that stands for the end of a name.
fn open(text: &str) -> BadHost {
    let name = text.trim_matches('*').trim_matches('.');
    let better = match name.is_empty() || name.contains('*') {
        true => "whole names, such as *.example.org".to_owned(),
        false => format!("{name}, or *.{name} for the names below it"),
    };
    BadHost::Open {
        text: text.to_owned(),
        better,
    }
}

impl HostPattern {
    /// Whether it stands for a host.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::One(one), host) => one == host,
            (Self::Names { glob, .. }, Host::Name(name)) => glob.matches(name),
            (Self::Names { .. }, Host::Address(_)) => false,
        }
    }

    /// Whether it names an address, or this machine, outright. A name could lead anywhere, today or tomorrow.
    #[must_use]
    pub(super) fn names_an_address(&self) -> bool {
        match self {
            Self::One(Host::Address(_)) => true,
            Self::One(host) => host.is_this_machine(),
            Self::Any | Self::Names { .. } => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::One(host) => host.fmt(f),
            Self::Names { text, .. } => f.write_str(text),
        }
    }
}
