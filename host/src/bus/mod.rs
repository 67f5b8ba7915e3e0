//! Messages: the envelope and its signature, and the MQTT sessions that carry it.

mod connection;
mod consumer;
mod event;
mod observer;
mod publisher;
pub mod schema;
mod tap;
mod topics;

pub use connection::{BrokerAddress, ConnectionOptions};
pub use consumer::{Consumer, ConsumerState, Delivery};
pub use event::{Event, MAX_EVENT, Refusal};
pub use observer::{Observer, Presence};
pub use publisher::{LiveMessage, Publisher};
pub use tap::{Seal, Sighting, tap};
pub use topics::{FAILURES, Topics};
