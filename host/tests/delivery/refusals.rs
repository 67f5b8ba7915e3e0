//! Brokers that refuse what a host publishes.

use std::process::{Command, Stdio};

use foundry_host::bus::BrokerAddress;
use foundry_host::ledger::{DeadLetterKind, OutboxLimits};
use foundry_host::supervisor::Host;
use rustix::process::Signal;

use crate::mosquitto::Mosquitto;
use crate::support::{eventually, spec};
use crate::{at, broker, load_source, with_source};

async fn outbox_drains(host: &Host) {
    let level = host.ledger().outbox_level();
    eventually("the outbox drains", async || {
        (level.borrow().size.rows <= host.publisher().kept).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_never_allows_is_a_dead_letter_and_holds_up_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let acl = directory.path().join("acl");
    std::fs::write(&acl, "topic readwrite foundry/#\ntopic deny foundry/secret\n").unwrap();
    let mosquitto = Mosquitto::start(directory.path(), &format!("acl_file {}\n", acl.display()));
    let mut config = at(directory.path(), mosquitto.address());
    config.observe = vec!["secret".to_owned(), "open".to_owned()];
    let host = with_source(config, "secret", 2).await;
    load_source(&host, "open", 3).await;
    let letters = eventually("both are dead letters", async || {
        let letters = host.ledger().dead_letters().await.unwrap();
        (letters.len() == 2).then_some(letters)
    })
    .await;
    for letter in &letters {
        assert_eq!(
            (letter.kind, letter.topic.as_str()),
            (DeadLetterKind::Outbox, "foundry/secret")
        );
        assert!(letter.reason.contains("does not allow"), "{}", letter.reason);
        assert!(letter.id.is_some() && letter.bot == "source-secret");
    }
    outbox_drains(&host).await;

    // The operator corrects the broker, and has them published.
    std::fs::write(&acl, "topic readwrite foundry/#\n").unwrap();
    mosquitto.signal(Signal::HUP);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    for letter in letters {
        assert!(host.ledger().requeue_dead_letter(letter.seq).await.unwrap());
    }
    outbox_drains(&host).await;
    assert_eq!(host.ledger().dead_letters().await.unwrap(), []);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_larger_than_the_broker_takes_is_a_dead_letter() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "max_packet_size 2000\n");
    let host = Host::start(at(directory.path(), mosquitto.address())).await.unwrap();
    let source = spec("source").option("total", "1").option("pad", "3000");
    host.load(source).await.unwrap();
    let letter = eventually("a dead letter", async || {
        host.ledger().dead_letters().await.unwrap().pop()
    })
    .await;
    assert!(
        letter.reason.contains("the broker takes 2000 at most"),
        "{}",
        letter.reason
    );
    let concerns = host.concerns();
    assert!(
        concerns.iter().any(|concern| concern.contains("max_packet_size")),
        "{concerns:?}"
    );
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_group_makes_bots_wait_and_loses_nothing() {
    const JOBS: usize = 60;
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |config| config.limits.group_messages = 10).await;
    let address = BrokerAddress::local(broker.address());
    let port = address.port.to_string();
    let worker = |count: &str| {
        let mut worker = Command::new("mosquitto_sub");
        worker.args([
            "-V",
            "5",
            "-p",
            &port,
            "-q",
            "1",
            "-t",
            "$share/workers/foundry/jobs",
            "-C",
            count,
        ]);
        worker.stdin(Stdio::null());
        worker
    };
    // The group exists from its first member on, who soon leaves.
    let mut first = worker("1");
    first.args(["-W", "1"]).output().unwrap();
    assert_eq!(broker.operator().groups().await.len(), 1);

    let mut config = at(directory.path(), address);
    config.messages.outbox = OutboxLimits {
        rows: 20,
        bytes: u64::MAX,
    };
    let host = with_source(config, "jobs", JOBS as u32).await;
    let level = host.ledger().outbox_level();
    eventually("bots have to wait", async || level.borrow().full.then_some(())).await;
    eventually("the reason is shown", async || {
        host.publisher().trouble.filter(|trouble| trouble.contains("quota"))
    })
    .await;
    load_source(&host, "elsewhere", 1).await;

    let count = JOBS.to_string();
    let output = tokio::task::spawn_blocking({
        let mut worker = worker(&count);
        worker.args(["-W", "60"]);
        move || worker.output().unwrap()
    })
    .await
    .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut numbers: Vec<_> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["data"]["n"]
                .as_u64()
                .unwrap()
        })
        .collect();
    // While the group drains, a later event may get in before one that is tried again.
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), JOBS);
    eventually("bots go on", async || (!level.borrow().full).then_some(())).await;
    assert_eq!(host.ledger().dead_letters().await.unwrap(), []);
    host.shutdown().await;
}
