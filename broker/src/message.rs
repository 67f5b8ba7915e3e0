//! An application message, independent of protocol version and connection.

use std::time::{SystemTime, UNIX_EPOCH};

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::packet::Property;

use crate::topic::TopicName;

/// Quality of service of a delivery.
#[expect(clippy::enum_variant_names, reason = "these are the names of the standard")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Fire and forget.
    AtMostOnce = 0,
    /// Acknowledged; may arrive twice.
    AtLeastOnce = 1,
    /// Acknowledged in two steps; arrives once within a session.
    ExactlyOnce = 2,
}

impl QoS {
    /// Reads the two-bit field.
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Wall-clock time in milliseconds since 1970. Deadlines survive a restart of the broker, so they are not
/// monotonic instants; the pure parts get it as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The present.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// This time plus `seconds`.
    pub fn plus_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(u64::from(seconds) * 1000))
    }

    /// Whole seconds from `now` until this time, rounded up; 0 when it has passed.
    pub fn seconds_from(self, now: Self) -> u32 {
        u32::try_from(self.0.saturating_sub(now.0).div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

/// A session's number, unique within the life of the broker process. 0 is the broker itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// An application message as it was published.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it was published.
    pub topic: TopicName,
    /// The bytes; shared with the packet that brought them.
    pub payload: ArcPayload,
    /// QoS of the publication; deliveries never exceed it.
    pub qos: QoS,
    /// Was the RETAIN flag set?
    pub retain: bool,
    /// When it stops being worth delivering.
    pub expires: Option<Timestamp>,
    /// The MQTT 5 properties that travel with a message unchanged.
    pub properties: Vec<Property>,
    /// Who published it, for the No Local option.
    pub publisher: SessionId,
}

impl Message {
    /// An empty one of QoS 1 that somebody published.
    #[cfg(test)]
    pub(crate) fn empty(topic: &str) -> Self {
        Self {
            topic: TopicName::new(topic).unwrap(),
            payload: ArcPayload::default(),
            qos: QoS::AtLeastOnce,
            retain: false,
            expires: None,
            properties: Vec::new(),
            publisher: SessionId(1),
        }
    }

    /// Bytes that this message occupies, about.
    pub fn size(&self) -> usize {
        let properties: usize = self.properties.iter().map(Property::size).sum();
        self.topic.as_str().len() + self.payload.len() + properties
    }

    /// Has it expired by `now`?
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}
