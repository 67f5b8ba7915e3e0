//! Clients that break the rules lose their connection; nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::time::Duration;

use proptest::prelude::*;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::v4::V4;
use support::v5::{V5, connect, message, resume};
use support::{TestBroker, Wire};

const CONNECT_V5: &[u8] = b"\x10\x0f\0\x04MQTT\x05\x02\0\0\0\0\x02zz";

/// A pair of clients that must keep getting their messages whatever others do.
struct Bystanders {
    publisher: V5,
    subscriber: V4,
    member: V5,
    round: u32,
}

impl Bystanders {
    fn new(broker: &TestBroker) -> Self {
        let mut subscriber = V4::new(broker.address, "bystander-sub");
        subscriber.subscribe("calm/#", rumqttc::QoS::AtLeastOnce);
        let mut member = V5::new(broker.address, "bystander-member");
        member.subscribe("$share/calm/calm/#", QoS::AtLeastOnce);
        Self {
            publisher: V5::new(broker.address, "bystander-pub"),
            subscriber,
            member,
            round: 0,
        }
    }

    #[track_caller]
    fn are_served(&mut self) {
        self.round += 1;
        let payload = self.round.to_string();
        let reason = self
            .publisher
            .publish(message("calm/x", QoS::AtLeastOnce, payload.as_str()));
        assert_eq!(reason, PubAckReason::Success);
        assert_eq!(self.subscriber.take().payload, payload);
        assert_eq!(self.member.take().payload, payload);
    }
}

/// Sends `bytes` after a good CONNECT and sees the connection closed and the others served.
#[track_caller]
fn is_thrown_out(bytes: &[u8]) {
    let broker = TestBroker::start();
    let mut bystanders = Bystanders::new(&broker);
    let mut wire = Wire::open(broker.address);
    wire.write(CONNECT_V5);
    wire.write(bytes);
    assert!(wire.is_closed());
    bystanders.are_served();
}

#[test]
fn topic_that_is_not_utf8() {
    is_thrown_out(b"\x30\x08\0\x04a/\xff\xfe\0x");
    is_thrown_out(b"\x32\x0a\0\x04a/\xff\xfe\0\x01\0x");
}

#[test]
fn topic_with_a_wildcard() {
    is_thrown_out(b"\x30\x07\0\x03a/#\0x");
    is_thrown_out(b"\x30\x07\0\x03+/a\0x");
}

#[test]
fn empty_topic_without_an_alias() {
    is_thrown_out(b"\x30\x04\0\0\0x");
}

#[test]
fn topic_with_u0000() {
    is_thrown_out(b"\x30\x07\0\x03a\0b\0x");
}

#[test]
fn topic_alias_out_of_range_or_never_set() {
    is_thrown_out(b"\x30\x07\0\0\x03\x23\0\0x");
    is_thrown_out(b"\x30\x07\0\0\x03\x23\0\x05x");
    is_thrown_out(b"\x30\x07\0\0\x03\x23\xff\xffx");
}

#[test]
fn publish_with_qos_3() {
    is_thrown_out(b"\x36\x08\0\x01a\0\x01\0xx");
}

#[test]
fn publish_with_packet_id_0() {
    is_thrown_out(b"\x32\x07\0\x01a\0\0\0x");
}

#[test]
fn subscription_identifier_in_a_publish() {
    is_thrown_out(b"\x30\x07\0\x01a\x02\x0b\x01x");
}

#[test]
fn second_connect() {
    is_thrown_out(CONNECT_V5);
}

#[test]
fn packets_that_only_servers_send() {
    for packet in [
        &b"\x20\x03\0\0\0"[..],
        b"\x90\x04\0\x01\0\0",
        b"\xb0\x04\0\x01\0\0",
        b"\xd0\0",
    ] {
        is_thrown_out(packet);
    }
}

#[test]
fn auth_without_a_method() {
    is_thrown_out(b"\xf0\x02\x19\0");
}

#[test]
fn subscribe_with_wrong_flags_or_without_filters() {
    is_thrown_out(b"\x80\x07\0\x01\0\0\x01a\0");
    is_thrown_out(b"\x82\x03\0\x01\0");
}

#[test]
fn shared_subscription_with_no_local() {
    is_thrown_out(b"\x82\x10\0\x01\0\0\x0a$share/g/a\x05");
}

#[test]
fn shared_subscription_without_a_filter() {
    is_thrown_out(b"\x82\x0e\0\x01\0\0\x08$share/g\x01");
}

#[test]
fn giant_remaining_length() {
    is_thrown_out(b"\x30\xff\xff\xff\x7f");
}

