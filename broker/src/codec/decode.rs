//! From frames to packets.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::packet::{Properties, Property, Qos, SubEntry, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::packet::{Connect, Packet, Publish, Subscribe, SubscribeEntry, Version, Will};
use super::reason;
use crate::message::QoS;

/// A packet that cannot be read; the connection ends with `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DecodeError {
    /// Reason code for DISCONNECT or CONNACK.
    pub reason: u8,
    /// What is wrong with it.
    pub what: &'static str,
}

impl DecodeError {
    const fn malformed(what: &'static str) -> Self {
        Self {
            reason: reason::MALFORMED,
            what,
        }
    }

    const fn protocol(what: &'static str) -> Self {
        Self {
            reason: reason::PROTOCOL_ERROR,
            what,
        }
    }
}

impl From<MqttError> for DecodeError {
    fn from(error: MqttError) -> Self {
        match error {
            MqttError::ProtocolError => Self::protocol("packet breaks a rule of the protocol"),
            MqttError::UnsupportedProtocolVersion => Self {
                reason: reason::UNSUPPORTED_VERSION,
                what: "protocol version is neither 3.1.1 nor 5",
            },
            MqttError::ClientIdentifierNotValid => Self {
                reason: reason::CLIENT_ID_INVALID,
                what: "client identifier is not a valid string",
            },
            _ => Self::malformed("malformed packet"),
        }
    }
}

/// Reads the first packet of a connection, which must be a CONNECT and tells the version.
pub fn decode_connect(header: u8, body: &Arc<[u8]>) -> Result<Connect, DecodeError> {
    if header != 0x10 {
        return Err(DecodeError::protocol("first packet is not a CONNECT"));
    }
    let version = match (body.get(..6), body.get(6)) {
        (Some(b"\0\x04MQTT"), Some(4)) => Version::V4,
        (Some(b"\0\x04MQTT"), Some(5)) => Version::V5,
        (Some(b"\0\x04MQTT" | b"\0\x06MQIs"), _) => {
            return Err(DecodeError {
                reason: reason::UNSUPPORTED_VERSION,
                what: "protocol version is neither 3.1.1 nor 5",
            });
        }
        _ => {
            return Err(DecodeError::protocol("CONNECT of another protocol than MQTT"));
        }
    };
    match decode(version, header, body)? {
        Packet::Connect(connect) => Ok(*connect),
        _ => Err(DecodeError::protocol("first packet is not a CONNECT")),
    }
}

