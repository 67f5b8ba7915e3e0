//! From what the broker wants to say to bytes, in the version of the connection.

use bytes::{BufMut, BytesMut};
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumPacketSize, MessageExpiryInterval, Properties, Property, Qos, ReceiveMaximum,
    ServerKeepAlive, SessionExpiryInterval, SubscriptionIdentifier, TopicAlias, TopicAliasMaximum, UserProperty,
    v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode, PubcompReasonCode,
    PubrecReasonCode, PubrelReasonCode, SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};

use super::packet::Version;
use super::reason;
use crate::message::{Message, QoS, Timestamp};

/// CONNACK, as MQTT 5 has it; only the first two fields reach a 3.1.1 client.
#[derive(Debug, Default)]
pub struct ConnAck {
    /// Reason code.
    pub reason: u8,
    /// Earlier state was found.
    pub session_present: bool,
    /// The client identifier that the broker chose.
    pub assigned_client_id: Option<String>,
    /// The keep alive that the broker demands.
    pub server_keep_alive: Option<u16>,
    /// Session expiry, when it is not what the client asked for.
    pub session_expiry: Option<u32>,
    /// How many unacknowledged publishes the broker takes.
    pub receive_maximum: u16,
    /// Largest packet that the broker takes.
    pub maximum_packet_size: u32,
    /// Largest topic alias that the client may set.
    pub topic_alias_maximum: u16,
    /// The time.
    pub time: Timestamp,
}

/// A PUBLISH to a client.
#[derive(Debug)]
pub struct EncodedPublish<'a> {
    /// The message.
    pub message: &'a Message,
    /// Effective QoS.
    pub qos: QoS,
    /// DUP flag.
    pub dup: bool,
    /// RETAIN flag.
    pub retain: bool,
    /// Packet id; 0 for QoS 0.
    pub id: u16,
    /// Subscription identifier of the subscription that matched.
    pub subscription: Option<u32>,
    /// A topic alias, and whether the client has to be told what it stands for.
    pub alias: Option<(u16, bool)>,
    /// Which attempt of a group's message this is, from 1; 0 outside of groups.
    pub attempt: u32,
}

/// Writes one of the four packets that answer for a packet id. They are alike but for their types: MQTT 5 has a reason
/// code, which is left out where it says nothing (section 3.4.2.1); MQTT 3.1.1 has none.
macro_rules! answer {
    ($packet:ident, $encoder:expr, $id:expr, $reason:expr, $out:expr) => {{
        let bytes = match $encoder.version {
            Version::V4 => v3_1_1::$packet::builder()
                .packet_id($id)
                .build()?
                .to_continuous_buffer(),
            Version::V5 => {
                let builder = v5_0::$packet::builder().packet_id($id);
                let builder = match $reason {
                    None => builder,
                    Some(reason) => builder.reason_code(reason),
                };
                builder.build()?.to_continuous_buffer()
            }
        };
        $out.put_slice(&bytes);
        Ok(())
    }};
}

/// Writes packets of one protocol version.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    version: Version,
}

impl Encoder {
    /// An encoder for `version`.
    pub fn new(version: Version) -> Self {
        Self { version }
    }

