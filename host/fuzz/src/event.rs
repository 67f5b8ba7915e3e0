//! The names of topics.

#[path = "../../src/event/topics.rs"]
mod topics;

pub use topics::LONGEST_TOPIC;
