//! Packets that a client sends, independent of the protocol version.

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::packet::Property;

use crate::message::QoS;

/// Protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// A packet from a client.
#[derive(Debug)]
pub enum Packet {
    /// The first packet; an error later on.
    Connect(Box<Connect>),
    /// A message.
    Publish(Publish),
    /// End of a QoS 1 delivery to the client.
    PubAck {
        /// Packet id.
        id: u16,
        /// Reason code.
        reason: u8,
    },
    /// First answer to a QoS 2 delivery.
    PubRec {
        /// Packet id.
        id: u16,
        /// Reason code.
        reason: u8,
    },
    /// The client lets go of a QoS 2 publish.
    PubRel {
        /// Packet id.
        id: u16,
    },
    /// End of a QoS 2 delivery.
    PubComp {
        /// Packet id.
        id: u16,
    },
    /// Subscriptions to add.
    Subscribe(Subscribe),
    /// Subscriptions to remove.
    Unsubscribe {
        /// Packet id.
        id: u16,
        /// Filters, not checked.
        filters: Vec<String>,
    },
    /// Sign of life.
    PingReq,
    /// An orderly end.
    Disconnect {
        /// Reason code.
        reason: u8,
        /// A new session expiry interval.
        session_expiry: Option<u32>,
    },
    /// Extended authentication, which is not offered.
    Auth,
}

/// CONNECT.
#[derive(Debug)]
pub struct Connect {
    /// Protocol version.
    pub version: Version,
    /// Client identifier; empty when the broker shall assign one.
    pub client_id: String,
    /// Start without earlier state.
    pub clean_start: bool,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    /// Seconds that the session outlives the connection; `u32::MAX` is for ever.
    pub session_expiry: u32,
    /// How many unacknowledged deliveries the client takes, if it said so.
    pub receive_maximum: Option<u16>,
    /// For how many of its groups' messages it has places, if it said so.
    pub places: Option<u16>,
    /// Largest packet that the client takes.
    pub maximum_packet_size: Option<u32>,
    /// Largest topic alias that the client takes.
    pub topic_alias_maximum: u16,
    /// Did the client ask for an authentication method?
    pub wants_auth_method: bool,
    /// User name.
    pub user_name: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Last will.
    pub will: Option<Will>,
}

/// The last will in a CONNECT; its topic is not checked yet.
#[derive(Debug)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: ArcPayload,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Seconds to wait after the connection's end.
    pub delay: u32,
    /// Message expiry interval in seconds.
    pub expiry: Option<u32>,
    /// Properties that travel with the message.
    pub properties: Vec<Property>,
}

/// PUBLISH; its topic is not checked yet.
#[derive(Debug)]
pub struct Publish {
    /// Topic; empty when an alias stands for it.
    pub topic: String,
    /// 0 for QoS 0.
    pub id: u16,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Payload.
    pub payload: ArcPayload,
    /// Topic alias.
    pub alias: Option<u16>,
    /// Message expiry interval in seconds.
    pub expiry: Option<u32>,
    /// Properties that travel with the message.
    pub properties: Vec<Property>,
}

/// SUBSCRIBE.
#[derive(Debug)]
pub struct Subscribe {
    /// Packet id.
    pub id: u16,
    /// Subscription identifier.
    pub identifier: Option<u32>,
    /// What to subscribe to.
    pub entries: Vec<SubscribeEntry>,
}

/// One filter of a SUBSCRIBE, not checked yet.
#[derive(Debug)]
pub struct SubscribeEntry {
    /// Filter.
    pub filter: String,
    /// Highest QoS of deliveries.
    pub qos: QoS,
    /// Do not send the client its own messages.
    pub no_local: bool,
    /// Keep the RETAIN flag on forwarded messages.
    pub retain_as_published: bool,
    /// 0: send retained messages; 1: only for a new subscription; 2: never.
    pub retain_handling: u8,
}
