//! What was acknowledged arrives, whatever the clients do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::process::Process;
use support::v5::{V5, message, receiving, resume};
use support::{SILENCE, TestBroker, eventually};

const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;
const HOUR: u32 = 3600;

fn text(publish: &Publish) -> &str {
    std::str::from_utf8(&publish.payload).unwrap()
}

fn publish_all(broker: &TestBroker, publishes: impl IntoIterator<Item = Publish>) {
    let mut publisher = V5::new(broker.address, "publisher");
    for publish in publishes {
        assert_eq!(publisher.publish(publish), PubAckReason::Success);
    }
}

/// Keeps so many messages for those who subscribe to `r/#`.
fn retain(broker: &TestBroker, count: usize) {
    let retained = |number| Publish {
        retain: true,
        ..message(&format!("r/{number}"), Q1, "x")
    };
    publish_all(broker, (0..count).map(retained));
}

/// A client whose session lasts and has a subscription, gone again.
fn away(broker: &TestBroker, id: &str, filter: &str) {
    let (mut client, _) = V5::with(broker.address, resume(id, HOUR));
    client.subscribe(filter, Q2);
    client.die();
}

#[test]
fn expired_mail_of_a_client_that_is_away_takes_no_room_from_what_comes_later() {
    let broker = TestBroker::with(|config| config.limits.queued_messages = 30);
    away(&broker, "sleeper", "mail/#");
    let soon = PublishProperties {
        message_expiry_interval: Some(1),
        ..PublishProperties::default()
    };
    publish_all(
        &broker,
        (0..30).map(|number| Publish {
            properties: Some(soon.clone()),
            ..message("mail/x", Q1, number.to_string())
        }),
    );
    std::thread::sleep(Duration::from_secs(2));
    publish_all(
        &broker,
        (0..20).map(|number| message("mail/x", Q1, format!("later {number}"))),
    );
    let (mut client, _) = V5::with(broker.address, resume("sleeper", HOUR));
    for number in 0..20 {
        assert_eq!(text(&client.take()), format!("later {number}"));
    }
    client.expect_silence();
}

#[test]
fn a_subscription_brings_all_retained_messages_also_when_they_are_more_than_the_queue_has_room_for() {
    let broker = TestBroker::with(|config| config.limits.queued_messages = 10);
    retain(&broker, 35);
    let passing = V5::new(broker.address, "passing");
    let (lasting, _) = V5::with(broker.address, resume("lasting", HOUR));
    for mut client in [passing, lasting] {
        assert_eq!(client.subscribe("r/#", Q1), [SubscribeReasonCode::Success(Q1)]);
        for _ in 0..35 {
            client.take();
        }
        client.expect_silence();
    }
}

#[test]
fn a_subscription_whose_retained_messages_have_no_room_is_refused_and_not_half_made() {
    let broker = TestBroker::with(|config| config.limits.queued_messages = 10);
    retain(&broker, 35);
    let (mut client, _) = V5::with(broker.address, receiving("slow", 1));
    assert_eq!(client.subscribe("r/#", Q1), [SubscribeReasonCode::Success(Q1)]);
    assert_eq!(client.subscribe("r/+", Q1), [SubscribeReasonCode::QuotaExceeded]);
    for _ in 0..35 {
        client.take();
    }
    publish_all(&broker, [message("r/1", Q1, "new")]);
    assert_eq!(text(&client.take()), "new");
    client.expect_silence();
}

#[test]
fn a_copy_of_a_qos_2_message_is_not_acknowledged_before_the_fate_of_the_first_is_known() {
    let broker = TestBroker::with(|config| config.limits.group_messages = 1);
    let mut worker = V5::new(broker.address, "worker");
    worker.subscribe("$share/workers/jobs", Q1);
    worker.unsubscribe("$share/workers/jobs");
    publish_all(&broker, [message("jobs", Q1, "fills the group")]);
    let mut publisher = V5::new(broker.address, "publisher-2");
    let mut first = message("jobs", Q2, "one");
    first.pkid = 7;
    let copy = Publish {
        dup: true,
        ..first.clone()
    };
    let mut bytes = bytes::BytesMut::new();
    for publish in [first, copy] {
        Packet::Publish(publish).write(&mut bytes, None).unwrap();
    }
    publisher.wire.write(&bytes);
    for answer in std::iter::once(publisher.recv()).chain(publisher.try_recv(Duration::from_secs(1))) {
        match answer {
            Packet::PubRec(ack) => assert_eq!((ack.pkid, ack.reason), (7, PubRecReason::QuotaExceeded)),
            other => panic!("{other:?} instead of PUBREC"),
        }
    }
}

