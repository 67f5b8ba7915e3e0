//! What a broker's settings mean for the promise that nothing is lost, as far as a client can see them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rumqttc::v5::mqttbytes::v5::ConnAck;
use tokio_util::sync::CancellationToken;

use super::broker_clock::BrokerClock;
use super::connection::{ConnectionOptions, is_of_ours};
use super::consumer::Consumer;
use crate::ability::Ability;
use crate::event::MAX_EVENT;

/// How many messages Mosquitto has dropped since it started.
const DROPPED: &str = "$SYS/broker/publish/messages/dropped";

/// Room that topic and properties take in a packet, generously.
const HEADERS: u32 = 4096;

/// What is wrong with the broker. Shared by all of a host's connections; each concern is logged once.
#[derive(Debug, Clone, Default)]
pub struct Concerns {
    found: Arc<Mutex<BTreeSet<String>>>,
    /// Whether it is another one than Foundry's.
    is_foreign: Arc<AtomicBool>,
    /// How its clock and this machine's agree.
    pub(super) clock: BrokerClock,
}

impl Concerns {
    /// Nothing is found yet. A wrong clock is to be among the reasons why that host's bots take no work.
    #[must_use]
    pub fn of(ability: &Ability) -> Self {
        Self {
            clock: BrokerClock::of(ability),
            ..Self::default()
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().cloned().collect()
    }

    /// The broker's clock.
    #[must_use]
    pub fn clock(&self) -> BrokerClock {
        self.clock.clone()
    }

    /// Whether the broker may give a group's messages to members that are away, as Mosquitto does and Foundry's does not.
    #[must_use]
    pub fn gives_to_the_away(&self) -> bool {
        self.is_foreign.load(Ordering::Relaxed)
    }

    /// Note what a broker says of itself when it accepts a connection.
    pub(super) fn note(&self, connack: &ConnAck, session_expiry: Option<u32>) {
        self.clock.note(connack);
        self.is_foreign.store(!is_of_ours(connack), Ordering::Relaxed);
        for concern in of(connack, session_expiry) {
            self.add(concern);
        }
    }

    pub(super) fn add(&self, concern: String) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if !found.contains(&concern) {
            tracing::warn!("the broker can lose messages: {concern}");
            found.insert(concern);
        }
    }

    /// Watch a broker that counts what it drops, as Mosquitto does. One that doesn't, or doesn't show it, is left alone.
    pub fn watch(&self, options: ConnectionOptions, cancel: CancellationToken) {
        let options = ConnectionOptions {
            persistent: false,
            receive_maximum: 8,
            ..options
        };
        let consumer = Consumer::onlooker(options, vec![DROPPED.to_owned()]);
        let concerns = self.clone();
        let (mut deliveries, _state, _task) = consumer.start(cancel);
        tokio::spawn(async move {
            let mut before: Option<u64> = None;
            while let Some(delivery) = deliveries.recv().await {
                let number = std::str::from_utf8(&delivery.payload)
                    .ok()
                    .and_then(|text| text.parse().ok());
                if let Some(number) = number {
                    if before.is_some_and(|before| number > before) {
                        concerns.add(
                            "it drops messages that wait for clients (see max_queued_messages and max_queued_bytes)"
                                .to_owned(),
                        );
                    }
                    before = Some(number);
                }
                delivery.acknowledge();
            }
        });
    }
}

/// What a CONNACK says, to a client that asked for a session that lasts so many seconds.
fn of(connack: &ConnAck, session_expiry: Option<u32>) -> Vec<String> {
    let Some(properties) = &connack.properties else {
        return Vec::new();
    };
    let mut concerns = Vec::new();
    if properties.shared_subscription_available == Some(0) {
        concerns.push("it has no shared subscriptions, so that bots cannot share work".to_owned());
    }
    if properties.max_qos == Some(0) {
        concerns.push("it takes messages with QoS 0 only, which may get lost".to_owned());
    }
    if properties.retain_available == Some(0) {
        concerns.push("it keeps no retained messages, so that hosts cannot see each other's bots".to_owned());
    }
    if let Some(largest) = properties
        .max_packet_size
        .filter(|largest| *largest < MAX_EVENT as u32 + HEADERS)
    {
        concerns.push(format!(
            "it takes packets of {largest} bytes at most, and events may have {MAX_EVENT} (max_packet_size)"
        ));
    }
    if let (Some(asked), Some(given)) = (session_expiry, properties.session_expiry_interval)
        && given < asked
    {
        concerns.push(format!(
            "it forgets a host that is away for {given} s, with all that waits for it (persistent_client_expiration)"
        ));
    }
    concerns
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, ConnectReturnCode};

    use super::*;

    fn connack(change: impl FnOnce(&mut ConnAckProperties)) -> ConnAck {
        let mut properties = ConnAckProperties {
            session_expiry_interval: None,
            receive_max: None,
            max_qos: None,
            retain_available: None,
            max_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        };
        change(&mut properties);
        ConnAck {
            session_present: false,
            code: ConnectReturnCode::Success,
            properties: Some(properties),
        }
    }

    #[test]
    fn a_broker_that_says_nothing_is_fine() {
        assert!(of(&connack(|_| {}), Some(100)).is_empty());
        assert!(of(&connack(|p| p.session_expiry_interval = Some(100)), Some(100)).is_empty());
    }

    #[test]
    fn every_setting_that_can_lose_messages_is_named() {
        let found = of(
            &connack(|p| {
                p.shared_subscription_available = Some(0);
                p.max_qos = Some(0);
                p.retain_available = Some(0);
                p.max_packet_size = Some(1000);
                p.session_expiry_interval = Some(60);
            }),
            Some(100),
        );
        for (concern, word) in found.iter().zip(["shared", "QoS 0", "retained", "1000 bytes", "60 s"]) {
            assert!(concern.contains(word), "{concern}");
        }
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_concern_is_noted_once() {
        let concerns = Concerns::default();
        for _ in 0..2 {
            concerns.note(&connack(|p| p.max_qos = Some(0)), None);
        }
        assert_eq!(concerns.all().len(), 1);
    }
}
