//! Durable groups over the wire: leases, hand-over, restart, bounds, dead letters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::v4::V4;
use support::v5::{V5, connect, message, receiving, resume};
use support::{TestBroker, eventually};

const Q1: QoS = QoS::AtLeastOnce;
const JOBS: &str = "$share/workers/jobs/#";

fn number(publish: &Publish) -> u32 {
    std::str::from_utf8(&publish.payload).unwrap().parse().unwrap()
}

fn publish_jobs(broker: &TestBroker, numbers: std::ops::Range<u32>) {
    let mut publisher = V5::new(broker.address, "publisher");
    for job in numbers {
        assert_eq!(
            publisher.publish(message("jobs/x", Q1, job.to_string())),
            PubAckReason::Success
        );
    }
    publisher.disconnect();
}

#[test]
fn each_message_goes_to_one_member_and_work_is_shared() {
    let broker = TestBroker::start();
    let mut members: Vec<V5> = (0..4)
        .map(|n| V5::with(broker.address, receiving(&format!("w{n}"), 5)).0)
        .collect();
    for member in &mut members {
        assert_eq!(member.subscribe(JOBS, Q1), [SubscribeReasonCode::Success(Q1)]);
    }
    publish_jobs(&broker, 0..20);
    let mut seen = BTreeSet::new();
    for member in &mut members {
        // All four have room for five, so the twenty are shared evenly.
        for _ in 0..5 {
            assert!(seen.insert(number(&member.take())), "delivered twice");
        }
        member.expect_silence();
    }
    assert_eq!(seen.len(), 20);
    eventually("the queue ran empty", || broker.group("workers").leased == 0);
}

#[test]
fn member_gets_as_many_messages_as_it_has_places_for() {
    let broker = TestBroker::start();
    let places = |number: &str| (foundry_broker::PLACES_PROPERTY.to_owned(), number.to_owned());
    let mut connect = receiving("worker", 10);
    if let Some(properties) = &mut connect.properties {
        properties.user_properties.push(places("1"));
    }
    let (mut member, _) = V5::with(broker.address, connect);
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..5);
    let first = member.recv_publish();
    member.expect_silence();
    // It puts the first aside.
    let say = |number: &str| message(foundry_broker::PLACES_TOPIC, QoS::AtMostOnce, number);
    member.send(Packet::Publish(say("2")));
    assert_eq!(number(&member.recv_publish()), 1);
    member.expect_silence();
    // It takes the first up again; what comes to an end makes room for one less.
    member.send(Packet::Publish(say("1")));
    member.send(Packet::Publish(say("nonsense")));
    member.finish(&first);
    member.expect_silence();
    // Never more than the receive maximum.
    member.send(Packet::Publish(say("1000")));
    for job in 2..5 {
        assert_eq!(number(&member.recv_publish()), job);
    }
}

#[test]
fn member_dies_with_ten_unacknowledged_and_another_gets_them_within_a_second() {
    let broker = TestBroker::start();
    let (mut first, _) = V5::with(broker.address, receiving("first", 10));
    first.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..10);
    for job in 0..10 {
        assert_eq!(number(&first.recv_publish()), job);
    }
    let (mut second, _) = V5::with(broker.address, receiving("second", 10));
    second.subscribe(JOBS, Q1);
    second.expect_silence();
    let died = Instant::now();
    first.die();
    for job in 0..10 {
        let publish = second.take();
        assert_eq!(number(&publish), job);
        assert!(publish.dup);
        // The member looked at the oldest, if at any.
        let attempt = ("foundry-attempt".to_owned(), "2".to_owned());
        let properties = publish.properties.unwrap_or_default().user_properties;
        assert_eq!(properties.contains(&attempt), job == 0, "{job}");
    }
    assert!(died.elapsed() < Duration::from_secs(1), "took {:?}", died.elapsed());
}

#[test]
fn last_member_dies_and_its_messages_wait_over_a_restart() {
    let mut broker = TestBroker::start();
    let (mut member, _) = V5::with(broker.address, receiving("only", 3));
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..3);
    for _ in 0..3 {
        member.recv_publish();
    }
    member.die();
    eventually("the leases ended", || broker.group("workers").waiting == 3);
    publish_jobs(&broker, 3..5);
    broker.restart();
    assert_eq!(broker.group("workers").waiting, 5);
    let (mut heir, _) = V5::with(broker.address, receiving("heir", 3));
    heir.subscribe(JOBS, Q1);
    assert_eq!(
        (0..5).map(|_| number(&heir.take())).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
}

