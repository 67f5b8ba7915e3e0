//! The decoder against packets of another library, whole and damaged.

use super::*;
use crate::codec::{ConnAck, Encoder, next_frame};
use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::v5::mqttbytes::QoS as ClientQoS;
use rumqttc::v5::mqttbytes::v5 as client;

/// Packets of every kind that a client sends, with all the properties that there are, by another library.
fn packets() -> Vec<Vec<u8>> {
    let will = client::LastWill::new(
        "will",
        "gone",
        ClientQoS::AtLeastOnce,
        true,
        Some(client::LastWillProperties {
            delay_interval: Some(1),
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(2),
            content_type: Some("t".to_owned()),
            response_topic: Some("r".to_owned()),
            correlation_data: Some("c".into()),
            user_properties: vec![("k".to_owned(), "v".to_owned())],
        }),
    );
    let connect = client::Connect {
        keep_alive: 9,
        client_id: "id".to_owned(),
        clean_start: false,
        properties: Some(client::ConnectProperties {
            session_expiry_interval: Some(3),
            receive_maximum: Some(4),
            max_packet_size: Some(5),
            topic_alias_max: Some(6),
            user_properties: vec![("k".to_owned(), "v".to_owned())],
            ..client::ConnectProperties::new()
        }),
    };
    let login = client::Login {
        username: "u".to_owned(),
        password: "p".to_owned(),
    };
    let properties = client::PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(2),
        topic_alias: Some(3),
        response_topic: Some("r".to_owned()),
        correlation_data: Some("c".into()),
        user_properties: vec![("k".to_owned(), "v".to_owned())],
        content_type: Some("t".to_owned()),
        ..client::PublishProperties::default()
    };
    let mut publish = client::Publish::new("topic", ClientQoS::AtLeastOnce, "payload", Some(properties));
    publish.pkid = 7;
    let filters = vec![client::Filter::new("a/#", ClientQoS::ExactlyOnce)];
    let identified = client::SubscribeProperties {
        id: Some(8),
        user_properties: Vec::new(),
    };
    let subscribe = client::Subscribe {
        pkid: 1,
        filters,
        properties: Some(identified),
    };
    let unsubscribe = client::Unsubscribe {
        pkid: 2,
        filters: vec!["a/#".to_owned()],
        properties: None,
    };
    let ended = client::Disconnect {
        reason_code: client::DisconnectReasonCode::DisconnectWithWillMessage,
        properties: Some(client::DisconnectProperties {
            session_expiry_interval: Some(1),
            reason_string: Some("why".to_owned()),
            user_properties: Vec::new(),
            server_reference: None,
        }),
    };
    let packets = [
        client::Packet::Connect(connect, Some(will), Some(login)),
        client::Packet::Publish(publish),
        client::Packet::PubAck(client::PubAck::new(1, None)),
        client::Packet::PubRec(client::PubRec::new(1, None)),
        client::Packet::PubRel(client::PubRel::new(1, None)),
        client::Packet::PubComp(client::PubComp::new(1, None)),
        client::Packet::Subscribe(subscribe),
        client::Packet::Unsubscribe(unsubscribe),
        client::Packet::PingReq(client::PingReq),
        client::Packet::Disconnect(ended),
    ];
    let written = |packet: &client::Packet| {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        bytes.to_vec()
    };
    packets.iter().map(written).collect()
}

fn read(version: Version, bytes: &[u8]) -> Option<Result<Packet, DecodeError>> {
    let mut buffer = BytesMut::from(bytes);
    let frame = next_frame(&mut buffer, 1 << 20).ok()??;
    Some(decode(version, frame.header, &frame.body))
}

#[test]
fn every_packet_of_another_library_is_understood() {
    for bytes in packets() {
        assert!(read(Version::V5, &bytes).unwrap().is_ok(), "{bytes:x?}");
    }
}

#[test]
fn server_packets_are_not_taken_from_clients() {
    let mut bytes = BytesMut::new();
    let ack = ConnAck {
        receive_maximum: 1,
        maximum_packet_size: 1,
        ..ConnAck::default()
    };
    Encoder::new(Version::V5).connack(&ack, &mut bytes).unwrap();
    assert!(read(Version::V5, &bytes).unwrap().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_packets_are_refused_or_read_and_never_panic(
        which in 0_usize..10,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        version in prop::sample::select(vec![Version::V4, Version::V5]),
    ) {
        let mut bytes = packets().swap_remove(which);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            // The announced length shall fit, so that the damage gets past the framing.
            if bytes.len() >= 2 && bytes.len() < 128 {
                bytes[1] = (bytes.len() - 2) as u8;
            }
        }
        drop(read(version, &bytes));
    }

    #[test]
    fn random_bodies_never_panic(
        header in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
        version in prop::sample::select(vec![Version::V4, Version::V5]),
    ) {
        let body: Arc<[u8]> = body.into();
        drop(decode(version, header, &body));
        drop(decode_connect(header, &body));
    }
}
