//! Hosts that are told to stop while messages are in hand.

use std::time::{Duration, Instant};

use foundry_host::bus::BrokerAddress;
use foundry_host::config::Config;
use foundry_host::control::{Answer, Client, Request, Service};
use foundry_host::supervisor::Host;
use serde_json::json;

use crate::support::{eventually, id_of, publish, signed, signed_as, spec};
use crate::{at, broker};

async fn is_settled(host: &Host) -> bool {
    let id = id_of("hostile-in", "w1", "test.order.v1");
    host.ledger().known("hostile", &id).await.unwrap().settled
}

/// A host whose bot has work in hand that takes a while, and its broker.
async fn at_work(directory: &std::path::Path, drain: Duration) -> (Host, foundry_broker::Broker) {
    let broker = broker(directory, |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let mut config = at(directory, address.clone());
    config.drain = drain;
    let host = Host::start(config).await.unwrap();
    host.load(spec("hostile")).await.unwrap();
    let order = signed(directory, "hostile-in", "w1", "test.order.v1", json!({ "do": "work" }));
    publish(&address, "foundry/hostile-in", order).await;
    eventually("it is at work", async || (host.list()[0].in_hand == 1).then_some(())).await;
    (host, broker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_hand_is_finished_and_published_before_the_host_stops() {
    let directory = tempfile::tempdir().unwrap();
    let (host, broker) = at_work(directory.path(), Duration::from_secs(60)).await;
    host.shutdown().await;
    assert!(is_settled(&host).await);
    assert_eq!(host.ledger().outbox(0, 10, Vec::new()).await.unwrap(), []);
    let groups = broker.operator().groups().await;
    let left: usize = groups.iter().map(|group| group.waiting + group.leased).sum();
    assert_eq!(left, 0, "it is acknowledged: {groups:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_a_drain_that_takes_longer_than_a_host_may_be_silent() {
    let directory = tempfile::tempdir().unwrap();
    let drain = Duration::from_secs(8);
    let file = directory.path().join("foundry.toml");
    std::fs::write(
        &file,
        "[host]\nname = \"slow\"\ndrain = \"8s\"\n[broker]\nlisten = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let service = Service::start(&Config::read(&file).unwrap(), directory.path())
        .await
        .unwrap();
    let host = service.host().clone();
    // Less than the drain, and more than a heartbeat.
    let patience = Duration::from_secs(7);
    let client = Client::new(directory.path()).with_patience(patience);
    client.ask(Request::Load(Box::new(spec("hostile")))).await.unwrap();
    for (id, request) in [
        ("loop-1", Request::Replace(Box::new(spec("hostile")))),
        (
            "loop-2",
            Request::Stop {
                bot: "hostile".to_owned(),
                component: None,
            },
        ),
    ] {
        let order = signed_as(
            "slow",
            directory.path(),
            "hostile-in",
            id,
            "test.order.v1",
            json!({ "do": "loop" }),
        );
        publish(host.broker(), "foundry/hostile-in", order).await;
        eventually("it is at work", async || (host.list()[0].in_hand == 1).then_some(())).await;
        let begun = Instant::now();
        client.ask(request).await.unwrap();
        assert!(begun.elapsed() >= drain, "it was drained: {:?}", begun.elapsed());
    }
    let Answer::Status(status) = client.ask(Request::Status).await.unwrap() else {
        panic!("that is no status")
    };
    assert_eq!(status.drain, 8, "`shutdown` waits for it as well");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_takes_too_long_goes_back_to_its_group() {
    let directory = tempfile::tempdir().unwrap();
    let (host, broker) = at_work(directory.path(), Duration::ZERO).await;
    host.shutdown().await;
    assert!(!is_settled(&host).await);
    eventually("it waits for another member", async || {
        let groups = broker.operator().groups().await;
        groups.iter().any(|group| group.waiting == 1).then_some(())
    })
    .await;
}
