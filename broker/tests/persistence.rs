//! Retained messages and lasting sessions, over a SIGKILL of the broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::process::{Process, start_limited};
use support::v4::{self, V4};
use support::v5::{V5, connect, message, resume};

const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;
const HOUR: u32 = 3600;

/// A broker that is killed and started again on the same data.
struct Phoenix {
    directory: tempfile::TempDir,
    process: Option<Process>,
}

impl Phoenix {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = Some(Process::start(directory.path()));
        Self { directory, process }
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn rise(&mut self) {
        self.process = Some(Process::start(self.directory.path()));
    }

    fn kill_and_rise(&mut self) {
        self.kill();
        self.rise();
    }

    fn client(&self, id: &str) -> V5 {
        V5::new(self.process.as_ref().unwrap().address, id)
    }

    /// A client with a session that lasts; was there one?
    fn lasting(&self, id: &str) -> (V5, bool) {
        let (client, ack) = V5::with(self.process.as_ref().unwrap().address, resume(id, HOUR));
        (client, ack.session_present)
    }

    /// A client whose session lasts and has a subscription, gone again.
    fn away(&self, id: &str, filter: &str, qos: QoS) {
        let (mut client, _) = self.lasting(id);
        client.subscribe(filter, qos);
        client.die();
    }

    #[track_caller]
    fn publish(&self, topic: &str, qos: QoS, payload: &str) {
        let reason = self.client("publisher").publish(message(topic, qos, payload));
        assert_eq!(reason, PubAckReason::Success);
    }
}

fn retained(topic: &str, qos: QoS, payload: &str) -> Publish {
    Publish {
        retain: true,
        ..message(topic, qos, payload)
    }
}

fn payloads(client: &mut V5, count: usize) -> Vec<String> {
    let publishes: Vec<Publish> = (0..count).map(|_| client.recv_publish()).collect();
    publishes.iter().for_each(|publish| client.finish(publish));
    let payload = |publish: Publish| String::from_utf8(publish.payload.to_vec()).unwrap();
    publishes.into_iter().map(payload).collect()
}

#[test]
fn retained_messages_survive_a_kill_and_deleted_ones_do_not_come_back() {
    let mut broker = Phoenix::new();
    let mut publisher = broker.client("publisher");
    let properties = PublishProperties {
        user_properties: vec![("colour".to_owned(), "blue".to_owned())],
        ..PublishProperties::default()
    };
    for (topic, payload) in [("kept/1", "old"), ("kept/1", "one"), ("gone/1", "x"), ("gone/1", "")] {
        let publish = Publish {
            properties: Some(properties.clone()),
            ..retained(topic, Q1, payload)
        };
        assert_eq!(publisher.publish(publish), PubAckReason::Success);
    }
    assert_eq!(publisher.publish(retained("kept/2", Q2, "two")), PubAckReason::Success);
    broker.kill_and_rise();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("#", Q2);
    let mut got: Vec<Publish> = (0..2).map(|_| subscriber.take()).collect();
    got.sort_by_key(|publish| publish.topic.clone());
    let seen = got
        .iter()
        .map(|publish| (&*publish.payload, publish.qos, publish.retain));
    assert_eq!(seen.collect::<Vec<_>>(), [(&b"one"[..], Q1, true), (b"two", Q2, true)]);
    assert_eq!(
        got[0].properties.as_ref().unwrap().user_properties,
        properties.user_properties
    );
    subscriber.expect_silence();
}

#[test]
fn messages_that_wait_for_a_client_that_is_away_survive_a_kill() {
    let mut broker = Phoenix::new();
    broker.away("five", "mail/#", Q2);
    let address = broker.process.as_ref().unwrap().address;
    let mut old = V4::with(address, v4::connect("four", false)).0;
    old.subscribe("mail/+", rumqttc::QoS::AtLeastOnce);
    old.die();
    for number in 0..10 {
        let qos = [Q1, Q2][number % 2];
        broker.publish("mail/x", qos, &number.to_string());
    }
    // What is not acknowledged by the client may be lost: QoS 0 is, while it is away.
    broker.publish("mail/x", QoS::AtMostOnce, "unpromised");
    broker.kill_and_rise();
    let expected: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let (mut client, present) = broker.lasting("five");
    assert!(present);
    assert_eq!(payloads(&mut client, 10), expected);
    client.expect_silence();
    let address = broker.process.as_ref().unwrap().address;
    let (mut old, ack) = V4::with(address, v4::connect("four", false));
    assert!(ack.session_present);
    for payload in &expected {
        assert_eq!(old.take().payload, payload);
    }
    // The subscriptions still stand.
    broker.publish("mail/y", Q1, "later");
    assert_eq!(client.take().payload, "later");
    assert_eq!(old.take().payload, "later");
    // And what was acknowledged does not come again.
    client.die();
    std::thread::sleep(Duration::from_millis(100));
    broker.kill_and_rise();
    let (mut client, present) = broker.lasting("five");
    assert!(present);
    client.expect_silence();
}

