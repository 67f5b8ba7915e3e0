//! A host whose clock is not the broker's.

use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::Host;

use crate::proxy::Proxy;
use crate::support::{eventually, publish, spec};
use crate::waiting::order;
use crate::{at, broker};

const MINUTE: i64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_clock_is_wrong_says_so_and_takes_no_work_until_it_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let proxy = Proxy::start(broker.address()).await;
    let host = Host::start(at(directory.path(), BrokerAddress::local(proxy.address)))
        .await
        .unwrap();
    host.load(spec("hostile")).await.unwrap();
    // Seen from here, a broker that is behind is a clock of ours that is ahead.
    proxy.shift_time(-10 * MINUTE);
    proxy.close();
    let trouble = eventually("the host says so", async || host.clock_trouble()).await;
    assert!(trouble.contains("10 min ahead of the broker's"), "{trouble}");
    eventually("the list says why the bot does nothing", async || {
        let detail = host.status("hostile").ok()?.detail?;
        detail.contains("10 min ahead").then_some(())
    })
    .await;
    let order = order(directory.path(), "m", "done");
    publish(&BrokerAddress::local(broker.address()), "foundry/hostile-in", order).await;
    let operator = broker.operator();
    eventually("the message waits, and nobody has it", async || {
        let groups = operator.groups().await;
        let group = groups.into_iter().find(|group| group.name == "hostile")?;
        ((group.members, group.waiting, group.leased) == (0, 1, 0)).then_some(())
    })
    .await;
    assert_eq!(host.status("hostile").unwrap().handled, 0);
    // No connection has to break for that: the host asks.
    proxy.shift_time(0);
    eventually("the bot works when the clock is right", async || {
        (host.clock_trouble().is_none() && host.status("hostile").ok()?.handled == 1).then_some(())
    })
    .await;
    host.shutdown().await;
    broker.stop().await;
}
