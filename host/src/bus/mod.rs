//! Messages: the envelope and its signature, and the MQTT sessions that carry it.

mod claims;
mod client_id;
mod concerns;
mod connection;
mod consumer;
mod crowd;
mod event;
mod flight;
mod observer;
mod packet_size;
mod peers;
mod publisher;
pub mod schema;
mod tap;
mod topics;

pub use client_id::{client_id_of_bot, client_id_of_part};
pub use concerns::Concerns;
pub use connection::{BrokerAddress, ConnectionOptions};
pub use consumer::{Consumer, ConsumerState, Delivery};
pub use event::{Event, MAX_EVENT, Refusal};
pub use observer::{Observer, Presence};
pub use peers::{Clearance, Peers};
pub use publisher::{AGAIN_PROPERTY, LiveMessage, Patience, Publisher, PublisherStatus};
pub use tap::{Seal, Sighting, tap};
pub use topics::{FAILURES, Topics, group_of};
