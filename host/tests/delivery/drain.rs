//! Hosts that are told to stop while messages are in hand.

use std::time::Duration;

use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::Host;
use serde_json::json;

use crate::support::{eventually, publish, signed, spec};
use crate::{at, broker};

/// A host whose bot has work in hand that takes a while, and its broker.
async fn at_work(directory: &std::path::Path, drain: Duration) -> (Host, foundry_broker::Broker) {
    let broker = broker(directory, |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let mut config = at(directory, address.clone());
    config.drain = drain;
    let host = Host::start(config).await.unwrap();
    host.load(spec("hostile")).await.unwrap();
    let order = signed(directory, "w1", "test.order.v1", json!({ "do": "work" }));
    publish(&address, "foundry/hostile-in", order).await;
    eventually("it is at work", async || (host.list()[0].in_hand == 1).then_some(())).await;
    (host, broker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_hand_is_finished_and_published_before_the_host_stops() {
    let directory = tempfile::tempdir().unwrap();
    let (host, broker) = at_work(directory.path(), Duration::from_secs(60)).await;
    host.shutdown().await;
    assert!(host.ledger().known("hostile", "w1").await.unwrap().settled);
    assert_eq!(host.ledger().outbox(0, 10, Vec::new()).await.unwrap(), []);
    let groups = broker.operator().groups().await;
    let left: usize = groups.iter().map(|group| group.waiting + group.leased).sum();
    assert_eq!(left, 0, "it is acknowledged: {groups:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_takes_too_long_goes_back_to_its_group() {
    let directory = tempfile::tempdir().unwrap();
    let (host, broker) = at_work(directory.path(), Duration::ZERO).await;
    host.shutdown().await;
    assert!(!host.ledger().known("hostile", "w1").await.unwrap().settled);
    eventually("it waits for another member", async || {
        let groups = broker.operator().groups().await;
        groups.iter().any(|group| group.waiting == 1).then_some(())
    })
    .await;
}
