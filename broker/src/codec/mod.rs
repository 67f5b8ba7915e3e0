//! MQTT 3.1.1 and 5 on the wire, as one set of version-neutral packets.
//!
//! Encoding and decoding of single packets is done by the crate `mqtt-protocol-core`. Three libraries were read
//! and tried for it:
//!
//! - `rumqttd::protocol` has one packet enum for both versions, but keeps QoS, packet id and DUP of a PUBLISH
//!   private to itself, reads topics as unchecked bytes, requires passwords to be UTF-8, and knows no AUTH;
//! - `mqttbytes` inside `rumqttc` is its client-side twin, with two unrelated sets of types;
//! - `mqtt-protocol-core` checks UTF-8, lengths and which properties may appear where and how often, keeps every
//!   property, and does no I/O, so that limits stay ours. It was fed random and mutated packets without a panic.
//!
//! What it does not check, this module does: fixed header flags, bytes after the end of a packet, reserved
//! connect flags, U+0000 in strings, packet id 0. Topics and filters are checked by [`crate::topic`].

mod decode;
mod encode;
mod frame;
mod packet;
pub mod reason;

pub use decode::{decode, decode_connect};
pub use encode::{ConnAck, EncodedPublish, Encoder};
pub use frame::{FrameError, next_frame};
pub use packet::{Connect, Packet, Publish, Subscribe, SubscribeEntry, Version, Will};