#[test]
fn group_collects_while_nobody_is_connected() {
    let broker = TestBroker::start();
    let mut member = V4::new(broker.address, "worker");
    member.subscribe(JOBS, rumqttc::QoS::AtLeastOnce);
    member.send(rumqttc::Packet::Disconnect);
    eventually("the member left", || broker.group("workers").members == 0);
    publish_jobs(&broker, 0..3);
    let mut member = V4::new(broker.address, "worker");
    member.subscribe(JOBS, rumqttc::QoS::AtLeastOnce);
    let jobs: Vec<_> = (0..3).map(|_| member.take().payload).collect();
    assert_eq!(jobs, ["0", "1", "2"]);
}

#[test]
fn receive_maximum_bounds_what_a_member_holds() {
    let broker = TestBroker::start();
    let (mut member, _) = V5::with(broker.address, receiving("slow", 3));
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..10);
    let held: Vec<Publish> = (0..3).map(|_| member.recv_publish()).collect();
    member.expect_silence();
    member.finish(&held[1]);
    assert_eq!(number(&member.recv_publish()), 3);
    member.expect_silence();
    assert_eq!(broker.group("workers").waiting, 6);
}

#[test]
fn resumed_session_is_a_member_again_and_gets_nothing_twice_at_once() {
    let broker = TestBroker::start();
    let (mut member, _) = V5::with(broker.address, resume("worker", 60));
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..2);
    member.recv_publish();
    member.recv_publish();
    member.die();
    let (mut member, ack) = V5::with(broker.address, resume("worker", 60));
    assert!(ack.session_present);
    let mut jobs = [number(&member.take()), number(&member.take())];
    jobs.sort_unstable();
    assert_eq!(jobs, [0, 1]);
    member.expect_silence();
}

#[test]
fn two_groups_on_one_topic_each_get_every_message() {
    let broker = TestBroker::start();
    let mut i386 = V5::new(broker.address, "i386");
    let mut amd64 = V5::new(broker.address, "amd64");
    i386.subscribe("$share/i386/jobs/#", Q1);
    amd64.subscribe("$share/amd64/jobs/#", Q1);
    let mut watcher = V5::new(broker.address, "watcher");
    watcher.subscribe("jobs/#", Q1);
    publish_jobs(&broker, 7..8);
    for client in [&mut i386, &mut amd64, &mut watcher] {
        assert_eq!(number(&client.take()), 7);
        client.expect_silence();
    }
}

#[test]
fn full_group_refuses_with_a_reason_and_keeps_what_it_has() {
    let broker = TestBroker::with(|config| config.limits.group_messages = 2);
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    member.disconnect();
    publish_jobs(&broker, 0..2);
    let mut publisher = V5::new(broker.address, "v5");
    assert_eq!(
        publisher.publish(message("jobs/x", Q1, "2")),
        PubAckReason::QuotaExceeded
    );
    // The same connection goes on.
    assert_eq!(publisher.publish(message("other", Q1, "x")), PubAckReason::Success);
    // MQTT 3.1.1 cannot say no, so the connection ends without a PUBACK.
    let mut old = V4::new(broker.address, "v4");
    let mut publish = rumqttc::Publish::new("jobs/x", rumqttc::QoS::AtLeastOnce, "2");
    publish.pkid = 1;
    old.send(rumqttc::Packet::Publish(publish));
    assert!(old.wire.is_closed());
    assert_eq!(broker.group("workers").waiting, 2);
}

#[test]
fn refused_message_goes_to_the_next_and_at_last_to_the_dead_letters() {
    let broker = TestBroker::with(|config| {
        config.limits.group_deliveries = 3;
        config.limits.group_retry_seconds = 0;
    });
    let mut collector = V5::new(broker.address, "collector");
    collector.subscribe("$share/morgue/$dead/#", Q1);
    let mut watcher = V5::new(broker.address, "watcher");
    watcher.subscribe("$dead/workers", Q1);
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 9..10);
    for _ in 0..3 {
        let publish = member.recv_publish();
        let ack = PubAck {
            pkid: publish.pkid,
            reason: PubAckReason::ImplementationSpecificError,
            properties: None,
        };
        member.send(Packet::PubAck(ack));
    }
    member.expect_silence();
    for client in [&mut collector, &mut watcher] {
        let letter = client.take();
        assert_eq!(letter.topic, "$dead/workers");
        assert_eq!(letter.payload, "9");
        let properties = letter.properties.unwrap().user_properties;
        for (name, value) in [
            ("topic", "jobs/x"),
            ("group", JOBS),
            ("attempts", "3"),
            ("reason", "attempts"),
        ] {
            assert!(
                properties.contains(&(format!("dead-letter-{name}"), value.to_owned())),
                "{properties:?}"
            );
        }
    }
    let group = broker.group("workers");
    assert_eq!((group.waiting, group.leased, group.dead), (0, 0, 1));
}

