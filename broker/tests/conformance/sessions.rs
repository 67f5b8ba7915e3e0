//! MQTT 5: connections and sessions.

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::*;

use crate::support::v5::{V5, connect, message, resume};
use crate::tested::Tested;
use crate::{Q0, Q1, Q2, payloads};

#[test]
fn will_is_published_with_its_properties() {
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    // Some brokers count whole seconds.
    std::thread::sleep(Duration::from_millis(2500));
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
    let broker = Tested::start();
    let (client, ack) = V5::with(broker.address, connect(""));
    let first = ack.properties.unwrap().assigned_client_identifier.unwrap();
    let (_, ack) = V5::with(broker.address, connect(""));
    assert_ne!(first, ack.properties.unwrap().assigned_client_identifier.unwrap());
    client.disconnect();
}

#[test]
fn offline_message_queueing() {
    let broker = Tested::start();
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
    let broker = Tested::start();
    let (client, ack) = V5::with(broker.address, resume("a", 1));
    assert!(!ack.session_present);
    client.disconnect();
    let (client, ack) = V5::with(broker.address, resume("a", 1));
    assert!(ack.session_present);
    client.disconnect();
    // Some brokers count whole seconds.
    std::thread::sleep(Duration::from_millis(2500));
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
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    let broker = Tested::start();
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
fn server_keep_alive() {
    let broker = Tested::with(|bounds| bounds.keep_alive_seconds = Some(60));
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
    let broker = Tested::start();
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
fn invalid_filter_fails_alone() {
    let broker = Tested::start();
    let mut client = V5::new(broker.address, "a");
    let filters = ["a/#/b", "a", "b+"].map(|filter| Filter::new(filter, Q1));
    let codes = client.subscribe_with(filters.into(), None);
    assert_eq!(codes[1], SubscribeReasonCode::Success(Q1));
    for code in [codes[0], codes[2]] {
        assert_eq!(code, SubscribeReasonCode::TopicFilterInvalid);
    }
}

#[test]
fn dollar_topics_are_not_matched_by_wildcards() {
    let broker = Tested::start();
    let mut client = V5::new(broker.address, "a");
    client.subscribe("#", Q1);
    client.subscribe("+/x", Q1);
    let mut explicit = V5::new(broker.address, "b");
    explicit.subscribe("$other/#", Q1);
    V5::new(broker.address, "c").publish(message("$other/x", Q1, "x"));
    assert_eq!(explicit.take().topic, "$other/x");
    client.expect_silence();
}
