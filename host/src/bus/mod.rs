//! Messages: the envelope and its signature, and the MQTT sessions that carry it.

mod claims;
mod clearance;
mod client_id;
mod concerns;
mod connection;
mod consumer;
mod crowd;
mod doubts;
mod event;
mod flight;
mod holder;
mod inquiry;
mod observer;
mod old_session;
mod packet_size;
mod peers;
mod publisher;
pub mod schema;
mod take_overs;
mod tap;
mod topics;

pub use clearance::{Awaited, Clearance};
pub use client_id::{client_id_of_bot, client_id_of_part};
pub use concerns::Concerns;
pub use connection::{BrokerAddress, ConnectionOptions};
pub use consumer::{Consumer, ConsumerState, Delivery};
pub use event::{Event, MAX_EVENT, Refusal};
pub use holder::{Arrival, Holder};
pub use inquiry::{Contest, Inquiry};
pub use observer::{Observer, Presence};
pub use old_session::OldSession;
pub use peers::Peers;
pub use publisher::{AGAIN_PROPERTY, KEEP_ALIVE, LiveMessage, Patience, Publisher, PublisherStatus};
pub use take_overs::TakeOvers;
pub use tap::{Seal, Sighting, tap};
pub use topics::{FAILURES, Topics, group_of};
