//! Foundry's embedded MQTT broker.
//!
//! One port for MQTT 3.1.1 and 5. The *front door* reads and checks every packet and keeps sessions; behind it, the
//! *hub* finds the subscriptions that an ordinary message belongs to, and groups (`$share/GROUP/FILTER`) are queues on
//! disk that hand each message to one member and to another when that one dies. Design records 6 and 19 (`docs/adr`)
//! say why the parts are cut this way.
//!
//! What a PUBACK means: the message is on disk for every group that matches and in the backlog of its topic, and on its way to every ordinary
//! subscriber; if it is retained, or for a session that outlives its connection, it is on disk as well.
//!
//! ```no_run
//! # async fn example() -> Result<(), foundry_broker::Error> {
//! use foundry_broker::{Broker, Config};
//!
//! let broker = Broker::start(Config::default()).await?;
//! println!("clients connect to {}", broker.address());
//! broker.stop().await;
//! # Ok(())
//! # }
//! ```

mod access;
mod archive;
mod broker;
mod codec;
mod config;
mod connection;
mod database;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod group;
pub mod killpoint;
mod listen;
mod message;
mod operator;
mod pem;
mod publisher;
mod receipt;
mod routing;
mod session;
mod topic;
mod topic_tree;
mod waiting;

pub use access::{Access, HOSTS_CLIENT_IDS, Owner, Role, User, hash_password};
pub use broker::Broker;
pub use config::{Backlog, Config, Limits, Tls, WebSocket};
pub use database::StoreError;
pub use error::Error;
pub use group::{BacklogStatus, BacklogTopic, DeadLetter, GroupStatus};
pub use listen::TlsError;
pub use operator::Operator;
pub use pem::{PemError, Validity, certificates, validities};
pub use waiting::stored_payloads;

/// User property of a redelivered group message: which attempt this is.
pub const ATTEMPT_PROPERTY: &str = "foundry-attempt";
/// User property of CONNACK, with the value `1`: what this broker acknowledges is on its disk.
pub const DURABLE_PROPERTY: &str = "foundry-durable";
/// User property of CONNACK: the broker's time, in milliseconds since 1970, as a decimal number.
pub const TIME_PROPERTY: &str = "foundry-time";
/// User property of CONNECT: for how many of its groups' messages the client has places, as a decimal number. It is
/// leased no more than that, and no more than its receive maximum, until it says another number on [`PLACES_TOPIC`].
pub const PLACES_PROPERTY: &str = "foundry-places";
/// Topic on which a client says, at QoS 0, for how many messages it has places by now.
pub const PLACES_TOPIC: &str = "$foundry/places";
/// User property by which a publisher gives a group message a priority from 0 to 9; 4 without it.
pub const PRIORITY_PROPERTY: &str = "foundry-priority";