#[test]
fn orderly_goodbye_does_not_count_as_an_attempt() {
    let broker = TestBroker::with(|config| config.limits.group_deliveries = 2);
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..1);
    for _ in 0..5 {
        member.recv_publish();
        member.disconnect();
        member = V5::new(broker.address, "worker");
        member.subscribe(JOBS, Q1);
    }
    // Another may have done its work, though; no attempt is told of.
    let again = member.take();
    assert!(
        again.dup
            && again
                .properties
                .is_none_or(|properties| properties.user_properties.is_empty())
    );
    assert_eq!(broker.group("workers").dead, 0);
}

#[test]
fn urgent_messages_overtake() {
    let broker = TestBroker::start();
    V5::new(broker.address, "worker").subscribe(JOBS, Q1);
    let mut publisher = V5::new(broker.address, "publisher");
    for (job, priority) in [(1, None), (2, Some("1")), (3, Some("9"))] {
        let user_properties = priority
            .map(|priority| ("foundry-priority".to_owned(), priority.to_owned()))
            .into_iter()
            .collect();
        let properties = Some(PublishProperties {
            user_properties,
            ..PublishProperties::default()
        });
        publisher.publish(Publish {
            properties,
            ..message("jobs/x", Q1, job.to_string())
        });
    }
    let (mut member, _) = V5::with(broker.address, receiving("worker", 1));
    member.subscribe(JOBS, Q1);
    assert_eq!(
        [member.take(), member.take(), member.take()].map(|publish| number(&publish)),
        [3, 1, 2]
    );
}

#[test]
fn expired_message_is_not_delivered() {
    let broker = TestBroker::start();
    V5::new(broker.address, "worker").subscribe(JOBS, Q1);
    let mut publisher = V5::new(broker.address, "publisher");
    let properties = PublishProperties {
        message_expiry_interval: Some(1),
        ..PublishProperties::default()
    };
    publisher.publish(Publish {
        properties: Some(properties),
        ..message("jobs/x", Q1, "1")
    });
    eventually("it expired", || broker.group("workers").waiting == 0);
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    member.expect_silence();
}

#[test]
fn removed_group_is_gone_with_its_messages() {
    let mut broker = TestBroker::start();
    V5::new(broker.address, "worker").subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..3);
    assert!(!broker.wait(broker.operator().remove_group("$share/other/jobs/#")));
    assert!(broker.wait(broker.operator().remove_group(JOBS)));
    broker.restart();
    assert_eq!(broker.groups(), []);
}

#[test]
fn deserted_group_is_removed_after_its_retention() {
    let broker = TestBroker::with(|config| config.limits.group_retention_seconds = 1);
    let mut stays = V5::new(broker.address, "stays");
    stays.subscribe("$share/busy/a", Q1);
    V5::new(broker.address, "goes").subscribe("$share/idle/a", Q1);
    eventually("the deserted group went", || broker.groups().len() == 1);
    assert_eq!(broker.group("busy").members, 1);
}

#[test]
fn qos_2_exchange_with_a_group_delivers_once() {
    let broker = TestBroker::start();
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, QoS::ExactlyOnce);
    let mut publisher = V5::new(broker.address, "publisher");
    let publish = Publish {
        pkid: 1,
        ..message("jobs/x", QoS::ExactlyOnce, "1")
    };
    publisher.send(Packet::Publish(publish.clone()));
    assert!(matches!(publisher.recv(), Packet::PubRec(_)));
    publisher.send(Packet::Publish(Publish { dup: true, ..publish }));
    assert!(matches!(publisher.recv(), Packet::PubRec(_)));
    assert_eq!(number(&member.take()), 1);
    member.expect_silence();
}

#[test]
fn dead_letters_can_be_listed_requeued_and_discarded() {
    let mut broker = TestBroker::with(|config| config.limits.group_deliveries = 1);
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..3);
    for _ in 0..3 {
        let publish = member.recv_publish();
        let reason = PubAckReason::UnspecifiedError;
        member.send(Packet::PubAck(PubAck {
            pkid: publish.pkid,
            reason,
            properties: None,
        }));
    }
    eventually("all died", || broker.group("workers").dead == 3);
    broker.restart();
    assert_eq!(broker.group("workers").dead, 3);
    let letters = broker.wait(broker.operator().dead_letters(JOBS, 10));
    let texts: Vec<&[u8]> = letters.iter().map(|letter| &*letter.payload).collect();
    assert_eq!(texts, [b"0", b"1", b"2"]);
    assert!(
        letters
            .iter()
            .all(|letter| letter.attempts == 1 && letter.topic == "jobs/x" && letter.died > 0)
    );
    let requeue = |ids| broker.wait(broker.operator().requeue_dead_letters(JOBS, ids));
    assert_eq!(requeue(Some(vec![letters[1].id, -5])), 1);
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    let again = member.take();
    assert_eq!((number(&again), again.dup), (1, true));
    assert_eq!(
        broker.wait(broker.operator().discard_dead_letters(JOBS, Some(vec![letters[0].id]))),
        1
    );
    assert_eq!(requeue(None), 1);
    assert_eq!(number(&member.take()), 2);
    eventually("nothing is left", || {
        let group = broker.group("workers");
        (group.waiting, group.leased, group.dead) == (0, 0, 0)
    });
}

