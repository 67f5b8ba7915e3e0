//! The MQTT sessions that carry events.

mod claims;
mod concerns;
mod connection;
mod consumer;
mod flight;
mod observer;
mod packet_size;
mod peers;
mod publisher;
mod tap;

pub use concerns::Concerns;
pub use connection::{BrokerAddress, ConnectionOptions};
pub use consumer::{Consumer, ConsumerState, Delivery};
pub use observer::{Observer, Presence};
pub use peers::{Clearance, Peers};
pub use publisher::{AGAIN_PROPERTY, LiveMessage, Patience, Publisher, PublisherStatus};
pub use tap::{Seal, Sighting, tap};
