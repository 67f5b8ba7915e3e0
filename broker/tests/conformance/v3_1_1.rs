//! MQTT 3.1.1.

use std::time::{Duration, Instant};

use rumqttc::QoS::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};

use crate::support;
use crate::support::v4::{self, V4};
use crate::tested::Tested;

#[test]
fn basic() {
    let broker = Tested::start();
    let mut client = V4::new(broker.address, "a");
    client.subscribe("topic/a", ExactlyOnce);
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        let mut publisher = V4::new(broker.address, "b");
        publisher.publish("topic/a", qos, "x");
        assert_eq!(client.take().qos, qos);
    }
}

#[test]
fn retained_messages() {
    let broker = Tested::start();
    let mut publisher = V4::new(broker.address, "a");
    for (topic, qos) in [("r/0", AtMostOnce), ("r/1", AtLeastOnce), ("r/2", ExactlyOnce)] {
        let mut publish = rumqttc::Publish::new(topic, qos, "kept");
        publish.retain = true;
        publish.pkid = u16::from(qos != AtMostOnce) * 9;
        publisher.send(rumqttc::Packet::Publish(publish));
        if qos != AtMostOnce {
            publisher.recv();
        }
        if qos == ExactlyOnce {
            publisher.send(rumqttc::Packet::PubRel(rumqttc::PubRel::new(9)));
            publisher.recv();
        }
    }
    publisher.ping();
    let mut client = V4::new(broker.address, "b");
    client.subscribe("r/+", ExactlyOnce);
    let mut seen: Vec<(String, QoS)> = (0..3)
        .map(|_| {
            let publish = client.take();
            assert!(publish.retain);
            (publish.topic, publish.qos)
        })
        .collect();
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("r/0", AtMostOnce), ("r/1", AtLeastOnce), ("r/2", ExactlyOnce)];
    assert_eq!(seen, expected.map(|(topic, qos)| (topic.to_owned(), qos)));
}

#[test]
fn will_on_abrupt_death_and_none_after_disconnect() {
    let broker = Tested::start();
    let mut watcher = V4::new(broker.address, "watcher");
    watcher.subscribe("will", ExactlyOnce);
    let mut options = v4::connect("mortal", true);
    options.last_will = Some(rumqttc::LastWill::new("will", "gone", AtLeastOnce, false));
    let (mut client, _) = V4::with(broker.address, options.clone());
    client.send(rumqttc::Packet::Disconnect);
    assert!(client.wire.is_closed());
    watcher.expect_silence();
    V4::with(broker.address, options).0.die();
    let will = watcher.take();
    assert_eq!((&*will.payload, will.qos), (&b"gone"[..], AtLeastOnce));
}

#[test]
fn zero_length_client_id() {
    let broker = Tested::start();
    V4::new(broker.address, "").ping();
    let mut wire = support::Wire::open(broker.address);
    // Without clean session it is refused with code 2.
    wire.write(b"\x10\x0c\0\x04MQTT\x04\x00\0\0\0\0");
    let answer = wire.read(support::PATIENCE, |buffer| (buffer.len() >= 4).then(|| buffer.to_vec()));
    assert_eq!(answer.unwrap(), b"\x20\x02\0\x02");
}

#[test]
fn offline_message_queueing() {
    let broker = Tested::start();
    let (mut client, ack) = V4::with(broker.address, v4::connect("sleeper", false));
    assert!(!ack.session_present);
    client.subscribe("+/+", ExactlyOnce);
    client.send(rumqttc::Packet::Disconnect);
    assert!(client.wire.is_closed());
    let mut publisher = V4::new(broker.address, "b");
    for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        publisher.publish("a/b", qos, &format!("{qos:?}"));
    }
    publisher.ping();
    let (mut client, ack) = V4::with(broker.address, v4::connect("sleeper", false));
    assert!(ack.session_present);
    assert_eq!(
        [client.take().payload, client.take().payload],
        ["AtLeastOnce", "ExactlyOnce"]
    );
    client.expect_silence();
}

