//! Messages that wait for another attempt: what they hold up, and what becomes of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use foundry_host::bus::{AGAIN_PROPERTY, BrokerAddress};
use foundry_host::supervisor::{Condition, Host};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::json;

use crate::mosquitto::Mosquitto;
use crate::presence::{Victim, status_becomes};
use crate::support::{config, eventually, id_of, introduce, owner_of, publish, signed, signed_as, spec};
use crate::{at, broker};

const TOPIC: &str = "foundry/hostile-in";

pub fn order(state: &Path, id: &str, what: &str) -> Vec<u8> {
    signed(state, "hostile-in", id, "test.order.v1", json!({ "do": what }))
}

/// The id of such an order.
fn told(name: &str) -> String {
    id_of("hostile-in", name, "test.order.v1")
}

pub async fn load(host: &Host) {
    host.load(spec("hostile")).await.unwrap();
}

async fn answered(host: &Host, id: &str) {
    eventually(&format!("{id} is handled"), async || {
        let runs = host.ledger().runs(100).await.unwrap();
        let mut events = runs.into_iter().flat_map(|run| run.events);
        events.find(|event| event.topic == "hostile-out" && event.cause == Some(told(id)))
    })
    .await;
}

async fn attempts(host: &Host, id: &str, expected: u32) {
    eventually(&format!("{expected} attempts at {id}"), async || {
        let attempts = host.ledger().attempts("hostile", &told(id)).await.unwrap();
        (attempts == expected).then_some(())
    })
    .await;
}

/// With one instance.
async fn a_bad_message_among_good_ones(host: &Host, broker: &BrokerAddress, state: &Path) {
    load(host).await;
    publish(broker, TOPIC, order(state, "bad", "wait an hour")).await;
    attempts(host, "bad", 1).await;
    for id in ["g1", "g2", "g3"] {
        publish(broker, TOPIC, order(state, id, "done")).await;
        answered(host, id).await;
    }
    // The last one's event is out a moment before the bot has let go of the message.
    eventually("all but the bad one are done with", async || {
        let status = host.status("hostile").unwrap();
        ((status.in_hand, status.handled) == (1, 3)).then_some(())
    })
    .await;
    attempts(host, "bad", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_message_does_not_hold_up_good_ones() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(config(directory.path())).await.unwrap();
    let owner = owner_of(directory.path(), host.broker().port);
    a_bad_message_among_good_ones(&host, &owner, directory.path()).await;
    let operator = host.operator().unwrap();
    eventually("the bad one alone is unacknowledged", async || {
        let group = operator.groups().await.pop()?;
        ((group.leased, group.waiting) == (1, 0)).then_some(())
    })
    .await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_message_does_not_hold_up_good_ones_with_mosquitto() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    let host = Host::start(at(directory.path(), mosquitto.address())).await.unwrap();
    a_bad_message_among_good_ones(&host, &mosquitto.address(), directory.path()).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_message_keeps_its_attempts_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(config(directory.path())).await.unwrap();
    load(&host).await;
    let owner = owner_of(directory.path(), host.broker().port);
    publish(&owner, TOPIC, order(directory.path(), "bad", "wait an hour")).await;
    attempts(&host, "bad", 1).await;
    let mut stopping = config(directory.path());
    stopping.drain = std::time::Duration::from_millis(100);
    host.shutdown().await;
    drop(host);
    let host = Host::start(stopping).await.unwrap();
    load(&host).await;
    attempts(&host, "bad", 2).await;
    host.shutdown().await;
}

/// Publish orders of QoS 0, which no receive maximum bounds.
async fn publish_carelessly(broker: &BrokerAddress, payload: &[u8], count: usize) {
    let options = MqttOptions::new("careless", &broker.host, broker.port);
    let (client, mut events) = AsyncClient::new(options, count + 1);
    for _ in 0..count {
        client
            .try_publish(TOPIC, QoS::AtMostOnce, false, payload.to_vec())
            .unwrap();
    }
    client.try_disconnect().unwrap();
    while events.poll().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_bot_with_any_number_of_messages_of_qos_0_can_be_stopped_with_mosquitto() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    let mut config = at(directory.path(), mosquitto.address());
    config.drain = std::time::Duration::from_millis(100);
    let host = Host::start(config).await.unwrap();
    load(&host).await;
    let broker = mosquitto.address();
    publish(&broker, TOPIC, order(directory.path(), "busy", "loop")).await;
    eventually("it is busy", async || (host.list()[0].in_hand > 0).then_some(())).await;
    publish_carelessly(&broker, b"{}", 500).await;
    publish(&broker, TOPIC, order(directory.path(), "late", "done")).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(30), host.stop("hostile")).await;
    stopped.expect("it never stops").unwrap();
    host.shutdown().await;
}

