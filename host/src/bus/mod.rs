//! The MQTT sessions that carry events.

mod broker_clock;
mod claims;
mod clearance;
mod client_id;
mod concerns;
mod connection;
mod consumer;
mod crowd;
mod doubts;
mod flight;
mod holder;
mod inquiry;
mod observer;
mod old_session;
mod packet_size;
mod peers;
mod publisher;
mod record;
mod take_overs;
mod tap;

pub use broker_clock::BrokerClock;
pub use clearance::{Awaited, Clearance};
pub use client_id::{client_id_of_bot, client_id_of_part};
pub use concerns::Concerns;
pub use connection::{BrokerAddress, ConnectionOptions};
pub use consumer::{Consumer, ConsumerState, Delivery};
pub use holder::{Arrival, Holder};
pub use inquiry::{Contest, Inquiry};
pub use observer::{Observer, Presence};
pub use old_session::OldSession;
pub use peers::Peers;
pub use publisher::{AGAIN_PROPERTY, KEEP_ALIVE, LiveMessage, Patience, Publisher, PublisherStatus};
pub(crate) use record::{record, row_of};
pub use take_overs::TakeOvers;
pub use tap::{Seal, Sighting, tap};