#[test]
fn overlapping_subscriptions() {
    let broker = Tested::start();
    let mut client = V4::new(broker.address, "a");
    client.subscribe("t/#", ExactlyOnce);
    client.subscribe("t/+", AtLeastOnce);
    V4::new(broker.address, "b").publish("t/x", ExactlyOnce, "x");
    // Section 3.3.5: the highest QoS of all that match, and the broker may deliver further copies.
    let first = client.recv_publish().qos;
    let second = client.try_recv(support::SILENCE).map(|packet| match packet {
        rumqttc::Packet::Publish(publish) => publish.qos,
        other => panic!("{other:?}"),
    });
    assert!(
        [Some(first), second].contains(&Some(ExactlyOnce)),
        "{first:?} {second:?}"
    );
    client.expect_silence();
}

#[test]
fn keep_alive_timeout_publishes_the_will() {
    let broker = Tested::start();
    let mut watcher = V4::new(broker.address, "watcher");
    watcher.subscribe("will", AtLeastOnce);
    let mut options = v4::connect("silent", true);
    options.keep_alive = 1;
    options.last_will = Some(rumqttc::LastWill::new("will", "timeout", AtLeastOnce, false));
    let (mut client, _) = V4::with(broker.address, options);
    let since = Instant::now();
    assert_eq!(watcher.take().payload, "timeout");
    assert!(since.elapsed() >= Duration::from_millis(1400), "{:?}", since.elapsed());
    assert!(client.wire.is_closed());
}

#[test]
fn redelivery_on_reconnect() {
    let broker = Tested::start();
    let (mut client, _) = V4::with(broker.address, v4::connect("a", false));
    client.subscribe("t", ExactlyOnce);
    let mut publisher = V4::new(broker.address, "b");
    publisher.publish("t", AtLeastOnce, "one");
    publisher.publish("t", ExactlyOnce, "two");
    publisher.publish("t", ExactlyOnce, "three");
    let one = client.recv_publish();
    let two = client.recv_publish();
    let three = client.recv_publish();
    // Of the three, the third gets as far as PUBREC.
    client.send(rumqttc::Packet::PubRec(rumqttc::PubRec::new(three.pkid)));
    assert_eq!(client.recv(), rumqttc::Packet::PubRel(rumqttc::PubRel::new(three.pkid)));
    client.die();
    let (mut client, ack) = V4::with(broker.address, v4::connect("a", false));
    assert!(ack.session_present);
    for expected in [one, two] {
        let again = client.recv_publish();
        assert!(again.dup);
        assert_eq!((again.pkid, again.payload), (expected.pkid, expected.payload));
    }
    assert_eq!(client.recv(), rumqttc::Packet::PubRel(rumqttc::PubRel::new(three.pkid)));
}

#[test]
fn invalid_filter_fails_alone() {
    let broker = Tested::start();
    let mut client = V4::new(broker.address, "a");
    assert_eq!(
        client.subscribe("a/#/b", ExactlyOnce),
        [rumqttc::SubscribeReasonCode::Failure]
    );
    client.ping();
}

#[test]
fn dollar_topics_are_not_matched_by_wildcards() {
    let broker = Tested::start();
    let mut client = V4::new(broker.address, "a");
    client.subscribe("#", AtLeastOnce);
    client.subscribe("+/x", AtLeastOnce);
    let mut explicit = V4::new(broker.address, "b");
    explicit.subscribe("$other/#", AtLeastOnce);
    V4::new(broker.address, "c").publish("$other/x", AtLeastOnce, "x");
    assert_eq!(explicit.take().topic, "$other/x");
    client.expect_silence();
}

#[test]
fn session_taken_over_goes_on() {
    let broker = Tested::start();
    let (mut first, _) = V4::with(broker.address, v4::connect("same", false));
    first.subscribe("t", AtLeastOnce);
    let (mut second, ack) = V4::with(broker.address, v4::connect("same", false));
    assert!(ack.session_present);
    assert!(first.wire.is_closed());
    V4::new(broker.address, "b").publish("t", AtLeastOnce, "x");
    assert_eq!(second.take().payload, "x");
}
