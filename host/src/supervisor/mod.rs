//! The host: it puts broker, ledger, keys and runtime together, and looks after the bots' lives.

mod admission;
mod bot;
mod chores;
mod error;
mod group_letters;
mod host;
mod inspector;
mod message;
mod onlooker;
mod options;
mod order;
mod places;
mod reconsider;
mod refuse;
mod replace;
mod settings;
mod signature;
mod spec;
mod start;
mod timers;
mod trial;

pub use admission::is_bot_name;
pub use error::{HostError, LoadFailure};
pub use host::Host;
pub use inspector::{Flow, Inspector, check_options};
pub use options::{ENDPOINT, OptionError, known_options, parse_duration};
pub use order::starting_order;
pub use settings::{BrokerChoice, HostConfig, MessagesConfig, PIPELINE};
pub use signature::{SignatureError, signature_of};
pub use spec::{BotSource, BotSpec, BotStatus, Condition, InForce};
pub use trial::{Trial, TrialError, TrialEvent, TrialOutcome, TrialReport};
