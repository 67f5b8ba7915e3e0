//! Durable groups: what `$share/GROUP/FILTER` is here.
//!
//! A group is a queue on disk. It exists from its first subscription on, collects every message that matches its
//! filter whether members are connected or not, and leases each message to one member at a time.
//!
//! - [`queue`] and [`lease`] decide: leases, redelivery, expiry, dead letters, bounds. Pure, with time as an argument.
//! - [`backlog`] decides what is kept of some topics for groups that are created later; [`steady`] is the clock that this
//!   ages on. Pure as well.
//! - [`store`] remembers: one SQLite database, one writer.
//! - [`worker`] is the thread that owns the queue; [`writer`] is the thread that owns the store and commits once for
//!   all publishes that wait; [`engine`] is how others talk to them.

mod backlog;
#[cfg(test)]
mod backlog_model;
mod backlog_store;
mod dead_letters;
mod engine;
mod lease;
mod members;
mod queue;
#[cfg(test)]
mod queue_model;
mod state;
mod steady;
mod store;
mod types;
mod worker;
mod writer;

pub use backlog::BacklogLimits;
pub use dead_letters::DeadLetter;
pub use engine::{Engine, EngineConfig, EngineHandle};
pub use types::{
    BacklogStatus, BacklogTopic, Delivery, EntryId, GroupLimits, GroupStatus, Joining, Leaving, MemberId, Refusal,
};

use mqtt_protocol_core::mqtt::packet::{Property, UserProperty};

use self::types::Death;
use crate::message::Message;
use crate::topic::GroupKey;

/// The database of all groups, in the broker's data directory.
pub const GROUPS: &str = "groups.sqlite";

/// The properties of a dead letter: those of the message, and where and how often it failed.
fn dead_properties(message: &Message, key: &GroupKey, attempts: u32, death: Death) -> Vec<Property> {
    let notes = [
        ("dead-letter-topic", message.topic.to_string()),
        ("dead-letter-group", key.to_string()),
        ("dead-letter-attempts", attempts.to_string()),
        ("dead-letter-reason", death.as_str().to_owned()),
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