    /// Writes a CONNACK.
    pub fn connack(self, ack: &ConnAck, out: &mut BytesMut) -> Result<(), MqttError> {
        let bytes = match self.version {
            Version::V4 => v3_1_1::Connack::builder()
                .session_present(ack.session_present)
                .return_code(return_code(ack.reason))
                .build()?
                .to_continuous_buffer(),
            Version::V5 => {
                let code = ConnectReasonCode::try_from(ack.reason).unwrap_or(ConnectReasonCode::UnspecifiedError);
                let mut properties = Properties::new();
                if ack.reason == reason::SUCCESS {
                    properties.push(Property::ReceiveMaximum(ReceiveMaximum::new(ack.receive_maximum)?));
                    properties.push(Property::MaximumPacketSize(MaximumPacketSize::new(
                        ack.maximum_packet_size,
                    )?));
                    properties.push(Property::TopicAliasMaximum(TopicAliasMaximum::new(
                        ack.topic_alias_maximum,
                    )?));
                    properties.push(Property::UserProperty(UserProperty::new(crate::DURABLE_PROPERTY, "1")?));
                    let time = UserProperty::new(crate::TIME_PROPERTY, ack.time.0.to_string())?;
                    properties.push(Property::UserProperty(time));
                }
                if let Some(id) = &ack.assigned_client_id {
                    properties.push(Property::AssignedClientIdentifier(AssignedClientIdentifier::new(id)?));
                }
                if let Some(seconds) = ack.server_keep_alive {
                    properties.push(Property::ServerKeepAlive(ServerKeepAlive::new(seconds)?));
                }
                if let Some(seconds) = ack.session_expiry {
                    properties.push(Property::SessionExpiryInterval(SessionExpiryInterval::new(seconds)?));
                }
                v5_0::Connack::builder()
                    .session_present(ack.session_present)
                    .reason_code(code)
                    .props(properties)
                    .build()?
                    .to_continuous_buffer()
            }
        };
        out.put_slice(&bytes);
        Ok(())
    }

    /// Writes a PUBLISH, unless it is larger than `limit`; says whether it was written.
    pub fn publish(
        self,
        publish: &EncodedPublish<'_>,
        limit: Option<u32>,
        now: Timestamp,
        out: &mut BytesMut,
    ) -> Result<bool, MqttError> {
        let message = publish.message;
        let id = (publish.qos != QoS::AtMostOnce).then_some(publish.id);
        let bytes = match self.version {
            Version::V4 => v3_1_1::Publish::builder()
                .topic_name(message.topic.as_str())?
                .qos(qos(publish.qos))
                .dup(publish.dup)
                .retain(publish.retain)
                .packet_id(id)
                .payload(message.payload.clone())
                .build()?
                .to_continuous_buffer(),
            Version::V5 => {
                let mut properties = message.properties.clone();
                if let Some(expires) = message.expires {
                    properties.push(Property::MessageExpiryInterval(MessageExpiryInterval::new(
                        expires.seconds_from(now),
                    )?));
                }
                if let Some(identifier) = publish.subscription {
                    properties.push(Property::SubscriptionIdentifier(SubscriptionIdentifier::new(
                        identifier,
                    )?));
                }
                if let Some((alias, _)) = publish.alias {
                    properties.push(Property::TopicAlias(TopicAlias::new(alias)?));
                }
                if publish.attempt > 1 {
                    properties.push(Property::UserProperty(UserProperty::new(
                        crate::ATTEMPT_PROPERTY,
                        publish.attempt.to_string(),
                    )?));
                }
                let topic = match publish.alias {
                    Some((_, false)) => "",
                    _ => message.topic.as_str(),
                };
                v5_0::Publish::builder()
                    .topic_name(topic)?
                    .qos(qos(publish.qos))
                    .dup(publish.dup)
                    .retain(publish.retain)
                    .packet_id(id)
                    .props(properties)
                    .payload(message.payload.clone())
                    .build()?
                    .to_continuous_buffer()
            }
        };
        if limit.is_some_and(|limit| u32::try_from(bytes.len()).unwrap_or(u32::MAX) > limit) {
            return Ok(false);
        }
        out.put_slice(&bytes);
        Ok(true)
    }

    /// Writes a PUBACK.
    pub fn puback(self, id: u16, code: u8, out: &mut BytesMut) -> Result<(), MqttError> {
        let reason = (code != reason::SUCCESS)
            .then(|| PubackReasonCode::try_from(code).unwrap_or(PubackReasonCode::UnspecifiedError));
        answer!(Puback, self, id, reason, out)
    }

    /// Writes a PUBREC.
    pub fn pubrec(self, id: u16, code: u8, out: &mut BytesMut) -> Result<(), MqttError> {
        let reason = (code != reason::SUCCESS)
            .then(|| PubrecReasonCode::try_from(code).unwrap_or(PubrecReasonCode::UnspecifiedError));
        answer!(Pubrec, self, id, reason, out)
    }

