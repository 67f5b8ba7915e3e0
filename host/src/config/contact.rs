//! Whether the services that a configuration names let this host in: the broker elsewhere, and the bucket of artifacts.

use std::path::Path;

use super::problem::{Problem, Severity};
use super::{BrokerSettings, Config};
use crate::bus::{BrokerAddress, Contact, contact};
use crate::objects::{Location, Reached};

/// Ask them. Takes ten seconds at most. What can't be reached is a warning, since a host waits for it; what refuses this host is an
/// error, since waiting will not help.
pub async fn check_services(config: &Config) -> Vec<Problem> {
    let (broker, artifacts) = tokio::join!(of_broker(config), of_artifacts(config));
    broker.into_iter().chain(artifacts).collect()
}

async fn of_broker(config: &Config) -> Vec<Problem> {
    let BrokerSettings::External(address) = &config.broker else {
        return Vec::new();
    };
    let shown = format!("{address:?}");
    match ask_broker(config, address).await {
        Some(Contact::Refused(why)) => {
            let message = format!("the broker {shown} does not let this host in: {why}");
            let remedy = "see broker.user, broker.password-file, broker.certificate and broker.ca";
            vec![problem(config, Severity::Error, "broker.url", message, remedy)]
        }
        Some(Contact::Away(why)) => {
            let message = format!("cannot reach the broker {shown}: {why}");
            let remedy = "a host that starts now waits for it";
            vec![problem(config, Severity::Warning, "broker.url", message, remedy)]
        }
        Some(Contact::Welcome(concerns)) => concerns
            .into_iter()
            .map(|concern| problem(config, Severity::Warning, "broker.url", concern, ""))
            .collect(),
        // Files that can't be read are told by other checks.
        None => Vec::new(),
    }
}

async fn ask_broker(config: &Config, address: &BrokerAddress) -> Option<Contact> {
    // With a name that is not chosen the host may have kept another one.
    let host = config.name_is_chosen.then_some(config.name.as_str());
    contact(address, host).await.ok()
}

async fn of_artifacts(config: &Config) -> Option<Problem> {
    let Some(Location::Bucket(bucket)) = &config.artifacts else {
        return None;
    };
    let shown = Location::Bucket(bucket.clone()).to_string();
    let (severity, message, remedy) = match bucket.reach().await {
        Reached::Usable => return None,
        Reached::Absent => (
            Severity::Error,
            format!("there is no bucket {}, of {shown}", bucket.name),
            "make the bucket, or name another one",
        ),
        Reached::Refused(why) => (
            Severity::Error,
            format!("the service refuses access to {shown}: {why}"),
            "see artifacts.credentials, and what they may do",
        ),
        Reached::Away(why) => (
            Severity::Warning,
            format!("cannot reach {shown}: {why}"),
            "see artifacts.endpoint and artifacts.ca; what is built can be kept only once the service answers",
        ),
    };
    Some(problem(config, severity, "artifacts.url", message, remedy))
}

fn problem(config: &Config, severity: Severity, key: &str, message: String, remedy: &str) -> Problem {
    let file = config.path.as_deref().unwrap_or(Path::new("foundry.toml"));
    Problem {
        severity,
        file: file.to_owned(),
        line: config.lines.get(key).copied(),
        key: key.to_owned(),
        message,
        remedy: remedy.to_owned(),
    }
}
