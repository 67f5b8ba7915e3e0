//! Whose session a bot's or a host's is.

use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::{Host, HostConfig};

use crate::support::{config, eventually, introduce, owner_of, publish, signed_as, spec};
use crate::witness::Witness;
use crate::{at, broker};

/// Messages that a bot handles one after the other while nobody may be cut off: as many as two clients with one identifier
/// never get through.
const ORDERS: u64 = 20;

/// Have bots of the test's guest `hostile` handle messages of a host with that state, each of them all.
async fn work(address: &BrokerAddress, (name, state): (&str, &std::path::Path), bots: &[(&Host, &str)]) {
    for number in 1..=ORDERS {
        let order = signed_as(
            name,
            state,
            "hostile-in",
            &format!("order-{number}"),
            "test.order.v1",
            serde_json::json!({ "do": "done" }),
        );
        publish(address, "foundry/hostile-in", order).await;
        for (host, bot) in bots {
            eventually(&format!("{bot} handles message {number}"), async || {
                let status = host.status(bot).ok()?;
                (status.handled >= number).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_called_publisher_does_not_cut_its_host_off() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(config(directory.path())).await.unwrap();
    let owner = owner_of(directory.path(), host.broker().port);
    // Another part is called `peers`, and a topic of the hosts is: no bot from a file may be.
    let parts = ["publisher", "observer", "onlooker", "host"];
    let witness = Witness::start(&owner).await;
    for part in parts {
        host.load(spec("hostile").named(part).option("endpoint", part))
            .await
            .unwrap();
    }
    work(&owner, ("test", directory.path()), &parts.map(|part| (&host, part))).await;
    assert_eq!(witness.saw("offline"), Vec::<String>::new());
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_a_with_bot_b_c_is_not_host_a_b_with_bot_c() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let witness = Witness::start(&address).await;
    let named = |name: &str| HostConfig {
        name: name.to_owned(),
        ..at(&directory.path().join(name), address.clone())
    };
    let first = Host::start(named("a")).await.unwrap();
    introduce("a", &directory.path().join("a"), "all", &directory.path().join("a-b"));
    let second = Host::start(named("a-b")).await.unwrap();
    first
        .load(spec("hostile").named("b-c").option("endpoint", "one"))
        .await
        .unwrap();
    second
        .load(spec("hostile").named("c").option("endpoint", "other"))
        .await
        .unwrap();
    work(
        &address,
        ("a", &directory.path().join("a")),
        &[(&first, "b-c"), (&second, "c")],
    )
    .await;
    assert_eq!(witness.saw("offline"), Vec::<String>::new());
    first.shutdown().await;
    second.shutdown().await;
    broker.stop().await;
}