/// Reads a packet of a connection of `version`.
pub fn decode(version: Version, header: u8, body: &Arc<[u8]>) -> Result<Packet, DecodeError> {
    let (kind, flags) = (header >> 4, header & 0x0f);
    let expected = match kind {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != expected {
        return Err(DecodeError::malformed("reserved flags in the fixed header"));
    }
    let (packet, used) = match version {
        Version::V4 => decode_v4(kind, flags, body)?,
        Version::V5 => decode_v5(kind, flags, body)?,
    };
    if used != body.len() {
        return Err(DecodeError::malformed("bytes after the end of the packet"));
    }
    Ok(packet)
}

fn decode_v4(kind: u8, flags: u8, body: &Arc<[u8]>) -> Result<(Packet, usize), DecodeError> {
    Ok(match kind {
        1 => {
            check_connect_flags(body)?;
            let (packet, used) = v3_1_1::Connect::parse(body)?;
            let clean_start = packet.clean_session();
            let will = match (packet.will_topic(), packet.will_payload()) {
                (Some(topic), Some(payload)) => Some(Will {
                    topic: text(topic)?,
                    payload: payload_of(payload),
                    qos: qos(packet.will_qos()),
                    retain: packet.will_retain(),
                    delay: 0,
                    expiry: None,
                    properties: Vec::new(),
                }),
                _ => None,
            };
            let connect = Connect {
                version: Version::V4,
                client_id: text(packet.client_id())?,
                clean_start,
                keep_alive: packet.keep_alive(),
                // MQTT 3.1.1 has no expiry: a persistent session is kept as long as the limits allow.
                session_expiry: if clean_start { 0 } else { u32::MAX },
                receive_maximum: None,
                places: None,
                maximum_packet_size: None,
                topic_alias_maximum: 0,
                wants_auth_method: false,
                user_name: packet.user_name().map(text).transpose()?,
                password: packet.password().map(<[u8]>::to_vec),
                will,
            };
            (Packet::Connect(Box::new(connect)), used)
        }
        3 => {
            check_publish_flags(flags)?;
            let (packet, used) = v3_1_1::Publish::parse(flags, Arc::clone(body))?;
            let publish = Publish {
                topic: packet.topic_name().to_owned(),
                id: packet.packet_id().unwrap_or(0),
                qos: qos(packet.qos()),
                retain: packet.retain(),
                payload: packet.payload().clone(),
                alias: None,
                expiry: None,
                properties: Vec::new(),
            };
            (check_publish(publish)?, used)
        }
        4 => {
            let (packet, used) = v3_1_1::Puback::parse(two_bytes(body)?)?;
            (
                Packet::PubAck {
                    id: packet.packet_id(),
                    reason: 0,
                },
                used,
            )
        }
        5 => {
            let (packet, used) = v3_1_1::Pubrec::parse(two_bytes(body)?)?;
            (
                Packet::PubRec {
                    id: packet.packet_id(),
                    reason: 0,
                },
                used,
            )
        }
        6 => {
            let (packet, used) = v3_1_1::Pubrel::parse(two_bytes(body)?)?;
            (Packet::PubRel { id: packet.packet_id() }, used)
        }
        7 => {
            let (packet, used) = v3_1_1::Pubcomp::parse(two_bytes(body)?)?;
            (Packet::PubComp { id: packet.packet_id() }, used)
        }
        8 => {
            let (packet, used) = v3_1_1::Subscribe::parse(body)?;
            let entries = packet.entries().iter().map(entry_v4).collect::<Result<_, _>>()?;
            let subscribe = Subscribe {
                id: nonzero(packet.packet_id())?,
                identifier: None,
                entries,
            };
            (Packet::Subscribe(subscribe), used)
        }
        10 => {
            let (packet, used) = v3_1_1::Unsubscribe::parse(body)?;
            let filters = packet.entries().iter().map(|entry| entry.as_str().to_owned()).collect();
            let id = nonzero(packet.packet_id())?;
            (Packet::Unsubscribe { id, filters }, used)
        }
        12 => (Packet::PingReq, 0),
        14 => (
            Packet::Disconnect {
                reason: 0,
                session_expiry: None,
            },
            0,
        ),
        _ => {
            return Err(DecodeError::protocol("packet type that clients do not send"));
        }
    })
}

fn decode_v5(kind: u8, flags: u8, body: &Arc<[u8]>) -> Result<(Packet, usize), DecodeError> {
    Ok(match kind {
        1 => {
            check_connect_flags(body)?;
            let (packet, used) = v5_0::Connect::parse(body)?;
            (Packet::Connect(Box::new(connect_v5(&packet)?)), used)
        }
        3 => {
            check_publish_flags(flags)?;
            let (packet, used) = v5_0::Publish::parse(flags, Arc::clone(body))?;
            let mut publish = Publish {
                topic: packet.topic_name().to_owned(),
                id: packet.packet_id().unwrap_or(0),
                qos: qos(packet.qos()),
                retain: packet.retain(),
                payload: packet.payload().clone(),
                alias: None,
                expiry: None,
                properties: Vec::new(),
            };
            for property in packet.props() {
                match property {
                    Property::TopicAlias(alias) => publish.alias = Some(alias.val()),
                    Property::MessageExpiryInterval(expiry) => publish.expiry = Some(expiry.val()),
                    Property::SubscriptionIdentifier(_) => {
                        return Err(DecodeError::protocol("subscription identifier from a client"));
                    }
                    other => publish.properties.push(other.clone()),
                }
            }
            (check_publish(publish)?, used)
        }
        4 => {
            let (packet, used) = v5_0::Puback::parse(body)?;
            let reason = packet.reason_code().map_or(0, |code| code as u8);
            (
                Packet::PubAck {
                    id: packet.packet_id(),
                    reason,
                },
                used,
            )
        }
        5 => {
            let (packet, used) = v5_0::Pubrec::parse(body)?;
            let reason = packet.reason_code().map_or(0, |code| code as u8);
            (
                Packet::PubRec {
                    id: packet.packet_id(),
                    reason,
                },
                used,
            )
        }
        6 => {
            let (packet, used) = v5_0::Pubrel::parse(body)?;
            (Packet::PubRel { id: packet.packet_id() }, used)
        }
        7 => {
            let (packet, used) = v5_0::Pubcomp::parse(body)?;
            (Packet::PubComp { id: packet.packet_id() }, used)
        }
        8 => {
            let (packet, used) = v5_0::Subscribe::parse(body)?;
            let identifier = packet.props().iter().find_map(|property| match property {
                Property::SubscriptionIdentifier(identifier) => Some(identifier.val()),
                _ => None,
            });
            let subscribe = Subscribe {
                id: nonzero(packet.packet_id())?,
                identifier,
                entries: packet.entries().iter().map(entry_v5).collect(),
            };
            (Packet::Subscribe(subscribe), used)
        }
        10 => {
            let (packet, used) = v5_0::Unsubscribe::parse(body)?;
            let filters = packet.entries().iter().map(|entry| entry.as_str().to_owned()).collect();
            let id = nonzero(packet.packet_id())?;
            (Packet::Unsubscribe { id, filters }, used)
        }
        12 => (Packet::PingReq, 0),
        14 => {
            let (packet, used) = v5_0::Disconnect::parse(body)?;
            let session_expiry = packet.props().as_ref().and_then(session_expiry_of);
            let reason = packet.reason_code().map_or(0, |code| code as u8);
            (Packet::Disconnect { reason, session_expiry }, used)
        }
        15 => (Packet::Auth, body.len()),
        _ => {
            return Err(DecodeError::protocol("packet type that clients do not send"));
        }
    })
}

fn connect_v5(packet: &v5_0::Connect) -> Result<Connect, DecodeError> {
    let mut connect = Connect {
        version: Version::V5,
        client_id: text(packet.client_id())?,
        clean_start: packet.clean_start(),
        keep_alive: packet.keep_alive(),
        session_expiry: 0,
        receive_maximum: None,
        places: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        wants_auth_method: false,
        user_name: packet.user_name().map(text).transpose()?,
        password: packet.password().map(<[u8]>::to_vec),
        will: None,
    };
    for property in packet.props() {
        match property {
            Property::SessionExpiryInterval(expiry) => connect.session_expiry = expiry.val(),
            Property::ReceiveMaximum(maximum) => connect.receive_maximum = Some(maximum.val()),
            Property::MaximumPacketSize(size) => connect.maximum_packet_size = Some(size.val()),
            Property::TopicAliasMaximum(maximum) => connect.topic_alias_maximum = maximum.val(),
            Property::AuthenticationMethod(_) => connect.wants_auth_method = true,
            Property::UserProperty(pair) if pair.key() == crate::PLACES_PROPERTY => {
                connect.places = pair.val().parse().ok();
            }
            _ => {}
        }
    }
    if let (Some(topic), Some(payload)) = (packet.will_topic(), packet.will_payload()) {
        let mut will = Will {
            topic: text(topic)?,
            payload: payload_of(payload),
            qos: qos(packet.will_qos()),
            retain: packet.will_retain(),
            delay: 0,
            expiry: None,
            properties: Vec::new(),
        };
        for property in packet.will_props() {
            match property {
                Property::WillDelayInterval(delay) => will.delay = delay.val(),
                Property::MessageExpiryInterval(expiry) => will.expiry = Some(expiry.val()),
                other => will.properties.push(other.clone()),
            }
        }
        connect.will = Some(will);
    }
    Ok(connect)
}

fn session_expiry_of(properties: &Properties) -> Option<u32> {
    properties.iter().find_map(|property| match property {
        Property::SessionExpiryInterval(expiry) => Some(expiry.val()),
        _ => None,
    })
}

/// The connect flags at byte 7: the reserved bit, a will QoS of 3, and will bits without a will are errors that
/// the library lets pass, or would read past.
fn check_connect_flags(body: &[u8]) -> Result<(), DecodeError> {
    let &flags = body
        .get(7)
        .ok_or(DecodeError::malformed("CONNECT ends in its header"))?;
    let will = flags & 0x04 != 0;
    let will_qos = (flags >> 3) & 0x03;
    if flags & 0x01 != 0 || will_qos == 3 || (!will && flags & 0x38 != 0) {
        return Err(DecodeError::malformed("impossible connect flags"));
    }
    Ok(())
}

fn check_publish_flags(flags: u8) -> Result<(), DecodeError> {
    let qos = (flags >> 1) & 0x03;
    if qos == 3 || (qos == 0 && flags & 0x08 != 0) {
        return Err(DecodeError::malformed("impossible flags in a PUBLISH"));
    }
    Ok(())
}

fn check_publish(publish: Publish) -> Result<Packet, DecodeError> {
    if publish.qos != QoS::AtMostOnce && publish.id == 0 {
        return Err(DecodeError::protocol("packet id 0"));
    }
    Ok(Packet::Publish(publish))
}

/// MQTT 3.1.1 acknowledgements are two bytes; the library would take a reason code after them.
fn two_bytes(body: &[u8]) -> Result<&[u8], DecodeError> {
    if body.len() == 2 {
        Ok(body)
    } else {
        Err(DecodeError::malformed("acknowledgement is not two bytes long"))
    }
}

fn nonzero(id: u16) -> Result<u16, DecodeError> {
    if id == 0 {
        Err(DecodeError::protocol("packet id 0"))
    } else {
        Ok(id)
    }
}

fn text(text: &str) -> Result<String, DecodeError> {
    if text.contains('\0') {
        return Err(DecodeError::malformed("U+0000 in a string"));
    }
    Ok(text.to_owned())
}

fn payload_of(bytes: &[u8]) -> ArcPayload {
    ArcPayload::new(Arc::from(bytes), 0, bytes.len())
}

fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn entry_v5(entry: &SubEntry) -> SubscribeEntry {
    let options = entry.sub_opts();
    SubscribeEntry {
        filter: entry.topic_filter().to_owned(),
        qos: qos(options.qos()),
        no_local: options.nl(),
        retain_as_published: options.rap(),
        retain_handling: options.rh() as u8,
    }
}

fn entry_v4(entry: &SubEntry) -> Result<SubscribeEntry, DecodeError> {
    let entry = entry_v5(entry);
    if entry.no_local || entry.retain_as_published || entry.retain_handling != 0 {
        return Err(DecodeError::malformed("reserved bits in the requested QoS"));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests;
