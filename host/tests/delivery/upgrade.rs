//! What an older version left at a broker elsewhere.

use std::path::Path;
use std::time::Duration;

use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::Host;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::json;

use crate::at;
use crate::mosquitto::Mosquitto;
use crate::support::{eventually, publish, signed, spec};

/// A connection that resumes a session of an hour. Returns whether there was one.
async fn resume(broker: &BrokerAddress, id: &str) -> (AsyncClient, EventLoop, bool) {
    let mut options = MqttOptions::new(id, &broker.host, broker.port);
    options.set_clean_start(false).set_session_expiry_interval(Some(3600));
    let (client, mut events) = AsyncClient::new(options, 10);
    loop {
        if let Event::Incoming(Packet::ConnAck(connack)) = events.poll().await.unwrap() {
            return (client, events, connack.session_present);
        }
    }
}

/// Leave a session as a bot of the version 0.1 did.
async fn leave_session(broker: &BrokerAddress, id: &str, filter: &str) {
    let (client, mut events, _) = resume(broker, id).await;
    client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    client.disconnect().await.unwrap();
    while events.poll().await.is_ok() {}
}

/// A state directory as that version left it.
async fn old_state(directory: &Path, broker: &BrokerAddress) {
    let host = Host::start(at(directory, broker.clone())).await.unwrap();
    host.shutdown().await;
    std::fs::remove_file(directory.join("identity.json")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_session_of_an_older_version_is_handled_and_no_more_comes_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    let broker = mosquitto.address();
    old_state(directory.path(), &broker).await;
    leave_session(&broker, "foundry-test-hostile", "$share/hostile/foundry/hostile-in").await;
    let order = |id: &str| {
        let data = json!({ "do": "done" });
        signed(directory.path(), "hostile-in", id, "test.order.v1", data)
    };
    publish(&broker, "foundry/hostile-in", order("before")).await;
    let host = Host::start(at(directory.path(), broker.clone())).await.unwrap();
    host.load(spec("hostile")).await.unwrap();
    let handled = async |count: u64| {
        eventually(&format!("{count} are handled"), async || {
            (host.status("hostile").ok()?.handled == count).then_some(())
        })
        .await;
    };
    handled(1).await;
    // A member that was away would be given its share of these.
    for number in 1..=6 {
        publish(&broker, "foundry/hostile-in", order(&format!("after-{number}"))).await;
    }
    handled(7).await;
    host.shutdown().await;
    drop(host);
    // The next start finds the session empty, and removes it.
    let host = Host::start(at(directory.path(), broker.clone())).await.unwrap();
    host.load(spec("hostile")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert!(host.ledger().has_old_session_ended("hostile").await.unwrap());
    host.shutdown().await;
    drop(host);
    assert!(!resume(&broker, "foundry-test-hostile").await.2);
    // That was the last time that it was looked for: whoever has such a session now keeps it.
    leave_session(&broker, "foundry-test-hostile", "another/topic").await;
    let host = Host::start(at(directory.path(), broker.clone())).await.unwrap();
    host.load(spec("hostile")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert!(resume(&broker, "foundry-test-hostile").await.2);
    host.shutdown().await;
}
