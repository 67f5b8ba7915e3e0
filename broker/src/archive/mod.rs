//! What outlives the broker's process beside the groups: retained messages, and the sessions that outlive their
//! connections, with their subscriptions, what waits for them, and where its delivery stood.
//!
//! The rest of the broker works in memory and tells the archive about each [`Change`]. Changes are written in the order
//! in which they were told, many in one transaction. Where MQTT makes a promise, the promise waits for the disk:
//!
//! - PUBACK and PUBREC for the retained message and for the mail of every lasting session that it matches,
//! - delivery of such mail, so that nothing is delivered twice that a publisher repeats after a crash,
//! - SUBACK and UNSUBACK for the subscription,
//! - PUBREC, PUBREL and PUBCOMP for the packet id of a QoS 2 message.
//!
//! Everything else is written a moment later. A session that ends with its connection, and an ordinary message that only
//! such sessions get, never come here.
//!
//! - [`change`] is the vocabulary; [`store`] the database; [`keeper`] the thread that owns it.

mod change;
mod keeper;
mod store;
#[cfg(test)]
mod store_model;

pub use change::{ArchivedSession, Change};
pub use keeper::{Archive, ArchiveHandle};

/// The database, in the broker's data directory.
pub const SESSIONS: &str = "sessions.sqlite";