#[test]
fn one_delivery_that_stays_unacknowledged_does_not_stop_a_session_that_lasts() {
    const ROUND: u16 = 500;
    const ROUNDS: u16 = 68;
    let broker = TestBroker::start();
    let (mut client, _) = V5::with(broker.address, resume("lasting", HOUR));
    client.subscribe("mail/#", Q1);
    let mut publisher = V5::new(broker.address, "publisher");
    let mut kept = None;
    for round in 0..ROUNDS {
        let mut bytes = bytes::BytesMut::new();
        for number in 1..=ROUND {
            let mut publish = message("mail/x", Q1, format!("{round} {number}"));
            publish.pkid = number;
            Packet::Publish(publish).write(&mut bytes, None).unwrap();
        }
        publisher.wire.write(&bytes);
        for _ in 0..ROUND {
            assert!(matches!(publisher.recv(), Packet::PubAck(ack) if ack.reason == PubAckReason::Success));
        }
        for number in 1..=ROUND {
            let publish = client.recv_publish();
            assert_eq!(text(&publish), format!("{round} {number}"));
            assert_ne!(Some(publish.pkid), kept, "this id is in use");
            match kept {
                None => kept = Some(publish.pkid),
                Some(_) => client.finish(&publish),
            }
        }
    }
}

#[test]
fn a_session_that_resumes_gets_again_no_more_than_its_client_announces() {
    let broker = TestBroker::start();
    let (mut client, _) = V5::with(broker.address, resume("lasting", HOUR));
    client.subscribe("mail/#", Q1);
    let long = "long ".repeat(50);
    let payloads: Vec<String> = std::iter::once(long)
        .chain((0..20).map(|number| number.to_string()))
        .collect();
    publish_all(
        &broker,
        payloads.iter().map(|payload| message("mail/x", Q1, payload.as_str())),
    );
    for payload in &payloads {
        assert_eq!(text(&client.recv_publish()), payload);
    }
    client.die();
    let properties = ConnectProperties {
        receive_maximum: Some(5),
        max_packet_size: Some(100),
        session_expiry_interval: Some(HOUR),
        ..ConnectProperties::new()
    };
    let connect = Connect {
        properties: Some(properties),
        ..resume("lasting", HOUR)
    };
    let (mut client, ack) = V5::with(broker.address, connect);
    assert!(ack.session_present);
    let mut next = payloads.iter().skip(1);
    let first: Vec<Publish> = (0..5).map(|_| client.recv_publish()).collect();
    client.expect_silence();
    for publish in &first {
        assert_eq!(text(publish), next.next().unwrap());
        assert!(publish.dup);
        client.finish(publish);
    }
    for payload in next {
        assert_eq!(text(&client.take()), payload);
    }
    client.expect_silence();
}

/// A broker whose limits of open files are these, the soft one and the hard one.
fn with_files(data: &Path, soft: u32, hard: u32) -> Process {
    let program = env!("CARGO_BIN_EXE_foundry-broker");
    let data = data.display();
    let script = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec {program} 127.0.0.1:0 {data} host");
    Process::spawn(Command::new("bash").args(["-c", &script]))
}

#[test]
fn idle_connections_leave_descriptors_for_everything_else() {
    let directory = tempfile::tempdir().unwrap();
    let broker = with_files(directory.path(), 100, 100);
    let before = broker.descriptors();
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(broker.address).unwrap()).collect();
    eventually("connections are accepted", || broker.descriptors() >= before + 45);
    std::thread::sleep(SILENCE);
    let now = broker.descriptors();
    assert!(now <= before + 55, "{before} before, {now} now");
    drop(idle);
    V5::new(broker.address, "later");
}

#[test]
fn a_low_soft_limit_of_open_files_does_not_keep_clients_out() {
    let directory = tempfile::tempdir().unwrap();
    let broker = with_files(directory.path(), 64, 1024);
    let clients: Vec<V5> = (0..100)
        .map(|number| V5::new(broker.address, &format!("c{number}")))
        .collect();
    assert_eq!(clients.len(), 100);
}
