//! The table `[broker]`.

use std::path::Path;

use foundry_broker::Tls;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, ValueDeserializer};

use super::external;
use super::parse::absolute;
use super::problem::{Problems, nearest};
use super::reader::Section;
use super::settings::{BROKER_ACCESS, BROKER_LIMITS, BROKER_LISTEN, BROKER_TLS, BROKER_URL, BROKER_WEBSOCKET, Setting};
use crate::bus::BrokerAddress;
use crate::reach::Network;

/// Which broker, and how.
#[derive(Debug, Clone)]
pub enum BrokerSettings {
    /// The one inside the host. Its data directory follows from the host's state directory.
    Embedded(Box<foundry_broker::Config>),
    /// Another one.
    External(BrokerAddress),
}

/// Read it.
pub(super) fn read(
    document: &DeTable<'_>,
    base: &Path,
    network: &Network,
    problems: &mut Problems<'_>,
) -> Option<BrokerSettings> {
    let section = Section::top(document, "broker", problems);
    section.refuse_unknown(problems);
    let tls: Option<Option<Tls>> = of_crate(&section, &BROKER_TLS, problems);
    let websocket = of_crate(&section, &BROKER_WEBSOCKET, problems);
    let access = of_crate(&section, &BROKER_ACCESS, problems);
    let limits = of_crate(&section, &BROKER_LIMITS, problems);
    if section.has(&BROKER_URL).is_some() {
        for setting in [
            BROKER_LISTEN,
            BROKER_TLS,
            BROKER_WEBSOCKET,
            BROKER_ACCESS,
            BROKER_LIMITS,
        ] {
            if let Some(at) = section.has(&setting) {
                let message = "this is for the embedded broker, and broker.url asks for another one";
                problems.error(Some(at), &section.key(&setting), message, "remove one of them");
            }
        }
        return external::read(&section, base, network, problems).map(BrokerSettings::External);
    }
    external::refuse(&section, problems);
    let listen = section.parsed(&BROKER_LISTEN, problems, |text| {
        text.parse()
            .map_err(|_| "write an IP address and a port, such as 127.0.0.1:1883".to_owned())
    })?;
    let tls = tls?.map(|tls| Tls {
        certificate: absolute(tls.certificate, base),
        key: absolute(tls.key, base),
        client_ca: tls.client_ca.map(|path| absolute(path, base)),
        ..tls
    });
    Some(BrokerSettings::Embedded(Box::new(foundry_broker::Config {
        listen: listen.value,
        any_port: listen.at.is_none(),
        tls,
        websocket: websocket?,
        access: access?,
        limits: limits?,
        ..foundry_broker::Config::default()
    })))
}

/// A table that the broker's own crate knows.
fn of_crate<T: DeserializeOwned + Default>(
    broker: &Section<'_>,
    setting: &Setting,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let Some((_, _, value)) = broker.entries().find(|(key, ..)| *key == setting.key) else {
        return Some(T::default());
    };
    match T::deserialize(ValueDeserializer::from(value.clone())) {
        Ok(value) => Some(value),
        Err(error) => {
            let at = error.span().unwrap_or(value.span()).start;
            let (message, remedy) = serde_complaint(error.message());
            problems.error(Some(at), &broker.key(setting), message, remedy);
            None
        }
    }
}

/// Serde's sentence for an unknown field lists all that are known; say which was probably meant instead.
fn serde_complaint(message: &str) -> (String, String) {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown field"), quoted.next()) {
        (true, Some(field)) => {
            let known: Vec<_> = quoted.collect();
            let remedy = match nearest(field, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the settings here are {}", known.join(", ")),
            };
            (format!("there is no setting `{field}`"), remedy)
        }
        _ => (message.to_owned(), "see docs/configuration.md".to_owned()),
    }
}
