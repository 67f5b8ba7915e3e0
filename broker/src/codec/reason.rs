//! Reason codes of MQTT 5 that the broker uses, by number. MQTT 3.1.1 knows only a few of them; the encoder
//! translates.

/// Done as asked.
pub const SUCCESS: u8 = 0x00;
/// DISCONNECT of a client that wants its will published all the same.
pub const DISCONNECT_WITH_WILL: u8 = 0x04;
/// UNSUBSCRIBE of a filter that was not subscribed.
pub const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
/// Refused, without a better code.
pub const UNSPECIFIED: u8 = 0x80;
/// The bytes are not an MQTT packet.
pub const MALFORMED: u8 = 0x81;
/// A packet that is not allowed here.
pub const PROTOCOL_ERROR: u8 = 0x82;
/// Refused for a reason of this broker's own.
pub const IMPLEMENTATION_SPECIFIC: u8 = 0x83;
/// CONNECT of a version that is not served.
pub const UNSUPPORTED_VERSION: u8 = 0x84;
/// The client identifier is not acceptable.
pub const CLIENT_ID_INVALID: u8 = 0x85;
/// Authentication failed.
pub const BAD_CREDENTIALS: u8 = 0x86;
/// The role may not do that.
pub const NOT_AUTHORIZED: u8 = 0x87;
/// The broker cannot serve at present.
pub const SERVER_UNAVAILABLE: u8 = 0x88;
/// The broker stops.
pub const SHUTTING_DOWN: u8 = 0x8b;
/// Extended authentication is not offered.
pub const BAD_AUTH_METHOD: u8 = 0x8c;
/// Nothing came within one and a half keep-alive intervals.
pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
/// Another connection uses the client identifier.
pub const TAKEN_OVER: u8 = 0x8e;
/// Not a valid filter.
pub const FILTER_INVALID: u8 = 0x8f;
/// Not a valid topic name.
pub const TOPIC_INVALID: u8 = 0x90;
/// More unacknowledged publishes than the broker's receive maximum.
pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
/// A topic alias that was not set or is over the maximum.
pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
/// Larger than the maximum packet size.
pub const PACKET_TOO_LARGE: u8 = 0x95;
/// A queue is full.
pub const QUOTA_EXCEEDED: u8 = 0x97;
/// An operator ended it.
pub const ADMINISTRATIVE_ACTION: u8 = 0x98;
/// The payload is not what it should be.
pub const PAYLOAD_INVALID: u8 = 0x99;
