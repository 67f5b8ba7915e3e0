//! What MQTT promises about sessions, messages and options: the scenarios of the Eclipse Paho interoperability
//! suite and some more, for both protocol versions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::v4::{self, V4};
use support::v5::{V5, connect, message, receiving, resume};
use support::{TestBroker, eventually};

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;

fn retained(topic: &str, qos: QoS, payload: &str) -> Publish {
    Publish {
        retain: true,
        ..message(topic, qos, payload)
    }
}

fn payloads(client: &mut V5, count: usize) -> Vec<String> {
    let mut payloads: Vec<_> = (0..count)
        .map(|_| String::from_utf8(client.take().payload.to_vec()).unwrap())
        .collect();
    payloads.sort_unstable();
    payloads
}

mod v3_1_1 {
    use super::*;
    use rumqttc::QoS::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};

    #[test]
    fn basic() {
        let broker = TestBroker::start();
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
        let broker = TestBroker::start();
        let mut publisher = V4::new(broker.address, "a");
        for (topic, qos) in [("r/0", AtMostOnce), ("r/1", AtLeastOnce), ("r/2", ExactlyOnce)] {
            let mut publish = rumqttc::Publish::new(topic, qos, "kept");
            publish.retain = true;
            publish.pkid = u16::from(qos != AtMostOnce) * 9;
            publisher.send(rumqttc::Packet::Publish(publish));
            if qos != AtMostOnce {
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
        let broker = TestBroker::start();
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
        let broker = TestBroker::start();
        V4::new(broker.address, "").ping();
        let mut wire = support::Wire::open(broker.address);
        // Without clean session it is refused with code 2.
        wire.write(b"\x10\x0c\0\x04MQTT\x04\x00\0\0\0\0");
        let answer = wire.read(support::PATIENCE, |buffer| (buffer.len() >= 4).then(|| buffer.to_vec()));
        assert_eq!(answer.unwrap(), b"\x20\x02\0\x02");
    }

    #[test]
    fn offline_message_queueing() {
        let broker = TestBroker::start();
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
    fn overlapping_subscriptions_deliver_each_qos_once() {
        let broker = TestBroker::start();
        let mut client = V4::new(broker.address, "a");
        client.subscribe("t/#", ExactlyOnce);
        client.subscribe("t/+", AtLeastOnce);
        V4::new(broker.address, "b").publish("t/x", ExactlyOnce, "x");
        let mut qos = [client.recv_publish().qos, client.recv_publish().qos];
        qos.sort_by_key(|qos| *qos as u8);
        assert_eq!(qos, [AtLeastOnce, ExactlyOnce]);
        client.expect_silence();
    }

    #[test]
    fn keep_alive_timeout_publishes_the_will() {
        let broker = TestBroker::start();
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
        let broker = TestBroker::start();
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
        let broker = TestBroker::start();
        let mut client = V4::new(broker.address, "a");
        assert_eq!(
            client.subscribe("a/#/b", ExactlyOnce),
            [rumqttc::SubscribeReasonCode::Failure]
        );
        client.ping();
    }

    #[test]
    fn dollar_topics_are_not_matched_by_wildcards() {
        let broker = TestBroker::start();
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
        let broker = TestBroker::start();
        let (mut first, _) = V4::with(broker.address, v4::connect("same", false));
        first.subscribe("t", AtLeastOnce);
        let (mut second, ack) = V4::with(broker.address, v4::connect("same", false));
        assert!(ack.session_present);
        assert!(first.wire.is_closed());
        V4::new(broker.address, "b").publish("t", AtLeastOnce, "x");
        assert_eq!(second.take().payload, "x");
    }
}

#[test]
fn basic_of_every_qos_combination() {
    let broker = TestBroker::start();
    for subscribed in [Q0, Q1, Q2] {
        let mut client = V5::new(broker.address, "a");
        assert_eq!(
            client.subscribe("topic/a", subscribed),
            [SubscribeReasonCode::Success(subscribed)]
        );
        for published in [Q0, Q1, Q2] {
            V5::new(broker.address, "b").publish(message("topic/a", published, "x"));
            assert_eq!(client.take().qos as u8, (subscribed as u8).min(published as u8));
        }
    }
}

#[test]
fn retained_message_is_replaced_and_deleted() {
    let broker = TestBroker::start();
    let mut publisher = V5::new(broker.address, "a");
    publisher.publish(retained("presence/a", Q1, "here"));
    publisher.publish(retained("presence/b", Q1, "here"));
    publisher.publish(retained("presence/a", Q1, "busy"));
    publisher.publish(retained("presence/b", Q1, ""));
    // An empty message without RETAIN deletes nothing.
    publisher.publish(message("presence/a", Q1, ""));
    let mut client = V5::new(broker.address, "b");
    client.subscribe("presence/#", Q1);
    let publish = client.take();
    assert_eq!((&*publish.payload, publish.retain), (&b"busy"[..], true));
    client.expect_silence();
    // To those who are there already it is an ordinary message.
    publisher.publish(retained("presence/a", Q1, "idle"));
    assert!(!client.take().retain);
}

#[test]
fn will_is_published_with_its_properties() {
    let broker = TestBroker::start();
    let mut watcher = V5::new(broker.address, "watcher");
    watcher.subscribe("will", Q2);
    let properties = LastWillProperties {
        delay_interval: None,
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(30),
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("reply".to_owned()),
        correlation_data: Some("c".into()),
        user_properties: vec![("k".to_owned(), "v".to_owned())],
    };
    let will = LastWill::new("will", "gone", Q1, false, Some(properties));
    V5::with_will(broker.address, connect("mortal"), Some(will)).0.die();
    let will = watcher.take();
    let properties = will.properties.unwrap();
    assert_eq!(will.payload, "gone");
    assert_eq!(properties.message_expiry_interval, Some(30));
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(properties.user_properties, [("k".to_owned(), "v".to_owned())]);
}

#[test]
fn disconnect_with_will_publishes_it() {
    let broker = TestBroker::start();
    let mut watcher = V5::new(broker.address, "watcher");
    watcher.subscribe("will", Q1);
    let will = LastWill::new("will", "gone", Q1, false, None);
    let (mut client, _) = V5::with_will(broker.address, connect("a"), Some(will));
    let reason_code = DisconnectReasonCode::DisconnectWithWillMessage;
    client.send(Packet::Disconnect(Disconnect {
        reason_code,
        properties: None,
    }));
    assert_eq!(watcher.take().payload, "gone");
}

#[test]
fn will_delay() {
    let broker = TestBroker::start();
    let mut watcher = V5::new(broker.address, "watcher");
    watcher.subscribe("will", Q1);
    let will = || {
        let properties = LastWillProperties {
            delay_interval: Some(1),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        Some(LastWill::new("will", "gone", Q1, false, Some(properties)))
    };
    // The client is back before the delay is over: no will.
    V5::with_will(broker.address, resume("mortal", 60), will()).0.die();
    let (client, ack) = V5::with_will(broker.address, resume("mortal", 60), will());
    assert!(ack.session_present);
    std::thread::sleep(Duration::from_millis(1300));
    watcher.expect_silence();
    // It is not: the will comes after the delay.
    let died = Instant::now();
    client.die();
    assert_eq!(watcher.take().payload, "gone");
    assert!(died.elapsed() >= Duration::from_millis(950), "{:?}", died.elapsed());
    // The session ends before the delay: the will comes with its end.
    V5::with_will(broker.address, connect("short"), will()).0.die();
    assert_eq!(watcher.take().payload, "gone");
}

#[test]
fn assigned_client_id() {
    let broker = TestBroker::start();
    let (client, ack) = V5::with(broker.address, connect(""));
    let first = ack.properties.unwrap().assigned_client_identifier.unwrap();
    let (_, ack) = V5::with(broker.address, connect(""));
    assert_ne!(first, ack.properties.unwrap().assigned_client_identifier.unwrap());
    client.disconnect();
}

#[test]
fn offline_message_queueing() {
    let broker = TestBroker::start();
    let (mut client, _) = V5::with(broker.address, resume("sleeper", 60));
    client.subscribe("+/+", Q2);
    client.disconnect();
    let mut publisher = V5::new(broker.address, "b");
    for (qos, payload) in [(Q0, "0"), (Q1, "1"), (Q2, "2")] {
        publisher.publish(message("a/b", qos, payload));
    }
    publisher.ping();
    let (mut client, ack) = V5::with(broker.address, resume("sleeper", 60));
    assert!(ack.session_present);
    assert_eq!(payloads(&mut client, 2), ["1", "2"]);
    client.expect_silence();
}

#[test]
fn session_expiry() {
    let broker = TestBroker::start();
    let (client, ack) = V5::with(broker.address, resume("a", 1));
    assert!(!ack.session_present);
    client.disconnect();
    let (client, ack) = V5::with(broker.address, resume("a", 1));
    assert!(ack.session_present);
    client.disconnect();
    std::thread::sleep(Duration::from_millis(1300));
    let (mut client, ack) = V5::with(broker.address, resume("a", 1));
    assert!(!ack.session_present);
    // DISCONNECT can change it.
    let properties = DisconnectProperties {
        session_expiry_interval: Some(0),
        reason_string: None,
        user_properties: Vec::new(),
        server_reference: None,
    };
    let reason_code = DisconnectReasonCode::NormalDisconnection;
    client.send(Packet::Disconnect(Disconnect {
        reason_code,
        properties: Some(properties),
    }));
    assert!(client.wire.is_closed());
    let (_, ack) = V5::with(broker.address, resume("a", 1));
    assert!(!ack.session_present);
}

#[test]
fn clean_start_ends_the_old_session() {
    let broker = TestBroker::start();
    let (mut client, _) = V5::with(broker.address, resume("a", 60));
    client.subscribe("t", Q1);
    client.disconnect();
    let (mut client, ack) = V5::with(broker.address, connect("a"));
    assert!(!ack.session_present);
    V5::new(broker.address, "b").publish(message("t", Q1, "x"));
    client.expect_silence();
}

#[test]
fn session_taken_over_tells_the_old_connection() {
    let broker = TestBroker::start();
    let mut watcher = V5::new(broker.address, "watcher");
    watcher.subscribe("will", Q1);
    let will = LastWill::new("will", "gone", Q1, false, None);
    let (mut first, _) = V5::with_will(broker.address, connect("same"), Some(will));
    let mut second = V5::new(broker.address, "same");
    first.expect_disconnect(DisconnectReasonCode::SessionTakenOver);
    assert_eq!(watcher.take().payload, "gone");
    second.ping();
}

#[test]
fn redelivery_on_reconnect() {
    let broker = TestBroker::start();
    let (mut client, _) = V5::with(broker.address, resume("a", 60));
    client.subscribe("t", Q2);
    let mut publisher = V5::new(broker.address, "b");
    publisher.publish(message("t", Q1, "one"));
    publisher.publish(message("t", Q2, "two"));
    let (one, two) = (client.recv_publish(), client.recv_publish());
    client.die();
    let (mut client, _) = V5::with(broker.address, resume("a", 60));
    for expected in [one, two] {
        let again = client.take();
        assert!(again.dup);
        assert_eq!((again.pkid, again.payload), (expected.pkid, expected.payload));
    }
    client.ping();
    client.die();
    let (mut client, _) = V5::with(broker.address, resume("a", 60));
    client.expect_silence();
}

#[test]
fn unsubscribe_says_whether_there_was_a_subscription() {
    let broker = TestBroker::start();
    let mut client = V5::new(broker.address, "a");
    for filter in ["a", "b", "c", "$share/g/s"] {
        client.subscribe(filter, Q1);
    }
    assert_eq!(client.unsubscribe("a"), [UnsubAckReason::Success]);
    assert_eq!(client.unsubscribe("a"), [UnsubAckReason::NoSubscriptionExisted]);
    assert_eq!(client.unsubscribe("$share/g/s"), [UnsubAckReason::Success]);
    assert_eq!(client.unsubscribe("a/#/b"), [UnsubAckReason::TopicFilterInvalid]);
    let mut publisher = V5::new(broker.address, "b");
    for topic in ["a", "b", "c", "s"] {
        publisher.publish(message(topic, Q1, topic));
    }
    assert_eq!(payloads(&mut client, 2), ["b", "c"]);
    client.expect_silence();
}

#[test]
fn properties_travel_with_the_message() {
    let broker = TestBroker::start();
    let mut client = V5::new(broker.address, "a");
    client.subscribe("t", Q2);
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        response_topic: Some("reply".to_owned()),
        correlation_data: Some("334".into()),
        user_properties: vec![("a".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())],
        content_type: Some("application/json".to_owned()),
        ..PublishProperties::default()
    };
    for qos in [Q0, Q1, Q2] {
        let publish = Publish {
            properties: Some(properties.clone()),
            ..message("t", qos, "{}")
        };
        V5::new(broker.address, "b").publish(publish);
        assert_eq!(client.take().properties.as_ref(), Some(&properties));
    }
}

#[test]
fn publication_expiry() {
    let broker = TestBroker::start();
    let (mut client, _) = V5::with(broker.address, resume("a", 60));
    client.subscribe("t", Q2);
    client.disconnect();
    let mut publisher = V5::new(broker.address, "b");
    let expiring = |payload: &str, seconds| {
        let properties = PublishProperties {
            message_expiry_interval: Some(seconds),
            ..PublishProperties::default()
        };
        Publish {
            properties: Some(properties),
            ..message("t", Q1, payload)
        }
    };
    publisher.publish(expiring("short", 1));
    publisher.publish(expiring("long", 60));
    publisher.publish(Publish {
        retain: true,
        ..expiring("kept short", 1)
    });
    std::thread::sleep(Duration::from_millis(1500));
    let (mut client, _) = V5::with(broker.address, resume("a", 60));
    let publish = client.take();
    assert_eq!(publish.payload, "long");
    // What is left of the minute.
    assert!(matches!(
        publish.properties.unwrap().message_expiry_interval,
        Some(57..=59)
    ));
    client.subscribe("t", Q2);
    client.expect_silence();
}

#[test]
fn subscribe_options() {
    let broker = TestBroker::start();
    let mut client = V5::new(broker.address, "a");
    let with = |path: &str, edit: fn(&mut Filter)| {
        let mut filter = Filter::new(path, Q1);
        edit(&mut filter);
        vec![filter]
    };
    // No Local.
    client.subscribe_with(with("local", |filter| filter.nolocal = true), None);
    client.publish(message("local", Q1, "own"));
    V5::new(broker.address, "b").publish(message("local", Q1, "other"));
    assert_eq!(client.take().payload, "other");
    // Retain As Published.
    client.subscribe_with(with("rap", |filter| filter.preserve_retain = true), None);
    V5::new(broker.address, "b").publish(retained("rap", Q1, "x"));
    assert!(client.take().retain);
    V5::new(broker.address, "b").publish(message("rap", Q1, "x"));
    assert!(!client.take().retain);
    // Retain Handling.
    V5::new(broker.address, "b").publish(retained("handling", Q1, "kept"));
    let never = with("handling", |filter| {
        filter.retain_forward_rule = RetainForwardRule::Never
    });
    client.subscribe_with(never, None);
    client.expect_silence();
    let when_new = || {
        with("handling", |filter| {
            filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe
        })
    };
    client.subscribe_with(when_new(), None);
    client.expect_silence();
    client.unsubscribe("handling");
    client.subscribe_with(when_new(), None);
    assert_eq!(client.take().payload, "kept");
    client.subscribe("handling", Q1);
    assert_eq!(client.take().payload, "kept");
}

#[test]
fn subscription_identifiers() {
    let broker = TestBroker::start();
    let mut client = V5::new(broker.address, "a");
    client.subscribe_with(vec![Filter::new("t/a", Q1)], Some(456_789));
    client.subscribe_with(vec![Filter::new("t/+", Q1)], Some(2));
    client.subscribe("other", Q1);
    let mut publisher = V5::new(broker.address, "b");
    publisher.publish(message("t/a", Q1, "x"));
    let mut identifiers: Vec<usize> = (0..2)
        .flat_map(|_| client.take().properties.unwrap().subscription_identifiers)
        .collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [2, 456_789]);
    publisher.publish(message("other", Q1, "x"));
    assert_eq!(client.take().properties, None);
}

#[test]
fn request_and_response() {
    let broker = TestBroker::start();
    let mut asker = V5::new(broker.address, "asker");
    asker.subscribe("reply/asker", Q1);
    let mut answerer = V5::new(broker.address, "answerer");
    answerer.subscribe("ask", Q1);
    let properties = PublishProperties {
        response_topic: Some("reply/asker".to_owned()),
        correlation_data: Some("7".into()),
        ..PublishProperties::default()
    };
    asker.publish(Publish {
        properties: Some(properties),
        ..message("ask", Q1, "?")
    });
    let question = answerer.take().properties.unwrap();
    let properties = PublishProperties {
        correlation_data: question.correlation_data,
        ..PublishProperties::default()
    };
    let answer = message(&question.response_topic.unwrap(), Q1, "!");
    answerer.publish(Publish {
        properties: Some(properties),
        ..answer
    });
    assert_eq!(asker.take().properties.unwrap().correlation_data.unwrap(), "7");
}

#[test]
fn client_topic_alias() {
    let broker = TestBroker::start();
    let mut client = V5::new(broker.address, "a");
    client.subscribe("t/#", Q1);
    let (mut publisher, ack) = V5::with(broker.address, connect("b"));
    assert!(ack.properties.unwrap().topic_alias_max.unwrap() > 0);
    let aliased = |topic: &str| {
        let properties = PublishProperties {
            topic_alias: Some(1),
            ..PublishProperties::default()
        };
        Publish {
            properties: Some(properties),
            ..message(topic, Q1, "x")
        }
    };
    for (topic, expected) in [("t/1", "t/1"), ("", "t/1"), ("t/2", "t/2"), ("", "t/2")] {
        publisher.publish(aliased(topic));
        let publish = client.take();
        assert_eq!(publish.topic, expected);
        assert_eq!(publish.properties, None);
    }
}

#[test]
fn server_topic_alias() {
    let broker = TestBroker::start();
    let properties = ConnectProperties {
        topic_alias_max: Some(1),
        ..ConnectProperties::new()
    };
    let (mut client, _) = V5::with(
        broker.address,
        Connect {
            properties: Some(properties),
            ..connect("a")
        },
    );
    client.subscribe("t/#", Q1);
    let mut publisher = V5::new(broker.address, "b");
    let mut seen = Vec::new();
    for topic in ["t/1", "t/1", "t/2", "t/1"] {
        publisher.publish(message(topic, Q1, "x"));
        let publish = client.take();
        let alias = publish.properties.and_then(|properties| properties.topic_alias);
        seen.push((String::from_utf8(publish.topic.to_vec()).unwrap(), alias));
    }
    let expected = [("t/1", Some(1)), ("", Some(1)), ("t/2", None), ("", Some(1))];
    assert_eq!(seen, expected.map(|(topic, alias)| (topic.to_owned(), alias)));
}

#[test]
fn maximum_packet_size_of_both_sides() {
    let broker = TestBroker::with(|config| config.limits.packet_bytes = 1000);
    let properties = ConnectProperties {
        max_packet_size: Some(200),
        ..ConnectProperties::new()
    };
    let (mut client, ack) = V5::with(
        broker.address,
        Connect {
            properties: Some(properties),
            ..connect("a")
        },
    );
    assert_eq!(ack.properties.unwrap().max_packet_size, Some(1000));
    client.subscribe("t", Q1);
    let mut publisher = V5::new(broker.address, "b");
    publisher.publish(message("t", Q1, vec![b'x'; 300]));
    publisher.publish(message("t", Q1, "small"));
    assert_eq!(client.take().payload, "small");
    publisher.send(Packet::Publish(message("t", Q0, vec![b'x'; 1100])));
    publisher.expect_disconnect(DisconnectReasonCode::PacketTooLarge);
}

#[test]
fn server_keep_alive() {
    let broker = TestBroker::with(|config| config.limits.keep_alive_seconds = 60);
    for (asked, told) in [(120, Some(60)), (0, Some(60)), (30, None)] {
        let (_, ack) = V5::with(
            broker.address,
            Connect {
                keep_alive: asked,
                ..connect("a")
            },
        );
        assert_eq!(ack.properties.unwrap().server_keep_alive, told);
    }
}

#[test]
fn keep_alive_timeout_is_told() {
    let broker = TestBroker::start();
    let (mut client, _) = V5::with(
        broker.address,
        Connect {
            keep_alive: 1,
            ..connect("a")
        },
    );
    client.expect_disconnect(DisconnectReasonCode::KeepAliveTimeout);
}

#[test]
fn flow_control_towards_the_client() {
    let broker = TestBroker::start();
    for qos in [Q1, Q2] {
        let (mut client, _) = V5::with(broker.address, receiving("a", 3));
        client.subscribe("t", qos);
        let mut publisher = V5::new(broker.address, "b");
        for n in 0..8 {
            publisher.publish(message("t", qos, n.to_string()));
        }
        let held: Vec<Publish> = (0..3).map(|_| client.recv_publish()).collect();
        client.expect_silence();
        for (n, publish) in held.iter().enumerate() {
            client.finish(publish);
            let next = client.recv_publish();
            assert_eq!(next.payload, (n + 3).to_string());
        }
        // QoS 0 is not part of it.
        publisher.publish(message("t", Q0, "free"));
    }
}

#[test]
fn shared_subscriptions_get_no_retained_messages() {
    let broker = TestBroker::start();
    V5::new(broker.address, "b").publish(retained("t", Q1, "kept"));
    let mut client = V5::new(broker.address, "a");
    client.subscribe("$share/g/t", Q1);
    client.expect_silence();
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
