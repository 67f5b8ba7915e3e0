//! The host: it puts broker, ledger, keys and runtime together, and looks after the bots' lives.

mod admission;
mod bot;
mod error;
mod host;
mod inspector;
mod message;
mod onlooker;
mod options;
mod spec;
mod timers;

pub use error::{HostError, LoadFailure};
pub use host::{BrokerChoice, Host, HostConfig, MessagesConfig};
pub use inspector::{Flow, Inspector, check_options};
pub use options::{OptionError, parse_duration};
pub use spec::{BotSource, BotSpec, BotStatus, Condition};
