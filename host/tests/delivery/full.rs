//! A host whose disk is full.

use foundry_host::bus::BrokerAddress;
use foundry_host::retention::Limits;
use foundry_host::supervisor::{Host, HostConfig, Level};

use crate::support::{eventually, publish, spec};
use crate::waiting::order;
use crate::{at, broker};

/// What a group of that name has: members, messages that wait, and messages that somebody has.
async fn group(operator: &foundry_broker::Operator, name: &str) -> Option<(usize, usize, usize)> {
    let group = operator.groups().await.into_iter().find(|group| group.name == name)?;
    Some((group.members, group.waiting, group.leased))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_builds_takes_no_work_while_the_disk_is_full_and_the_others_do() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let operator = broker.operator();
    let config = HostConfig {
        retention: Limits {
            // No disk has as much.
            warn_free: Some(u64::MAX),
            stop_free: Some(u64::MAX),
            ..Limits::default()
        },
        ..at(directory.path(), BrokerAddress::local(broker.address()))
    };
    let host = Host::start(config).await.unwrap();
    assert_eq!(host.disk().unwrap().level, Level::Full);
    // Each with a group of its own.
    let packer = || spec("hostile").named("packer").option("endpoint", "packer");
    let mut builds = packer();
    builds.grants.build = true;
    host.load(builds).await.unwrap();
    let why = eventually("the list says why it does nothing", async || {
        host.status("packer").ok()?.detail
    })
    .await;
    assert!(why.contains("retention.stop-free"), "{why}");
    assert_eq!(host.inabilities(), [format!("builds: {why}")]);
    host.load(spec("hostile").named("others")).await.unwrap();
    assert!(operator.create_group("$share/packer/foundry/hostile-in").await);
    let order = order(directory.path(), "m", "done");
    publish(&BrokerAddress::local(broker.address()), "foundry/hostile-in", order).await;
    eventually("the other bot goes on", async || {
        (host.status("others").ok()?.handled == 1).then_some(())
    })
    .await;
    assert_eq!(
        group(&operator, "packer").await,
        Some((0, 1, 0)),
        "it waits for whoever has room"
    );
    assert_eq!(host.status("packer").unwrap().handled, 0);
    host.shutdown().await;
    // It holds the state directory as long as it is there.
    drop(host);
    // There is room again, as far as this start goes.
    let host = Host::start(at(directory.path(), BrokerAddress::local(broker.address())))
        .await
        .unwrap();
    host.load(packer()).await.unwrap();
    eventually("it is handled then", async || {
        (host.status("packer").ok()?.handled == 1).then_some(())
    })
    .await;
    host.shutdown().await;
    broker.stop().await;
}