    /// Writes a PUBREL.
    pub fn pubrel(self, id: u16, found: bool, out: &mut BytesMut) -> Result<(), MqttError> {
        let reason = (!found).then_some(PubrelReasonCode::PacketIdentifierNotFound);
        answer!(Pubrel, self, id, reason, out)
    }

    /// Writes a PUBCOMP.
    pub fn pubcomp(self, id: u16, found: bool, out: &mut BytesMut) -> Result<(), MqttError> {
        let reason = (!found).then_some(PubcompReasonCode::PacketIdentifierNotFound);
        answer!(Pubcomp, self, id, reason, out)
    }

    /// Writes a SUBACK; `codes` are granted QoS or reason codes from 0x80 on.
    pub fn suback(self, id: u16, codes: &[u8], out: &mut BytesMut) -> Result<(), MqttError> {
        let bytes = match self.version {
            Version::V4 => {
                let codes = codes
                    .iter()
                    .map(|&code| SubackReturnCode::try_from(code).unwrap_or(SubackReturnCode::Failure))
                    .collect();
                v3_1_1::Suback::builder()
                    .packet_id(id)
                    .return_codes(codes)
                    .build()?
                    .to_continuous_buffer()
            }
            Version::V5 => {
                let codes = codes
                    .iter()
                    .map(|&code| SubackReasonCode::try_from(code).unwrap_or(SubackReasonCode::UnspecifiedError))
                    .collect();
                v5_0::Suback::builder()
                    .packet_id(id)
                    .reason_codes(codes)
                    .build()?
                    .to_continuous_buffer()
            }
        };
        out.put_slice(&bytes);
        Ok(())
    }

    /// Writes an UNSUBACK.
    pub fn unsuback(self, id: u16, codes: &[u8], out: &mut BytesMut) -> Result<(), MqttError> {
        let bytes = match self.version {
            Version::V4 => v3_1_1::Unsuback::builder()
                .packet_id(id)
                .build()?
                .to_continuous_buffer(),
            Version::V5 => {
                let codes = codes
                    .iter()
                    .map(|&code| UnsubackReasonCode::try_from(code).unwrap_or(UnsubackReasonCode::UnspecifiedError))
                    .collect();
                v5_0::Unsuback::builder()
                    .packet_id(id)
                    .reason_codes(codes)
                    .build()?
                    .to_continuous_buffer()
            }
        };
        out.put_slice(&bytes);
        Ok(())
    }

    /// Writes a PINGRESP, which is the same two bytes in both versions.
    pub fn pingresp(self, out: &mut BytesMut) {
        out.put_slice(&[0xd0, 0]);
    }

    /// Writes a DISCONNECT; MQTT 3.1.1 has none from the server.
    pub fn disconnect(self, code: u8, out: &mut BytesMut) -> Result<(), MqttError> {
        if self.version == Version::V5 {
            let code = DisconnectReasonCode::try_from(code).unwrap_or(DisconnectReasonCode::UnspecifiedError);
            // With empty properties, since rumqttc takes a DISCONNECT without any for a broken packet.
            let bytes = v5_0::Disconnect::builder()
                .reason_code(code)
                .props(Properties::new())
                .build()?
                .to_continuous_buffer();
            out.put_slice(&bytes);
        }
        Ok(())
    }
}

fn qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

fn return_code(code: u8) -> ConnectReturnCode {
    match code {
        reason::SUCCESS => ConnectReturnCode::Accepted,
        reason::UNSUPPORTED_VERSION => ConnectReturnCode::UnacceptableProtocolVersion,
        reason::CLIENT_ID_INVALID => ConnectReturnCode::IdentifierRejected,
        reason::BAD_CREDENTIALS => ConnectReturnCode::BadUserNameOrPassword,
        reason::NOT_AUTHORIZED => ConnectReturnCode::NotAuthorized,
        _ => ConnectReturnCode::ServerUnavailable,
    }
}