#[test]
fn unacknowledged_deliveries_come_again_with_their_packet_ids_after_a_kill() {
    let mut broker = Phoenix::new();
    let (mut client, _) = broker.lasting("client");
    client.subscribe("t", Q2);
    for payload in ["a", "b", "c"] {
        broker.publish("t", Q1, payload);
    }
    broker.publish("t", Q2, "d");
    let sent: Vec<Publish> = (0..4).map(|_| client.recv_publish()).collect();
    broker.kill_and_rise();
    let (mut client, _) = broker.lasting("client");
    for before in &sent {
        let again = client.recv_publish();
        assert_eq!(
            (again.pkid, &again.payload, again.qos),
            (before.pkid, &before.payload, before.qos)
        );
        assert!(again.dup);
        client.finish(&again);
    }
    client.expect_silence();
}

#[test]
fn message_that_the_client_has_received_is_only_released_after_a_kill() {
    let mut broker = Phoenix::new();
    let (mut client, _) = broker.lasting("client");
    client.subscribe("t", Q2);
    broker.publish("t", Q2, "once");
    let publish = client.recv_publish();
    client.send(Packet::PubRec(PubRec::new(publish.pkid, None)));
    assert!(matches!(client.recv(), Packet::PubRel(release) if release.pkid == publish.pkid));
    broker.kill_and_rise();
    let (mut client, _) = broker.lasting("client");
    // With PUBREL the client forgot the packet id: a PUBLISH would be a second message to it.
    assert!(matches!(client.recv(), Packet::PubRel(release) if release.pkid == publish.pkid));
    client.send(Packet::PubComp(PubComp::new(publish.pkid, None)));
    client.expect_silence();
    broker.publish("t", Q2, "next");
    assert_eq!(client.take().payload, "next");
}

#[test]
fn publish_that_is_repeated_after_a_kill_is_taken_once() {
    let mut broker = Phoenix::new();
    broker.away("subscriber", "t", Q2);
    let (mut publisher, _) = broker.lasting("publisher");
    let publish = Publish {
        pkid: 7,
        ..message("t", Q2, "once")
    };
    publisher.send(Packet::Publish(publish.clone()));
    assert!(matches!(publisher.recv(), Packet::PubRec(ack) if ack.pkid == 7));
    broker.kill_and_rise();
    let (mut publisher, present) = broker.lasting("publisher");
    assert!(present);
    publisher.send(Packet::Publish(Publish {
        dup: true,
        ..publish.clone()
    }));
    assert!(matches!(publisher.recv(), Packet::PubRec(ack) if ack.pkid == 7));
    publisher.send(Packet::PubRel(PubRel::new(7, None)));
    assert!(matches!(publisher.recv(), Packet::PubComp(ack) if ack.pkid == 7));
    // The packet id is free again, over another kill.
    broker.kill_and_rise();
    let (mut publisher, _) = broker.lasting("publisher");
    let second = Publish {
        payload: "second".into(),
        ..publish
    };
    publisher.send(Packet::Publish(second));
    assert!(matches!(publisher.recv(), Packet::PubRec(ack) if ack.pkid == 7));
    let (mut subscriber, _) = broker.lasting("subscriber");
    assert_eq!(payloads(&mut subscriber, 2), ["once", "second"]);
    subscriber.expect_silence();
}

