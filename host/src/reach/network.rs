//! What the operator says of this host's network: `[network]` in `foundry.toml`.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::address::{is_loopback, is_public};
use super::host::{Host, HostPattern};

/// Exceptions that the operator makes by name. None by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Hosts whose names may lead to private addresses, and private addresses that need no grant of their own.
    pub private_hosts: Vec<HostPattern>,
    /// Hosts that may be spoken to without TLS by what is secret, or believed.
    pub clear_text_hosts: Vec<HostPattern>,
}

/// Where a granted URL may lead. Later ones allow what earlier ones allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addresses {
    /// To public addresses only.
    Public,
    /// Also to the address that the URL itself names, or to this machine if it says `localhost`.
    Named,
}

/// Decides about each address before a connection to it is made.
#[derive(Debug, Clone)]
pub struct Rule {
    addresses: Addresses,
    network: Arc<Network>,
}

/// A name leads to an address of this machine or of a private network, or the URL is that address and a star covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateAddress {
    host: Host,
    address: IpAddr,
}

impl std::error::Error for PrivateAddress {}

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        match host {
            Host::Address(_) => write!(f, "{host} is a private address, which no grant names")?,
            Host::Name(_) => write!(f, "{host} leads to a private address, {address}")?,
        }
        write!(
            f,
            " (if it may be reached, write private-hosts = [\"{host}\"] under [network] in foundry.toml)"
        )
    }
}

/// What would cross a network so that everybody on the way can read it, and put something else in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposed {
    /// A password, or a token that is as good as one.
    Password,
    /// Messages to and from a broker.
    Messages,
    /// Mail.
    Mail,
    /// Artifacts or packages, to and from a bucket.
    Objects,
}

/// Something may not go to a host without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearText {
    what: Exposed,
    host: Host,
}

impl std::error::Error for ClearText {}

impl fmt::Display for ClearText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match self.what {
            Exposed::Password => write!(f, "a password for {host}")?,
            Exposed::Messages => write!(f, "messages to and from {host}")?,
            Exposed::Mail => write!(f, "mail for {host}")?,
            Exposed::Objects => write!(f, "files to and from {host}")?,
        }
        write!(
            f,
            " would cross the network in clear (use TLS, or write clear-text-hosts = [\"{host}\"] under [network] in foundry.toml)"
        )
    }
}

impl Network {
    /// Whether a password may go to a host over a connection without TLS: within this machine, or by the operator's word.
    ///
    /// # Errors
    /// [`ClearText`], which names the setting.
    pub fn clear_text(&self, host: &Host) -> Result<(), ClearText> {
        self.in_clear(Exposed::Password, host)
    }

    /// The same for something else than a password.
    ///
    /// # Errors
    /// [`ClearText`], which names the setting.
    pub fn in_clear(&self, what: Exposed, host: &Host) -> Result<(), ClearText> {
        let named = || self.clear_text_hosts.iter().any(|pattern| pattern.matches(host));
        match host.is_this_machine() || named() {
            true => Ok(()),
            false => Err(ClearText {
                what,
                host: host.clone(),
            }),
        }
    }
}

impl Rule {
    /// The rule for what may lead to `addresses`.
    #[must_use]
    pub fn new(addresses: Addresses, network: Arc<Network>) -> Self {
        Self { addresses, network }
    }

    /// Whether a host's connection may be made to an address that its name leads to, or that it is.
    #[must_use]
    pub fn allows(&self, host: &Host, address: IpAddr) -> bool {
        let named = || match host {
            Host::Address(own) => *own == address,
            Host::Name(name) => name == "localhost" && is_loopback(address),
        };
        is_public(address)
            || (self.addresses == Addresses::Named && named())
            || self.network.private_hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// The addresses of those found for a host that a connection may be made to: never none.
    ///
    /// # Errors
    /// [`PrivateAddress`] if all are private.
    pub fn allowed(
        &self,
        host: &Host,
        found: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, PrivateAddress> {
        let (allowed, refused): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| self.allows(host, address.ip()));
        match refused.first().filter(|_| allowed.is_empty()) {
            Some(refused) => Err(PrivateAddress {
                host: host.clone(),
                address: refused.ip(),
            }),
            None => Ok(allowed),
        }
    }

    /// Refuse a URL's host that is itself a private address. Whoever has names resolved elsewhere, by a proxy or by ssh, asks this.
    ///
    /// # Errors
    /// [`PrivateAddress`].
    pub fn check_written(&self, host: &Host) -> Result<(), PrivateAddress> {
        match host {
            Host::Address(address) if !self.allows(host, *address) => Err(PrivateAddress {
                host: host.clone(),
                address: *address,
            }),
            Host::Address(_) | Host::Name(_) => Ok(()),
        }
    }

    /// Resolve a name once: connect to what this returns, and to nothing that the name may lead to later. Blocks.
    ///
    /// # Errors
    /// What the resolver says; [`PrivateAddress`] inside of an error of the kind `PermissionDenied`.
    pub fn resolve(&self, host: &Host, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = match host {
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            Host::Name(name) => (name.as_str(), port).to_socket_addrs()?.collect(),
        };
        self.allowed(host, found).map_err(PrivateAddress::into_io)
    }
}

impl PrivateAddress {
    pub(super) fn into_io(self) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::PermissionDenied, self)
    }

    /// The same, if an error of the system holds it.
    #[must_use]
    pub fn within(error: &std::io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}