#[test]
fn refused_message_waits_before_it_is_tried_again() {
    let broker = TestBroker::start();
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..2);
    let first = member.recv_publish();
    let refused = Instant::now();
    let reason = PubAckReason::UnspecifiedError;
    member.send(Packet::PubAck(PubAck {
        pkid: first.pkid,
        reason,
        properties: None,
    }));
    // Others do not wait for it.
    assert_eq!(number(&member.take()), 1);
    assert_eq!(number(&member.take()), 0);
    assert!(
        refused.elapsed() >= Duration::from_millis(900),
        "{:?}",
        refused.elapsed()
    );
}

#[test]
fn message_that_will_never_be_taken_is_a_dead_letter_at_once() {
    let broker = TestBroker::start();
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..1);
    let publish = member.recv_publish();
    let reason = PubAckReason::PayloadFormatInvalid;
    member.send(Packet::PubAck(PubAck {
        pkid: publish.pkid,
        reason,
        properties: None,
    }));
    eventually("it died", || broker.group("workers").dead == 1);
    let letters = broker.wait(broker.operator().dead_letters(JOBS, 10));
    assert_eq!((letters[0].attempts, letters[0].reason.as_str()), (1, "refused"));
}

#[test]
fn message_held_too_long_goes_to_another_member() {
    let broker = TestBroker::with(|config| config.limits.group_lease_seconds = 1);
    let mut stuck = V5::new(broker.address, "stuck");
    stuck.subscribe(JOBS, Q1);
    publish_jobs(&broker, 0..1);
    let held = stuck.recv_publish();
    let (mut other, _) = V5::with(broker.address, receiving("other", 10));
    other.subscribe(JOBS, Q1);
    // Both have nothing in hand then, and the one that was never served goes first.
    let again = other.take();
    assert_eq!((number(&again), again.dup), (0, true));
    eventually("it is done", || broker.group("workers").leased == 0);
    // The late acknowledgement changes nothing.
    stuck.finish(&held);
    stuck.ping();
}

#[test]
fn deadline_for_acknowledgements_can_be_one_groups_own() {
    let broker = TestBroker::with(|config| config.limits.group_leases = [("hasty".to_owned(), 1)].into());
    let mut stuck = V5::new(broker.address, "stuck");
    for group in ["hasty", "patient"] {
        stuck.subscribe(&format!("$share/{group}/jobs/#"), Q1);
    }
    publish_jobs(&broker, 0..1);
    for _ in 0..2 {
        stuck.recv_publish();
    }
    let (mut other, _) = V5::with(broker.address, receiving("other", 10));
    for group in ["hasty", "patient"] {
        other.subscribe(&format!("$share/{group}/jobs/#"), Q1);
    }
    assert!(other.take().dup);
    eventually("the hasty group is done", || broker.group("hasty").leased == 0);
    other.expect_silence();
    assert_eq!(broker.group("patient").leased, 1);
}

#[test]
fn numbers_of_a_group_say_how_long_its_oldest_message_waits() {
    let mut broker = TestBroker::start();
    let mut member = V5::new(broker.address, "worker");
    member.subscribe(JOBS, Q1);
    member.disconnect();
    assert_eq!(broker.group("workers").oldest, None);
    publish_jobs(&broker, 0..1);
    let first = broker.group("workers").oldest.unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    publish_jobs(&broker, 1..3);
    assert_eq!(broker.group("workers").oldest, Some(first));
    assert!(broker.group("workers").bytes >= 3 * "jobs/x".len());
    broker.restart();
    assert_eq!(broker.group("workers").oldest, Some(first));
}

#[test]
fn will_reaches_groups_too() {
    let broker = TestBroker::start();
    let mut member = V5::new(broker.address, "worker");
    member.subscribe("$share/undertakers/will/#", Q1);
    let will = LastWill::new("will/a", "gone", Q1, false, None);
    V5::with_will(broker.address, connect("mortal"), Some(will)).0.die();
    assert_eq!(member.take().payload, "gone");
}

#[test]
fn stop_tells_the_clients_and_keeps_leases() {
    let mut broker = TestBroker::start();
    let mut member = V5::new(broker.address, "worker");
    member.subscribe("$share/g/t", Q1);
    V5::new(broker.address, "b").publish(message("t", Q1, "x"));
    member.recv_publish();
    broker.stop();
    member.expect_disconnect(DisconnectReasonCode::ServerShuttingDown);
    broker.restart();
    eventually("the message waits", || broker.group("g").waiting == 1);
}