#[test]
fn endless_remaining_length() {
    is_thrown_out(b"\x30\xff\xff\xff\xff\xff\x01");
}

#[test]
fn bytes_after_the_end_of_a_packet() {
    is_thrown_out(b"\xc0\x01\0");
    is_thrown_out(b"\x40\x05\0\x01\0\0\0");
}

#[test]
fn publish_before_connect() {
    let broker = TestBroker::start();
    let mut bystanders = Bystanders::new(&broker);
    let mut wire = Wire::open(broker.address);
    wire.write(b"\x30\x05\0\x01a\0x");
    assert!(wire.is_closed());
    bystanders.are_served();
}

#[test]
fn http_request_instead_of_mqtt() {
    let broker = TestBroker::start();
    let mut wire = Wire::open(broker.address);
    wire.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(wire.is_closed());
}

#[test]
fn silent_connection_is_closed_in_time() {
    let broker = TestBroker::with(|config| config.limits.connect_seconds = 1);
    let mut wire = Wire::open(broker.address);
    assert!(wire.is_closed());
    let mut wire = Wire::open(broker.address);
    wire.write(&CONNECT_V5[..9]);
    assert!(wire.is_closed());
}

#[test]
fn unknown_protocol_versions_are_told_so() {
    let broker = TestBroker::start();
    let mut wire = Wire::open(broker.address);
    wire.write(b"\x10\x11\0\x06MQIsdp\x03\x02\0\0\0\x03abc");
    let answer = wire.read(Duration::from_secs(5), |buffer| {
        (buffer.len() >= 4).then(|| buffer.to_vec())
    });
    assert_eq!(answer.unwrap(), b"\x20\x02\0\x01");
    let mut wire = Wire::open(broker.address);
    wire.write(b"\x10\x0f\0\x04MQTT\x06\x02\0\0\0\0\x02zz");
    let answer = wire.read(Duration::from_secs(5), |buffer| {
        (buffer.len() >= 4).then(|| buffer.to_vec())
    });
    assert_eq!(answer.unwrap(), b"\x20\x02\0\x01");
}

#[test]
fn will_with_a_bad_topic_is_refused_at_connect() {
    let broker = TestBroker::start();
    let will = LastWill::new("a/#", "gone", QoS::AtMostOnce, false, None);
    let (_, ack) = V5::try_connect(broker.address, connect("x"), Some(will), None);
    assert_eq!(ack.code, ConnectReturnCode::TopicNameInvalid);
}

#[test]
fn bad_filters_are_refused_one_by_one() {
    let broker = TestBroker::start();
    let mut client = V5::new(broker.address, "x");
    let filters = ["a/#/b", "ok", "", "a+"].map(|filter| Filter::new(filter, QoS::AtLeastOnce));
    let bad = SubscribeReasonCode::TopicFilterInvalid;
    let good = SubscribeReasonCode::Success(QoS::AtLeastOnce);
    assert_eq!(client.subscribe_with(filters.to_vec(), None), [bad, good, bad, bad]);
    client.ping();
}

#[test]
fn client_that_acknowledges_what_it_never_got() {
    let broker = TestBroker::start();
    let mut bystanders = Bystanders::new(&broker);
    let mut client = V5::new(broker.address, "x");
    client.send(Packet::PubAck(PubAck::new(7, None)));
    client.send(Packet::PubComp(PubComp::new(7, None)));
    client.send(Packet::PubRec(PubRec::new(7, None)));
    assert!(
        matches!(client.recv(), Packet::PubRel(release) if release.reason == PubRelReason::PacketIdentifierNotFound)
    );
    client.send(Packet::PubRel(PubRel::new(7, None)));
    assert!(matches!(client.recv(), Packet::PubComp(done) if done.reason == PubCompReason::PacketIdentifierNotFound));
    client.ping();
    bystanders.are_served();
}

#[test]
fn publisher_over_the_receive_maximum() {
    let broker = TestBroker::with(|config| config.limits.receive_maximum = 2);
    let (mut client, ack) = V5::with(broker.address, connect("x"));
    assert_eq!(ack.properties.unwrap().receive_max, Some(2));
    let publish = |pkid| {
        Packet::Publish(Publish {
            pkid,
            ..message("a", QoS::ExactlyOnce, "x")
        })
    };
    for pkid in 1..=2 {
        client.send(publish(pkid));
        assert!(matches!(client.recv(), Packet::PubRec(_)));
    }
    client.send(publish(3));
    client.expect_disconnect(DisconnectReasonCode::ReceiveMaximumExceeded);
}

