//! Whose work an event's id says it is, over groups, names and hosts.

use std::path::Path;

use foundry_host::bus::BrokerAddress;
use foundry_host::ledger::EventRow;
use foundry_host::supervisor::{BotSpec, Host, HostConfig};
use serde_json::json;

use crate::support::{eventually, id_of, introduce, publish, signed_as, spec};
use crate::{at, broker};

/// Two hosts on one broker that believe each other.
struct Hosts {
    directory: tempfile::TempDir,
    address: BrokerAddress,
    broker: foundry_broker::Broker,
    head: Host,
    builder: Host,
}

impl Hosts {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let broker = broker(directory.path(), |_| {}).await;
        let address = BrokerAddress::local(broker.address());
        let head = Host::start(named("head", directory.path(), &address)).await.unwrap();
        let state = |name: &str| directory.path().join(name);
        introduce("head", &state("head"), "all", &state("builder"));
        introduce("builder", &state("builder"), "all", &state("head"));
        let builder = Host::start(named("builder", directory.path(), &address)).await.unwrap();
        Self {
            directory,
            address,
            broker,
            head,
            builder,
        }
    }

    /// Publish an event on the topic that a guest reads.
    async fn send(&self, topic: &str, id: &str, what: &str) {
        let event = signed_as(
            "head",
            &self.directory.path().join("head"),
            topic,
            id,
            "test.order.v1",
            json!({ "do": what }),
        );
        publish(&self.address, &format!("foundry/{topic}"), event).await;
    }

    /// Events of a topic that a host has on record.
    async fn on(&self, topic: &str) -> Vec<EventRow> {
        let runs = self.head.ledger().runs(1000).await.unwrap();
        let events = runs.into_iter().flat_map(|run| run.events);
        events.filter(|event| event.topic == topic).collect()
    }

    async fn eventually_on(&self, topic: &str, count: usize) -> Vec<EventRow> {
        eventually(&format!("{count} events on {topic}"), async || {
            let events = self.on(topic).await;
            (events.len() == count).then_some(events)
        })
        .await
    }

    async fn stop(self) {
        self.head.shutdown().await;
        self.builder.shutdown().await;
        self.broker.stop().await;
    }
}