/// More than four connections' worth, which is what can wait, as the broker counts.
const MANY: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_was_away_handles_all_that_mosquitto_has_for_it_however_much_comes_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(directory.path(), "");
    let broker = mosquitto.address();
    let host = Host::start(at(directory.path(), broker.clone())).await.unwrap();
    load(&host).await;
    eventually("it is subscribed", async || {
        (host.status("hostile").unwrap().condition == Condition::Running).then_some(())
    })
    .await;
    host.shutdown().await;
    drop(host);
    publish_many(&broker, directory.path()).await;
    // What it has read from its disk it takes for sent, whatever the receive maximum is.
    mosquitto.stop();
    mosquitto.run();
    let host = Host::start(at(directory.path(), broker)).await.unwrap();
    load(&host).await;
    eventually("all are handled", async || {
        (host.status("hostile").unwrap().handled >= MANY as u64).then_some(())
    })
    .await;
    // The last ones are on record a moment after they are handled.
    eventually("all are answered", async || {
        let runs = host.ledger().runs(2 * MANY as u32).await.unwrap();
        let answers = runs.into_iter().flat_map(|run| run.events);
        let answers = answers.filter(|event| event.topic == "hostile-out");
        let causes: BTreeSet<_> = answers.filter_map(|event| event.cause).collect();
        (causes.len() == MANY).then_some(())
    })
    .await;
    host.shutdown().await;
}

async fn publish_many(broker: &BrokerAddress, state: &Path) {
    let options = MqttOptions::new("many", &broker.host, broker.port);
    let (client, mut events) = AsyncClient::new(options, MANY + 1);
    for number in 0..MANY {
        let order = order(state, &format!("many-{number}"), "done");
        client.try_publish(TOPIC, QoS::AtLeastOnce, false, order).unwrap();
    }
    let mut answered = 0;
    while answered < MANY {
        let event = events.poll().await.unwrap();
        answered += usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
    }
}

/// Publish a message that somebody may have had before.
pub async fn publish_again(broker: &BrokerAddress, payload: Vec<u8>) {
    let options = MqttOptions::new("publisher-again", &broker.host, broker.port);
    let (client, mut events) = AsyncClient::new(options, 10);
    let properties = PublishProperties {
        user_properties: vec![(AGAIN_PROPERTY.to_owned(), "1".to_owned())],
        ..PublishProperties::default()
    };
    client
        .publish_with_properties(TOPIC, QoS::AtLeastOnce, false, payload, properties)
        .await
        .unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_builder_does_not_keep_the_healthy_ones_from_other_work() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let mut config = at(directory.path(), address.clone());
    config.messages.peer_patience = std::time::Duration::MAX;
    config.drain = std::time::Duration::from_millis(100);
    let host = Host::start(config).await.unwrap();
    load(&host).await;
    introduce("victim", &directory.path().join("victim"), "all", directory.path());
    let mut victim = Victim::start(directory.path(), address.port, "hostile");
    status_becomes(&host, "victim", "running").await;
    victim.0.kill().unwrap();
    status_becomes(&host, "victim", "offline").await;
    // The dead one may have settled it, for all that anybody knows.
    publish_again(&address, order(directory.path(), "doubtful", "done")).await;
    eventually("the list says whom the message waits for", async || {
        let detail = host.status("hostile").unwrap().detail?;
        detail.contains("waits for victim").then_some(())
    })
    .await;
    for id in ["g1", "g2", "g3"] {
        publish(&address, TOPIC, order(directory.path(), id, "done")).await;
        answered(&host, id).await;
    }
    let status = host.status("hostile").unwrap();
    assert!(status.detail.unwrap().contains("waits for victim"), "it still waits");
    let runs = host.ledger().runs(100).await.unwrap();
    let mut events = runs.into_iter().flat_map(|run| run.events);
    let of_doubtful = events.find(|event| event.topic == "hostile-out" && event.cause == Some(told("doubtful")));
    assert_eq!(of_doubtful, None, "it has had no effect");
    host.shutdown().await;
    drop(victim);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_message_goes_to_another_member_when_its_host_dies() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let mut victim = Victim::start(directory.path(), address.port, "hostile");
    let operator = broker.operator();
    let group = async || {
        operator
            .groups()
            .await
            .into_iter()
            .find(|group| group.name == "hostile")
    };
    eventually("the bot is there", async || {
        group().await.filter(|group| group.members == 1)
    })
    .await;
    let state = directory.path().join("victim");
    for (id, what) in [("bad", "wait an hour"), ("good", "done")] {
        let data = json!({ "do": what });
        let order = signed_as("victim", &state, "hostile-in", id, "test.order.v1", data);
        publish(&address, TOPIC, order).await;
    }
    eventually("only the one that waits is unacknowledged", async || {
        group().await.filter(|group| (group.leased, group.waiting) == (1, 0))
    })
    .await;
    victim.0.kill().unwrap();
    let output = Command::new("mosquitto_sub")
        .args(["-V", "5", "-p", &address.port.to_string(), "-q", "1"])
        .args(["-t", &format!("$share/hostile/{TOPIC}"), "-C", "1", "-W", "20"])
        .output()
        .unwrap();
    let received: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(received["id"], told("bad"));
    drop(victim);
    broker.stop().await;
}
