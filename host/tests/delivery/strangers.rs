//! Hosts that do not know each other's keys.

use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::Host;

use crate::clones::Process;
use crate::presence::status_becomes;
use crate::support::{eventually, introduce, signer};
use crate::waiting::{load, order, publish_again};
use crate::{at, broker};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_believed_is_named_once_with_the_command_that_helps() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let host = Host::start(at(directory.path(), address.clone())).await.unwrap();
    load(&host).await;
    let component = foundry_test_guests::path("hostile");
    let bots = format!(
        "[bots.hostile]\nuse = {component:?}\n[bots.hostile.grants]\nartifacts = true\nread = [\"#@#\"]\npublish = [\"#\"]\n"
    );
    let stranger = Process::with_bots(directory.path(), "stranger", address.port, &[], &bots);
    // This one believes the other one, and asks it; it is not believed itself.
    stranger.says("is ready").await;
    introduce("builder", &directory.path().join("stranger"), "all", directory.path());
    status_becomes(&host, "builder", "running").await;
    let number = std::sync::atomic::AtomicU32::new(0);
    // The host asks the other one about each message that comes to it, and may have been there before.
    eventually("the other host says what helps", async || {
        let id = format!("m{}", number.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        publish_again(&address, order(directory.path(), &id, "done")).await;
        stranger
            .said()
            .contains("foundry-host key import --role messages --host test --may DUTY FILE")
            .then_some(())
    })
    .await;
    let key = signer(directory.path()).fingerprint();
    let said = stranger.said();
    let warnings: Vec<_> = said
        .lines()
        .filter(|line| line.contains("refused what another host says"))
        .collect();
    assert_eq!(warnings.len(), 1, "{said}");
    let [warning] = warnings.try_into().unwrap();
    let names_key = warning.to_lowercase().contains(&key.to_string()[24..]);
    assert!(names_key, "{key}: {warning}");
    drop(stranger);
    host.shutdown().await;
    broker.stop().await;
}