#[test]
fn sessions_that_ended_do_not_come_back_after_a_kill() {
    let mut broker = Phoenix::new();
    let address = broker.process.as_ref().unwrap().address;
    for (id, expiry) in [("short", 1), ("cleaned", HOUR), ("kept", u32::MAX)] {
        let (mut client, _) = V5::with(address, resume(id, expiry));
        client.subscribe("t", Q1);
        client.disconnect();
    }
    broker.client("cleaned").disconnect();
    let (mut unsubscribed, _) = broker.lasting("unsubscribed");
    unsubscribed.subscribe("t", Q1);
    unsubscribed.unsubscribe("t");
    broker.publish("t", Q1, "x");
    broker.kill();
    std::thread::sleep(Duration::from_millis(1100));
    broker.rise();
    for (id, expected) in [
        ("short", false),
        ("cleaned", false),
        ("kept", true),
        ("unsubscribed", true),
    ] {
        let (mut client, present) = broker.lasting(id);
        assert_eq!(present, expected, "{id}");
        if id == "kept" {
            assert_eq!(client.take().payload, "x");
        }
        client.expect_silence();
    }
}

#[test]
fn wills_of_clients_that_went_with_the_broker_are_published_after_a_kill() {
    let mut broker = Phoenix::new();
    let address = broker.process.as_ref().unwrap().address;
    let will = |id: &str| LastWill::new(format!("hosts/{id}"), "offline", Q1, true, None);
    let (mut lost, _) = V5::with_will(address, connect("lost"), Some(will("lost")));
    let (mut left, _) = V5::with_will(address, connect("left"), Some(will("left")));
    let delayed = LastWill {
        properties: Some(LastWillProperties {
            delay_interval: Some(HOUR),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        }),
        ..will("back")
    };
    let (mut back, _) = V5::with_will(address, resume("back", HOUR), Some(delayed));
    for (client, id) in [(&mut lost, "lost"), (&mut left, "left"), (&mut back, "back")] {
        client.publish(retained(&format!("hosts/{id}"), Q1, "online"));
    }
    left.disconnect();
    broker.publish("hosts/left", Q1, "behind the goodbye");
    std::thread::sleep(Duration::from_millis(100));
    broker.kill_and_rise();
    let (_back, present) = broker.lasting("back");
    assert!(present);
    let mut watcher = broker.client("watcher");
    watcher.subscribe("hosts/+", Q1);
    let mut hosts: Vec<(String, String)> = (0..3)
        .map(|_| watcher.take())
        .map(|publish| {
            [publish.topic, publish.payload]
                .map(|text| String::from_utf8(text.to_vec()).unwrap())
                .into()
        })
        .collect();
    hosts.sort();
    let expected = [("back", "online"), ("left", "online"), ("lost", "offline")];
    let expected = expected.map(|(host, state)| (format!("hosts/{host}"), state.to_owned()));
    assert_eq!(hosts, expected);
    watcher.expect_silence();
}

#[test]
fn member_of_a_group_is_a_member_again_after_a_kill() {
    let mut broker = Phoenix::new();
    broker.away("worker", "$share/workers/jobs/#", Q1);
    broker.publish("jobs/1", Q1, "one");
    broker.kill_and_rise();
    broker.publish("jobs/2", Q1, "two");
    let (mut worker, present) = broker.lasting("worker");
    assert!(present);
    assert_eq!(payloads(&mut worker, 2), ["one", "two"]);
}

#[test]
fn session_of_another_user_cannot_be_taken_after_a_kill() {
    let mut broker = Phoenix::new();
    let login = |broker: &Phoenix| {
        let password = std::fs::read_to_string(broker.directory.path().join("owner.password")).unwrap();
        Some(Login {
            username: "owner".to_owned(),
            password: password.trim_end().to_owned(),
        })
    };
    let address = broker.process.as_ref().unwrap().address;
    V5::try_connect(address, resume("laptop", HOUR), None, login(&broker))
        .0
        .subscribe("t", Q1);
    broker.kill_and_rise();
    let address = broker.process.as_ref().unwrap().address;
    let (_, ack) = V5::try_connect(address, resume("laptop", HOUR), None, None);
    assert_eq!(ack.code, ConnectReturnCode::ClientIdentifierNotValid);
    let (_, ack) = V5::try_connect(address, resume("laptop", HOUR), None, login(&broker));
    assert!(ack.session_present);
}

