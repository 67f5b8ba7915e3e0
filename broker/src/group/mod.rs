//! Durable groups: what `$share/GROUP/FILTER` is here.
//!
//! A group is a queue on disk. It exists from its first subscription on, collects every message that matches its
//! filter whether members are connected or not, and leases each message to one member at a time.
//!
//! - [`queue`] decides: leases, redelivery, expiry, dead letters, bounds. Pure, with time as an argument.
//! - [`store`] remembers: one SQLite database, one writer.
//! - [`worker`] is the thread that owns the queue; [`writer`] is the thread that owns the store and commits once for
//!   all publishes that wait; [`engine`] is how others talk to them.

mod engine;
mod members;
mod queue;
#[cfg(test)]
mod queue_model;
mod store;
mod worker;
mod writer;

pub use engine::{Engine, EngineConfig, EngineHandle};
pub use queue::{Delivery, EntryId, GroupLimits, GroupStatus, Joining, Leaving, MemberId};
pub use store::{DeadLetter, StoreError};

use mqtt_protocol_core::mqtt::packet::{Property, UserProperty};

use crate::message::Message;
use crate::topic::GroupKey;

/// The properties of a dead letter: those of the message, and where and how often it failed.
fn dead_properties(message: &Message, key: &GroupKey, attempts: u32) -> Vec<Property> {
    let notes = [
        ("dead-letter-topic", message.topic.to_string()),
        ("dead-letter-group", key.to_string()),
        ("dead-letter-attempts", attempts.to_string()),
    ];
    let notes = notes
        .into_iter()
        .filter_map(|(name, value)| UserProperty::new(name, value).ok());
    message
        .properties
        .iter()
        .cloned()
        .chain(notes.map(Property::UserProperty))
        .collect()
}
