//! HTTP clients that connect to checked addresses only.

use std::sync::Arc;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::host::Host;
use super::network::{Addresses, Network, PrivateAddress, Rule};
use super::target::Server;

/// Makes HTTP requests. One agent for each of [`Addresses`], so that no connection to a private address can be reused for a
/// request that has no right to it.
#[derive(Debug, Clone)]
pub struct Client {
    public: Agent,
    named: Agent,
    network: Arc<Network>,
}

impl Client {
    /// A client whose agents have this configuration. It must not follow redirects: each is checked here first.
    #[must_use]
    pub fn new(config: &Config, network: Arc<Network>) -> Self {
        let agent = |addresses| {
            let resolver = Checked {
                names: DefaultResolver::default(),
                rule: Rule::new(addresses, Arc::clone(&network)),
            };
            Agent::with_parts(config.clone(), DefaultConnector::default(), resolver)
        };
        Self {
            public: agent(Addresses::Public),
            named: agent(Addresses::Named),
            network,
        }
    }

    /// What asks a server that may be at these addresses.
    ///
    /// # Errors
    /// [`PrivateAddress`] if the server is written as an address that it may not be at. Names are judged when they are resolved.
    pub fn agent(&self, server: &Server, addresses: Addresses) -> Result<&Agent, PrivateAddress> {
        self.rule(addresses).check_written(&server.host)?;
        Ok(match addresses {
            Addresses::Public => &self.public,
            Addresses::Named => &self.named,
        })
    }

    /// The rule that its connections keep.
    #[must_use]
    pub fn rule(&self, addresses: Addresses) -> Rule {
        Rule::new(addresses, Arc::clone(&self.network))
    }

    /// The operator's exceptions.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }
}

/// Resolves names to addresses that a rule allows. The connection is made to what this returns, so that a name can't lead to one
/// address for the check and to another for the request.
#[derive(Debug)]
struct Checked {
    names: DefaultResolver,
    rule: Rule,
}

impl Resolver for Checked {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        // The operator's proxy is asked for what it can reach; its own address is nothing that a bot chose.
        if config.proxy().is_some_and(|proxy| proxy.uri() == uri) {
            return Ok(found);
        }
        let host = Host::parse(uri.host().unwrap_or_default());
        let allowed = self
            .rule
            .allowed(&host, found.iter().copied())
            .map_err(|refused| ureq::Error::Io(PrivateAddress::into_io(refused)))?;
        let mut checked = self.empty();
        // No more than were found, so that there is room for all.
        allowed.into_iter().for_each(|address| checked.push(address));
        Ok(checked)
    }
}