#[test]
fn broker_killed_while_publishers_publish_to_a_session_loses_nothing_acknowledged() {
    let mut broker = Phoenix::new();
    broker.away("reader", "t", Q1);
    let (mut acknowledged, mut next) = (Vec::new(), 0_u32);
    for _ in 0..5 {
        let mut publisher = broker.client("publisher");
        let first = next;
        for pkid in 1..=200 {
            let publish = message("t", Q1, next.to_string());
            publisher.send(Packet::Publish(Publish { pkid, ..publish }));
            next += 1;
        }
        let mut note = |packet| match packet {
            Packet::PubAck(ack) => acknowledged.push(first + u32::from(ack.pkid) - 1),
            other => panic!("{other:?}"),
        };
        (0..50).for_each(|_| note(publisher.recv()));
        broker.kill();
        while let Some(packet) = publisher.try_recv(support::SILENCE) {
            note(packet);
        }
        broker.rise();
    }
    let (mut reader, _) = broker.lasting("reader");
    let mut delivered: Vec<u32> = Vec::new();
    while let Some(Packet::Publish(publish)) = reader.try_recv(support::SILENCE) {
        reader.finish(&publish);
        delivered.push(std::str::from_utf8(&publish.payload).unwrap().parse().unwrap());
    }
    assert!(acknowledged.len() >= 250);
    for number in &acknowledged {
        assert!(delivered.contains(number), "{number} was acknowledged and is lost");
    }
    assert!(
        delivered.is_sorted_by(|a, b| a < b),
        "twice or out of order: {delivered:?}"
    );
}

#[test]
fn disk_full_refuses_what_could_not_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    {
        let broker = Process::start(directory.path());
        V5::with(broker.address, resume("reader", HOUR)).0.subscribe("kept", Q1);
    }
    let broker = start_limited(directory.path(), 200);
    let mut publisher = V5::new(broker.address, "publisher");
    let bulky = |number: u32| format!("{number}{}", " ".repeat(2000));
    let mut taken = 0;
    while publisher.publish(message("kept", Q1, bulky(taken))) == PubAckReason::Success {
        taken += 1;
        assert!(taken < 1000, "the disk never filled");
    }
    assert!(taken > 0);
    // Others are served.
    let mut bystander = V5::new(broker.address, "bystander");
    bystander.subscribe("fleeting", Q1);
    assert_eq!(publisher.publish(message("fleeting", Q1, "x")), PubAckReason::Success);
    assert_eq!(bystander.take().payload, "x");
    broker.kill();
    let broker = Process::start(directory.path());
    let (mut reader, _) = V5::with(broker.address, resume("reader", HOUR));
    for number in 0..taken {
        assert_eq!(reader.take().payload, bulky(number));
    }
}

#[test]
fn what_nobody_keeps_does_not_touch_the_disk() {
    let broker = Phoenix::new();
    let size = || {
        let wal = broker.directory.path().join("sessions.sqlite-wal");
        std::fs::metadata(wal).unwrap().len()
    };
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("t", Q2);
    let before = size();
    for qos in [Q1, Q2].repeat(20) {
        broker.publish("t", qos, "x");
        subscriber.take();
    }
    subscriber.disconnect();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(size(), before);
}

#[test]
fn what_waits_on_the_disk_is_seen_by_whoever_keeps_what_it_refers_to() {
    let mut broker = Phoenix::new();
    broker.away("away", "mail", Q1);
    let mut member = broker.client("member");
    member.subscribe("$share/group/work", Q1);
    for (topic, payload) in [("work", "leased"), ("work", "queued"), ("mail", "mail")] {
        broker.publish(topic, Q1, payload);
    }
    let leased = member.recv_publish();
    broker.client("publisher").publish(retained("kept", Q1, "retained"));
    let stored = |broker: &Phoenix| {
        let mut stored = std::collections::BTreeSet::new();
        let seen = foundry_broker::stored_payloads(broker.directory.path(), |payload| {
            stored.insert(String::from_utf8_lossy(payload).into_owned());
        });
        seen.unwrap();
        stored
    };
    let all = ["leased", "mail", "queued", "retained"].map(ToOwned::to_owned);
    assert_eq!(stored(&broker), all.clone().into(), "while it runs");
    member.finish(&leased);
    support::eventually("what is acknowledged is gone", || !stored(&broker).contains("leased"));
    broker.kill();
    assert_eq!(
        stored(&broker),
        all[1..].iter().cloned().collect(),
        "when it does not run"
    );
    let nowhere = tempfile::tempdir().unwrap();
    foundry_broker::stored_payloads(nowhere.path(), |_| panic!("nothing is there")).unwrap();
}