fn named(name: &str, directory: &Path, address: &BrokerAddress) -> HostConfig {
    HostConfig {
        name: name.to_owned(),
        ..at(&directory.join(name), address.clone())
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// A relay of a group, under a name.
fn relay(name: &str, group: &str) -> BotSpec {
    spec("relay").named(name).option("endpoint", group)
}

/// What follows the relays, on the head alone: it handles each event once.
fn downstream() -> BotSpec {
    relay("downstream", "downstream")
        .option("watch", "relay-out")
        .option("publish-to", "hostile-out")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_of_one_bot_name_on_two_hosts_both_get_through() {
    let hosts = Hosts::start().await;
    hosts.head.load(relay("build", "pub/build_amd64")).await.unwrap();
    hosts.builder.load(relay("build", "pub/build_i386")).await.unwrap();
    hosts.head.load(downstream()).await.unwrap();
    hosts.send("relay-in", "commit", "build").await;
    let built = hosts.eventually_on("relay-out", 2).await;
    assert_ne!(built[0].id, built[1].id);
    let mut sources: Vec<_> = built.iter().map(|event| event.source.as_str()).collect();
    sources.sort_unstable();
    assert_eq!(sources, ["builder/build", "head/build"]);
    // Neither counts as a repetition of the other one.
    let followed = hosts.eventually_on("hostile-out", 2).await;
    let mut causes: Vec<_> = followed.iter().filter_map(|event| event.cause.clone()).collect();
    causes.sort_unstable();
    let mut expected: Vec<_> = built.iter().map(|event| event.id.clone()).collect();
    expected.sort_unstable();
    assert_eq!(causes, expected);
    hosts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_in_one_group_give_one_id() {
    let hosts = Hosts::start().await;
    hosts.head.load(downstream()).await.unwrap();
    hosts.head.load(relay("build", "pub/build")).await.unwrap();
    hosts.send("relay-in", "commit", "build").await;
    let first = hosts.eventually_on("relay-out", 1).await;
    hosts.eventually_on("hostile-out", 1).await;
    hosts.head.stop("build").await.unwrap();
    // A host that knows nothing of the first time, as one would whose peer stays away for longer than it waits.
    hosts.builder.load(relay("build-2", "pub/build")).await.unwrap();
    hosts.send("relay-in", "commit", "build").await;
    // Its timer's tick, and the message.
    handled(&hosts.builder, "build-2", 2).await;
    let runs = hosts.builder.ledger().runs(1000).await.unwrap();
    let events = runs.into_iter().flat_map(|run| run.events);
    let ids: Vec<_> = events
        .filter(|event| event.topic == "relay-out")
        .map(|event| event.id)
        .collect();
    assert_eq!(ids, [first[0].id.clone()]);
    // Whatever comes later is handled after the repetition, which had no effect.
    hosts.send("relay-in", "later", "build").await;
    let followed = hosts.eventually_on("hostile-out", 2).await;
    assert_eq!(followed.iter().filter(|event| event.run == "run-commit").count(), 1);
    assert_eq!(hosts.on("relay-out").await.len(), 2);
    hosts.stop().await;
}

async fn handled(host: &Host, bot: &str, count: u64) {
    eventually(&format!("{bot} handles it"), async || {
        host.status(bot).ok().filter(|status| status.handled >= count).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_that_give_a_message_up_say_so_both() {
    let hosts = Hosts::start().await;
    let hostile = |group: &str| spec("hostile").option("endpoint", group);
    hosts.head.load(hostile("one")).await.unwrap();
    hosts.builder.load(hostile("other")).await.unwrap();
    hosts.send("hostile-in", "bad", "nothing that it knows").await;
    let failures = hosts.eventually_on("failures", 2).await;
    assert_ne!(failures[0].id, failures[1].id);
    hosts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_in_one_group_that_give_a_message_up_say_so_once() {
    let hosts = Hosts::start().await;
    let hostile = |name: &str| spec("hostile").named(name).option("endpoint", "one");
    hosts.head.load(hostile("first")).await.unwrap();
    hosts.send("hostile-in", "bad", "nothing that it knows").await;
    hosts.eventually_on("failures", 1).await;
    hosts.head.stop("first").await.unwrap();
    hosts.builder.load(hostile("second")).await.unwrap();
    hosts.send("hostile-in", "bad", "nothing that it knows").await;
    handled(&hosts.builder, "second", 1).await;
    hosts.send("hostile-in", "worse", "nothing that it knows").await;
    let failures = hosts.eventually_on("failures", 2).await;
    let mut causes: Vec<_> = failures.into_iter().filter_map(|event| event.cause).collect();
    causes.sort_unstable();
    let mut told = ["bad", "worse"].map(|name| id_of("hostile-in", name, "test.order.v1"));
    told.sort_unstable();
    assert_eq!(causes, told);
    hosts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_timer_counts_for_one_name_on_all_hosts_and_for_no_other() {
    let hosts = Hosts::start().await;
    let source = |name: &str| relay(name, name).option("first", "1");
    hosts.head.load(source("watch")).await.unwrap();
    hosts.builder.load(source("watch")).await.unwrap();
    // With the same key on the same topic, which would take the other one's id.
    hosts.head.load(source("thief")).await.unwrap();
    for (host, bot) in [
        (&hosts.head, "watch"),
        (&hosts.builder, "watch"),
        (&hosts.head, "thief"),
    ] {
        handled(host, bot, 1).await;
    }
    let events = hosts.eventually_on("relay-out", 2).await;
    let sources: Vec<_> = events.iter().map(|event| event.source.as_str()).collect();
    assert!(
        sources[0].ends_with("/watch") || sources[1].ends_with("/watch"),
        "{sources:?}"
    );
    assert!(sources.contains(&"head/thief"), "{sources:?}");
    hosts.stop().await;
}
