//! Presence that is not its host's word, or no longer: what it changes in the list of bots, and in who is waited for.

use std::path::{Path, PathBuf};

use foundry_host::bus::BrokerAddress;
use foundry_host::keys::KeyStore;
use foundry_host::supervisor::{Host, HostConfig};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::clones::Process;
use crate::mosquitto::Mosquitto;
use crate::presence::{Victim, status_becomes};
use crate::support::{changed, event, eventually, introduce, publish, signer, spec};
use crate::witness::Witness;
use crate::{at, broker};

/// The bots of one host that others keep.
const MOST_OF_HOST: usize = 256;

/// Keep a message at the broker.
async fn retain(broker: &BrokerAddress, topic: &str, payload: Vec<u8>) {
    let options = MqttOptions::new("retainer", &broker.host, broker.port);
    let (client, mut events) = AsyncClient::new(options, 10);
    let topic = format!("foundry/{topic}");
    client.publish(topic, QoS::AtLeastOnce, true, payload).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
}

/// A host that looks on, with what some other hosts may say of themselves.
struct World {
    directory: tempfile::TempDir,
    address: BrokerAddress,
    host: Host,
    markers: std::cell::Cell<u64>,
}

/// A bot, as it presents itself.
fn bot(host: &str, name: &str, status: &str, turn: u64) -> Value {
    json!({
        "host": host, "bot": name, "component": "c", "status": status, "group": "g", "since": "2026-11-30T12:00:00Z",
        "began": 1_700_000_000, "start": 7, "turn": turn,
    })
}

impl World {
    /// A host that knows `builder` and `other`.
    async fn start(address: BrokerAddress) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for known in ["builder", "other"] {
            introduce(known, &directory.path().join(known), "all", directory.path());
        }
        let host = Host::start(at(directory.path(), address.clone())).await.unwrap();
        let world = Self {
            directory,
            address,
            host,
            markers: std::cell::Cell::new(100),
        };
        world.settled().await;
        world
    }

    fn state(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Presence on a topic, said by a host and signed with the key of a state directory.
    fn signed(&self, topic: &str, says: &str, key_of: &str, data: Value) -> Vec<u8> {
        let word = event(topic, "p1", "foundry.bot-presence.v1", data);
        let word = changed(word, |word| word.source = format!("{says}/bot"));
        word.sign(&signer(&self.state(key_of))).unwrap()
    }

    /// A host presents a bot of its own.
    async fn present(&self, host: &str, name: &str, status: &str, turn: u64) {
        let topic = format!("bots/{host}/{name}");
        let word = self.signed(&topic, host, host, bot(host, name, status, turn));
        publish(&self.address, &format!("foundry/{topic}"), word).await;
    }

    /// Wait until everything that was published before has been taken in.
    async fn settled(&self) {
        let turn = self.markers.get();
        self.markers.set(turn + 1);
        let component = format!("marker-{turn}");
        let mut marker = bot("other", "marker", "running", turn);
        marker["component"] = json!(component);
        marker["group"] = Value::Null;
        let word = self.signed("bots/other/marker", "other", "other", marker);
        // Kept, for a host that has not subscribed yet.
        retain(&self.address, "bots/other/marker", word).await;
        eventually("the marker is seen", async || {
            let mut everyone = self.host.everyone().into_iter();
            everyone.any(|bot| bot.component == component).then_some(())
        })
        .await;
    }

    /// The bots that are listed, without the marker.
    fn listed(&self) -> Vec<String> {
        let everyone = self.host.everyone().into_iter().filter(|bot| bot.bot != "marker");
        everyone
            .map(|bot| format!("{}/{} {}", bot.host, bot.bot, bot.status))
            .collect()
    }

    async fn waited_for(&self, group: &str) -> Vec<String> {
        self.host
            .ledger()
            .peers(group, OffsetDateTime::now_utc())
            .await
            .unwrap()
    }
}

