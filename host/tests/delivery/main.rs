//! Messages' ways between hosts and brokers: brokers that refuse, brokers elsewhere, hosts that die or stop.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

mod ability;
mod client_ids;
mod clocks;
mod clones;
mod dead_letters;
mod drain;
mod forged_presence;
mod full;
mod identity;
mod leaving;
mod lives;
mod mosquitto;
mod mosquitto_access;
mod presence;
mod proxy;
mod refusals;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
mod taken_builder;
mod tls;
mod unbound_builder;
mod upgrade;
mod waiting;
mod witness;

use std::path::Path;

use foundry_broker::{Access, Broker, Config};
use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::{BrokerChoice, Host, HostConfig};

/// A broker of ours that outlives the hosts of a test.
pub async fn broker(directory: &Path, change: impl FnOnce(&mut Config)) -> Broker {
    let mut config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: directory.join("separate-broker"),
        access: Access::open("host"),
        ..Config::default()
    };
    change(&mut config);
    Broker::start(config).await.unwrap()
}

/// A host that uses a broker elsewhere.
pub fn at(directory: &Path, broker: BrokerAddress) -> HostConfig {
    HostConfig {
        broker: BrokerChoice::External(broker),
        ..support::config(directory)
    }
}

/// Start a host with a source that publishes so many events on a topic.
pub async fn with_source(config: HostConfig, topic: &str, total: u32) -> Host {
    let host = Host::start(config).await.unwrap();
    load_source(&host, topic, total).await;
    host
}

/// Load a source that publishes so many events on a topic.
pub async fn load_source(host: &Host, topic: &str, total: u32) {
    let source = support::spec("source")
        .named(&format!("source-{topic}"))
        .option("publish-to", topic)
        .option("total", total.to_string());
    host.load(source).await.unwrap();
}