#[test]
fn clients_die_in_every_state_while_others_work() {
    let broker = TestBroker::start();
    let mut bystanders = Bystanders::new(&broker);
    for round in 0..30 {
        let id = format!("victim-{}", round % 3);
        let mut victim = V5::with(broker.address, resume(&id, 60)).0;
        let subscribe = |filter: &str| {
            let filters = vec![Filter::new(filter, QoS::ExactlyOnce)];
            Packet::Subscribe(Subscribe {
                pkid: 1,
                filters,
                properties: None,
            })
        };
        match round % 4 {
            0 => victim.send(subscribe("calm/#")),
            1 => victim.send(subscribe("$share/calm/calm/#")),
            2 => victim.send(Packet::Publish(Publish {
                pkid: 1,
                ..message("other", QoS::ExactlyOnce, "x")
            })),
            _ => victim.wire.write(b"\x32\xff\x01half a packet"),
        }
        if round % 2 == 0 {
            drop(victim.try_recv(Duration::from_millis(5)));
        }
        victim.die();
        // What a dying member held comes back to the one that lives, so only its own copy is looked at.
        bystanders.round += 1;
        let payload = bystanders.round.to_string();
        bystanders
            .publisher
            .publish(message("calm/x", QoS::AtLeastOnce, payload.as_str()));
        assert_eq!(bystanders.subscriber.take().payload, payload);
        while bystanders.member.take().payload != payload {}
    }
}

#[test]
fn subscriber_that_does_not_read_does_not_stop_others() {
    let broker = TestBroker::start();
    let mut sleeper = V5::new(broker.address, "sleeper");
    sleeper.subscribe("calm/#", QoS::AtMostOnce);
    let mut bystanders = Bystanders::new(&broker);
    let mut publisher = V5::new(broker.address, "publisher");
    for _ in 0..200 {
        publisher.publish(message("calm/big", QoS::AtMostOnce, vec![0; 100_000]));
    }
    publisher.ping();
    for _ in 0..200 {
        bystanders.subscriber.take();
        bystanders.member.take();
    }
    bystanders.are_served();
}

#[test]
fn member_that_does_not_read_is_cut_off_and_its_messages_go_to_another() {
    let broker = TestBroker::with(|config| config.limits.stall_seconds = 1);
    let mut stuck = V5::new(broker.address, "stuck");
    stuck.subscribe("$share/workers/jobs", QoS::AtLeastOnce);
    let mut publisher = V5::new(broker.address, "publisher");
    // More than the system buffers for a connection.
    for _ in 0..30 {
        let reason = publisher.publish(message("jobs", QoS::AtLeastOnce, vec![0; 1_000_000]));
        assert_eq!(reason, PubAckReason::Success);
    }
    let mut other = V5::new(broker.address, "other");
    other.subscribe("$share/workers/jobs", QoS::AtLeastOnce);
    for _ in 0..30 {
        other.take();
    }
    assert!(stuck.wire.is_closed());
}

#[test]
fn sessions_are_bounded() {
    let broker = TestBroker::with(|config| config.limits.sessions = 3);
    let mut clients: Vec<V5> = (0..3)
        .map(|n| V5::with(broker.address, resume(&n.to_string(), 60)).0)
        .collect();
    clients.remove(0).disconnect();
    let (_, ack) = V5::try_connect(broker.address, connect("one too many"), None, None);
    assert_eq!(ack.code, ConnectReturnCode::QuotaExceeded);
    // Those who have a session keep it.
    assert!(V5::with(broker.address, resume("0", 60)).1.session_present);
    clients.iter_mut().for_each(V5::ping);
}

#[test]
fn names_that_nobody_can_count_do_not_stop_routing() {
    // More topics than the router is given: the rest is matched by the hub itself.
    let broker = TestBroker::start();
    let mut subscriber = V5::new(broker.address, "subscriber");
    subscriber.subscribe("many/#", QoS::AtMostOnce);
    let mut publisher = V5::new(broker.address, "publisher");
    const TOPICS: usize = 60_000;
    for chunk in 0..TOPICS / 1000 {
        for n in 0..1000 {
            publisher.publish(message(&format!("many/{}", chunk * 1000 + n), QoS::AtMostOnce, "x"));
        }
        for n in 0..1000 {
            assert_eq!(subscriber.recv_publish().topic, format!("many/{}", chunk * 1000 + n));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn garbage_after_connect(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..20)) {
        let broker = TestBroker::start();
        let mut bystanders = Bystanders::new(&broker);
        for chunk in &chunks {
            let mut wire = Wire::open(broker.address);
            wire.write(CONNECT_V5);
            wire.write(chunk);
            wire.die();
            let mut wire = Wire::open(broker.address);
            wire.write(chunk);
            wire.die();
        }
        bystanders.are_served();
    }
}
