//! The host: it puts broker, ledger, keys and runtime together, and looks after the bots' lives.

mod admission;
mod bot;
mod chores;
mod command_line;
mod error;
mod group_letters;
mod holding;
mod host;
mod identity;
mod inspector;
mod message;
mod onlooker;
mod options;
mod order;
mod places;
mod replace;
mod rights;
mod settings;
mod signature;
mod spec;
mod start;
mod timers;
mod trial;
mod waits;

pub use admission::is_bot_name;
pub use command_line::load_command;
pub use error::{HostError, LoadFailure};
pub use host::Host;
pub use identity::IdentityError;
pub use inspector::{Flow, Inspector, check_options};
pub use options::{ENDPOINT, OptionError, known_options, parse_duration};
pub use order::starting_order;
pub use settings::{BrokerChoice, HostConfig, LONGEST_MESSAGE, MessagesConfig, PIPELINE};
pub use signature::{SignatureError, signature_of};
pub use spec::{BotSource, BotSpec, BotStatus, Condition, InForce};
pub use trial::{Trial, TrialError, TrialEvent, TrialOutcome, TrialReport};