async fn forged_presence_changes_nothing(address: BrokerAddress) {
    let world = World::start(address).await;
    signer(&world.state("stranger"));
    for (name, turn) in [("stopped", 1), ("works", 2)] {
        world.present("builder", name, "running", turn).await;
    }
    world.present("builder", "stopped", "gone", 3).await;
    world.settled().await;
    let topic = "bots/builder/works";
    let gone = bot("builder", "works", "gone", 9);
    let offline = bot("builder", "works", "offline", 9);
    let invented = bot("builder", "invented", "running", 9);
    let unsigned = |data: &Value| data.to_string().into_bytes();
    let older_start = json!({ "began": 1_699_000_000, "start": 6 });
    let mut of_older_start = bot("builder", "invented", "running", 9);
    of_older_start
        .as_object_mut()
        .unwrap()
        .extend(older_start.as_object().unwrap().clone());
    for (what, topic, payload) in [
        ("a removal", topic, Vec::new()),
        ("no JSON", topic, b"{".to_vec()),
        ("the form of older versions", topic, unsigned(&offline)),
        (
            "the same of a bot that is none",
            "bots/builder/invented",
            unsigned(&invented),
        ),
        (
            "an unknown key",
            topic,
            world.signed(topic, "builder", "stranger", gone.clone()),
        ),
        (
            "another host's key",
            topic,
            world.signed(topic, "builder", "other", gone.clone()),
        ),
        (
            "another host",
            topic,
            world.signed(topic, "other", "other", gone.clone()),
        ),
        (
            "another bot's topic",
            topic,
            world.signed("bots/builder/invented", "builder", "builder", invented.clone()),
        ),
        (
            "a bot of another host in its data",
            "bots/other/works",
            world.signed("bots/other/works", "other", "other", offline.clone()),
        ),
        (
            "a word from before",
            topic,
            world.signed(topic, "builder", "builder", bot("builder", "works", "gone", 1)),
        ),
        (
            "the will of an earlier connection",
            topic,
            world.signed(topic, "builder", "builder", bot("builder", "works", "offline", 1)),
        ),
        (
            "what a bot said before it was stopped",
            "bots/builder/stopped",
            world.signed(
                "bots/builder/stopped",
                "builder",
                "builder",
                bot("builder", "stopped", "running", 1),
            ),
        ),
        (
            "a bot of an earlier start",
            "bots/builder/invented",
            world.signed("bots/builder/invented", "builder", "builder", of_older_start),
        ),
    ] {
        publish(&world.address, &format!("foundry/{topic}"), payload).await;
        world.settled().await;
        assert_eq!(world.listed(), ["builder/works running"], "{what}");
        assert_eq!(world.waited_for("g").await, ["builder"], "{what}");
    }
    world.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_replayed_presence_changes_neither_the_list_nor_who_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    forged_presence_changes_nothing(BrokerAddress::local(broker.address())).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_replayed_presence_changes_nothing_with_mosquitto() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    forged_presence_changes_nothing(mosquitto.address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_known_fills_no_more_than_its_share_of_the_list_and_of_the_groups() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let world = World::start(BrokerAddress::local(broker.address())).await;
    let flood = MOST_OF_HOST as u64 + 50;
    for number in 1..=flood {
        let name = format!("x{number}");
        let topic = format!("bots/builder/{name}");
        let mut data = bot("builder", &name, "running", number);
        data["group"] = json!(format!("g{number}"));
        let word = world.signed(&topic, "builder", "builder", data);
        publish(&world.address, &format!("foundry/{topic}"), word).await;
    }
    world.present("other", "late", "running", 1).await;
    world.settled().await;
    let listed = world.listed();
    assert_eq!(listed.len(), MOST_OF_HOST + 1, "{listed:?}");
    for kept in ["builder/x1 running", "other/late running"] {
        assert!(listed.iter().any(|bot| bot == kept), "{kept}");
    }
    assert_eq!(world.waited_for("g1").await, ["builder"]);
    assert_eq!(world.waited_for(&format!("g{flood}")).await, [""; 0]);
    world.host.shutdown().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_of_an_unknown_host_are_left_out_until_its_key_is_there_and_again_once_it_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let world = World::start(BrokerAddress::local(broker.address())).await;
    let key = signer(&world.state("newcomer")).fingerprint();
    world.present("newcomer", "build", "running", 1).await;
    world.settled().await;
    assert_eq!(world.listed(), [""; 0]);
    assert_eq!(world.waited_for("g").await, [""; 0]);
    let left_out = world.host.left_out();
    assert_eq!((left_out.bots, left_out.more), (1, false));
    let help = "foundry-host key import --role messages --host newcomer --may DUTY FILE";
    assert!(left_out.reasons[0].contains(help), "{left_out:?}");

    introduce("newcomer", &world.state("newcomer"), "build", world.directory.path());
    eventually("it is listed and waited for, without saying it again", async || {
        let is_listed = world.listed() == ["newcomer/build running"];
        (is_listed && world.waited_for("g").await == ["newcomer"]).then_some(())
    })
    .await;
    assert_eq!(world.host.left_out().bots, 0);

    let keys = KeyStore::open(world.directory.path().join("keys")).unwrap();
    keys.remove(&key.to_string()).unwrap();
    eventually("it is neither listed nor waited for", async || {
        (world.listed().is_empty() && world.waited_for("g").await.is_empty()).then_some(())
    })
    .await;
    world.host.shutdown().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_take_all_room_keep_no_host_out_once_its_key_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let world = World::start(BrokerAddress::local(broker.address())).await;
    signer(&world.state("stranger"));
    for number in 0..300 {
        let name = format!("x{number}");
        let topic = format!("bots/stranger/{name}");
        let word = world.signed(&topic, "stranger", "stranger", bot("stranger", &name, "running", 1));
        publish(&world.address, &format!("foundry/{topic}"), word).await;
    }
    signer(&world.state("newcomer"));
    let word = bot("newcomer", "build", "running", 1);
    let word = world.signed("bots/newcomer/build", "newcomer", "newcomer", word);
    retain(&world.address, "bots/newcomer/build", word).await;
    world.settled().await;
    let left_out = world.host.left_out();
    assert!(left_out.more, "{left_out:?}");
    introduce("newcomer", &world.state("newcomer"), "build", world.directory.path());
    eventually("the newcomer is listed, without saying it again", async || {
        (world.listed() == ["newcomer/build running"]).then_some(())
    })
    .await;
    world.host.shutdown().await;
    broker.stop().await;
}

/// The last message of a topic as the broker keeps it.
async fn kept(broker: &BrokerAddress, topic: &str) -> Option<Value> {
    let witness = Raw::start(broker, topic).await;
    witness.first().await
}

/// What a broker keeps of one topic, byte for byte.
struct Raw {
    client: AsyncClient,
    events: rumqttc::v5::EventLoop,
}

impl Raw {
    async fn start(broker: &BrokerAddress, topic: &str) -> Self {
        let options = MqttOptions::new("raw-witness", &broker.host, broker.port);
        let (client, events) = AsyncClient::new(options, 10);
        client
            .subscribe(format!("foundry/{topic}"), QoS::AtLeastOnce)
            .await
            .unwrap();
        Self { client, events }
    }

    /// What is kept; what comes before the answer to a message of its own was kept.
    async fn first(mut self) -> Option<Value> {
        loop {
            match self.events.poll().await.unwrap() {
                Event::Incoming(Packet::Publish(publish)) => return serde_json::from_slice(&publish.payload).ok(),
                Event::Incoming(Packet::SubAck(_)) => {
                    self.client
                        .publish("foundry/end", QoS::AtLeastOnce, false, "")
                        .await
                        .unwrap();
                }
                Event::Incoming(Packet::PubAck(_)) => return None,
                _ => {}
            }
        }
    }
}

/// Whoever starts later sees only what the broker keeps.
async fn a_newcomer_sees(address: &BrokerAddress, of: &str, state_of: &Path, status: &str) {
    let directory = tempfile::tempdir().unwrap();
    introduce(of, state_of, "all", directory.path());
    let newcomer = HostConfig {
        name: "newcomer".to_owned(),
        ..at(directory.path(), address.clone())
    };
    let newcomer = Host::start(newcomer).await.unwrap();
    status_becomes(&newcomer, of, status).await;
    newcomer.shutdown().await;
}

async fn an_old_will_is_put_right(address: BrokerAddress) {
    let world = World::start(address.clone()).await;
    let victim_state = world.state("victim");
    introduce("victim", &victim_state, "all", world.directory.path());
    let topic = "bots/victim/relay";
    let mut victim = Victim::start(world.directory.path(), address.port, "relay");
    status_becomes(&world.host, "victim", "running").await;
    victim.0.kill().unwrap();
    victim.0.wait().unwrap();
    status_becomes(&world.host, "victim", "offline").await;
    let will = kept(&address, topic).await.unwrap();
    assert_eq!(will["data"]["status"], "offline");
    let _victim = Victim::start(world.directory.path(), address.port, "relay");
    status_becomes(&world.host, "victim", "running").await;

    for forged in [will.to_string().into_bytes(), Vec::new(), b"{}".to_vec()] {
        retain(&address, topic, forged).await;
        world.settled().await;
        assert_eq!(world.listed(), ["victim/relay running"]);
        eventually("the broker keeps the host's own word again", async || {
            let kept = kept(&address, topic).await?;
            (kept["data"]["status"] == "running").then_some(())
        })
        .await;
    }
    a_newcomer_sees(&address, "victim", &victim_state, "running").await;
    world.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_host_puts_its_presence_right_when_an_old_will_is_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    an_old_will_is_put_right(BrokerAddress::local(broker.address())).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_host_puts_its_presence_right_with_mosquitto() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    an_old_will_is_put_right(mosquitto.address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_left_keeps_no_host_waiting_and_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let online = json!({ "host": "builder", "status": "online", "version": "0.1.0" });
    let left = bot("builder", "left", "offline", 0);
    retain(&address, "hosts/builder", online.to_string().into_bytes()).await;
    retain(&address, "bots/builder/left", left.to_string().into_bytes()).await;
    let host = Process::with_bots(directory.path(), "state", address.port, &[], "");
    host.says("is ready").await;
    assert!(!host.said().contains("waiting for the broker"), "{}", host.said());
    eventually(
        "the broker keeps the host's signed presence, and none of the bot",
        async || {
            let itself = kept(&address, "hosts/builder").await?;
            let is_signed = itself["data"]["status"] == "online" && itself["signature"].is_string();
            (is_signed && kept(&address, "bots/builder/left").await.is_none()).then_some(())
        },
    )
    .await;
    drop(host);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_was_stopped_leaves_nothing_at_the_broker() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let witness = Witness::start(&address).await;
    let host = Host::start(at(directory.path(), address.clone())).await.unwrap();
    host.load(spec("relay")).await.unwrap();
    status_becomes(&host, "test", "running").await;
    host.stop("relay").await.unwrap();
    eventually("it took its leave", async || {
        let said = witness.of("bots/test/relay");
        let statuses: Vec<_> = said.iter().map(|said| said["status"].as_str()).collect();
        (statuses == [Some("running"), Some("gone"), None]).then_some(())
    })
    .await;
    assert_eq!(kept(&address, "bots/test/relay").await, None);
    assert_eq!(host.everyone(), []);
    host.shutdown().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_said_nothing_new_for_longer_than_events_last_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let world = World::start(BrokerAddress::local(broker.address())).await;
    let topic = "bots/builder/build";
    let word = event(
        topic,
        "p1",
        "foundry.bot-presence.v1",
        bot("builder", "build", "running", 1),
    );
    let word = changed(word, |word| {
        word.source = "builder/build".to_owned();
        word.time = "2026-01-01T00:00:00Z".to_owned();
    });
    let word = word.sign(&signer(&world.state("builder"))).unwrap();
    publish(&world.address, &format!("foundry/{topic}"), word).await;
    world.settled().await;
    assert_eq!(world.listed(), ["builder/build running"]);
    world.host.shutdown().await;
    broker.stop().await;
}
