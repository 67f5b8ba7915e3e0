//! MQTT 5: what happens to messages.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::*;

use crate::support::v5::{V5, connect, message, receiving, resume};
use crate::tested::Tested;
use crate::{Q0, Q1, Q2, payloads, retained};

#[test]
fn basic_of_every_qos_combination() {
    let broker = Tested::start();
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
    let broker = Tested::start();
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
fn properties_travel_with_the_message() {
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    // Some brokers count whole seconds.
    std::thread::sleep(Duration::from_millis(2500));
    let (mut client, _) = V5::with(broker.address, resume("a", 60));
    let publish = client.take();
    assert_eq!(publish.payload, "long");
    // What is left of the minute.
    assert!(matches!(
        publish.properties.unwrap().message_expiry_interval,
        Some(56..=58)
    ));
    client.subscribe("t", Q2);
    client.expect_silence();
}

#[test]
fn subscribe_options() {
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    let broker = Tested::start();
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
    let broker = Tested::with(|bounds| bounds.packet_bytes = Some(1000));
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
fn flow_control_towards_the_client() {
    let broker = Tested::start();
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
    let broker = Tested::start();
    V5::new(broker.address, "b").publish(retained("t", Q1, "kept"));
    let mut client = V5::new(broker.address, "a");
    client.subscribe("$share/g/t", Q1);
    client.expect_silence();
}

#[test]
fn overlapping_subscriptions() {
    let broker = Tested::start();
    let mut client = V5::new(broker.address, "a");
    client.subscribe_with(vec![Filter::new("t/#", Q2)], Some(1));
    client.subscribe_with(vec![Filter::new("t/+", Q1)], Some(2));
    V5::new(broker.address, "b").publish(message("t/x", Q2, "x"));
    // One message with both identifiers, or one for each subscription (section 3.3.4).
    let mut received = Vec::new();
    while let Some(packet) = client.try_recv(crate::support::SILENCE) {
        let Packet::Publish(publish) = packet else {
            panic!("{packet:?}");
        };
        received.push(publish);
    }
    let mut seen = Vec::new();
    let mut best = Q0;
    // Answered when all are there: the second may come before the answer to an answer to the first.
    for publish in received {
        client.finish(&publish);
        seen.extend(publish.properties.unwrap().subscription_identifiers);
        best = if publish.qos == Q2 { Q2 } else { best };
    }
    seen.sort_unstable();
    assert_eq!((seen.as_slice(), best), (&[1, 2][..], Q2));
}

#[test]
fn flow_control_of_the_client() {
    let broker = Tested::start();
    let (mut client, ack) = V5::with(broker.address, connect("a"));
    let most = ack
        .properties
        .and_then(|properties| properties.receive_max)
        .unwrap_or(u16::MAX);
    // Exchanges that are begun and never ended.
    for pkid in 1..=most.saturating_add(1) {
        client.send(Packet::Publish(Publish {
            pkid,
            ..message("t", Q2, "x")
        }));
    }
    let mut last = None;
    while let Some(packet) = client.try_recv(crate::support::SILENCE) {
        last = Some(packet);
    }
    match last {
        Some(Packet::Disconnect(told)) => assert_eq!(told.reason_code, DisconnectReasonCode::ReceiveMaximumExceeded),
        Some(Packet::PubRec(refused)) => assert_eq!(refused.reason, PubRecReason::QuotaExceeded),
        other => panic!("{other:?} instead of DISCONNECT or a refusal"),
    }
}

#[test]
fn shared_subscriptions_share() {
    let broker = Tested::start();
    let mut members = ["one", "two"].map(|id| V5::new(broker.address, id));
    for member in &mut members {
        member.subscribe("$share/g/t/#", Q1);
    }
    let mut everybody = V5::new(broker.address, "all");
    everybody.subscribe("t/#", Q1);
    let mut publisher = V5::new(broker.address, "b");
    for number in 0..10 {
        publisher.publish(message("t/x", Q1, number.to_string()));
    }
    assert_eq!(payloads(&mut everybody, 10).len(), 10);
    let mut shared = Vec::new();
    for member in &mut members {
        let before = shared.len();
        while let Some(Packet::Publish(publish)) = member.try_recv(crate::support::SILENCE) {
            member.finish(&publish);
            shared.push(String::from_utf8(publish.payload.to_vec()).unwrap());
        }
        assert!(shared.len() > before, "a member got nothing");
    }
    shared.sort_unstable();
    assert_eq!(shared, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn share_of_a_member_that_dies_goes_to_another() {
    let broker = Tested::start();
    let (mut first, _) = V5::with(broker.address, receiving("first", 10));
    first.subscribe("$share/g/t", Q1);
    let mut publisher = V5::new(broker.address, "b");
    for number in 0..5 {
        publisher.publish(message("t", Q1, number.to_string()));
    }
    (0..5).for_each(|_| drop(first.recv_publish()));
    let (mut second, _) = V5::with(broker.address, receiving("second", 10));
    second.subscribe("$share/g/t", Q1);
    first.die();
    assert_eq!(payloads(&mut second, 5), ["0", "1", "2", "3", "4"]);
}
