//! The host: it puts broker, ledger, keys and runtime together, and looks after the bots' lives.

mod admission;
mod bot;
mod error;
mod host;
mod message;
mod options;
mod spec;
mod timers;

pub use error::{HostError, LoadFailure};
pub use host::{BrokerChoice, Host, HostConfig, MessagesConfig};
pub use options::{OptionError, parse_duration};
pub use spec::{BotSource, BotSpec, BotStatus, Condition};
