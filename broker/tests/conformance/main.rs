//! What MQTT promises about sessions, messages and options: the scenarios of the Eclipse Paho interoperability
//! suite and some more, for both protocol versions. With `FOUNDRY_CONFORMANCE=mosquitto` they judge Debian's Mosquitto.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod messages;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tested;
mod v3_1_1;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use support::v5::{V5, message};

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;

fn retained(topic: &str, qos: QoS, payload: &str) -> Publish {
    Publish {
        retain: true,
        ..message(topic, qos, payload)
    }
}

fn payloads(client: &mut V5, count: usize) -> Vec<String> {
    let mut payloads: Vec<_> = (0..count)
        .map(|_| String::from_utf8(client.take().payload.to_vec()).unwrap())
        .collect();
    payloads.sort_unstable();
    payloads
}
