//! Where the servers of package sources are. Those of the machine's own are its operator's matter; of what a bot names, no name
//! leads to a private address, and no server leads elsewhere (`docs/adr/0032-one-client-policy.md`).

use std::sync::Arc;

use url::Url;

use super::apt::Source;
use crate::reach::{Addresses, Network, PrivateAddress, Rule, Server};

/// Refuses sources whose servers are at addresses that they may not be at. Blocks while names are resolved.
///
/// apt resolves names once more when it connects. What can't be resolved here may be for a proxy to resolve, and is left to apt.
///
/// # Errors
/// [`PrivateAddress`], with the setting that allows it.
pub(super) fn check(network: &Arc<Network>, sources: &[(Source, Addresses)]) -> Result<(), PrivateAddress> {
    for (source, addresses) in sources {
        let rule = Rule::new(*addresses, Arc::clone(network));
        for server in servers(source) {
            rule.check_written(&server.host)?;
            if let Err(error) = rule.resolve(&server.host, server.port)
                && let Some(refused) = PrivateAddress::within(&error)
            {
                return Err(refused.clone());
            }
        }
    }
    Ok(())
}

/// The servers that apt asks by HTTP.
fn servers(source: &Source) -> impl Iterator<Item = Server> {
    let urls = source.uris().iter().filter_map(|uri| Url::parse(uri).ok());
    urls.filter_map(|url| Server::of(&url))
}

/// What apt is told of the servers of sources that a bot names: they may not lead it to others.
pub(super) fn without_redirects<'a>(sources: impl IntoIterator<Item = &'a Source>) -> String {
    let mut names: Vec<String> = sources
        .into_iter()
        .flat_map(Source::uris)
        .filter_map(|uri| Some(Url::parse(uri).ok()?.host_str()?.to_owned()))
        .collect();
    names.sort_unstable();
    names.dedup();
    // The name of a setting can't have the colons of an IPv6 address: where there is one, nobody redirects.
    let scope = |name: &String| {
        if name.contains(':') {
            String::new()
        } else {
            format!("{name}::")
        }
    };
    names
        .iter()
        .map(scope)
        .flat_map(|scope| {
            ["http", "https"].map(|scheme| format!("Acquire::{scheme}::{scope}AllowRedirect \"false\";\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::parse(text).unwrap()
    }

    fn checked(text: &str, addresses: Addresses, private: &[&str]) -> Result<(), String> {
        let network = Network {
            private_hosts: private.iter().map(|host| host.parse().unwrap()).collect(),
            ..Network::default()
        };
        check(&Arc::new(network), &[(source(text), addresses)]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_private_address_is_reached_only_where_the_grant_is_that_address_or_the_operator_names_it() {
        for uri in [
            "http://127.0.0.1:8080/",
            "http://10.1.2.3/",
            "http://169.254.169.254/",
            "http://[::1]/",
        ] {
            let line = format!("deb {uri} ./");
            assert_eq!(checked(&line, Addresses::Named, &[]), Ok(()), "{uri}");
            let why = checked(&line, Addresses::Public, &[]).unwrap_err();
            assert!(why.contains("private-hosts = ["), "{why}");
        }
        let line = "deb http://localhost/ ./";
        assert_eq!(checked(line, Addresses::Named, &[]), Ok(()));
        assert_eq!(checked(line, Addresses::Public, &["localhost"]), Ok(()));
        let why = checked(line, Addresses::Public, &[]).unwrap_err();
        assert!(why.starts_with("localhost leads to a private address"), "{why}");
    }

    #[test]
    fn servers_that_a_bot_names_may_not_redirect() {
        let sources = [
            source("deb https://apt.example.org/debian sid main"),
            source("deb http://apt.example.org:81/ ./"),
        ];
        assert_eq!(
            without_redirects(&sources),
            "Acquire::http::apt.example.org::AllowRedirect \"false\";\nAcquire::https::apt.example.org::AllowRedirect \"false\";\n"
        );
        assert!(without_redirects(&[source("deb http://[::1]/ ./")]).starts_with("Acquire::http::AllowRedirect"));
        assert_eq!(without_redirects(&[]), "");
    }
}
