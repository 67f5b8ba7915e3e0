//! Running bots: one compiled component per bot, one fresh instance per message.

mod aside;
mod bindings;
mod budget;
pub(crate) mod compiled;
mod component;
mod contract;
mod describe;
mod effects;
mod engine;
mod error;
mod failure;
mod functions;
mod instance;
mod invocation;
mod journal;
mod snapshot;
mod wasi;

pub use bindings::foundry::bot as wit;
pub use bindings::{Bot as BotWorld, BotPre};
pub use budget::{Budget, MAX_EFFECTS, MAX_HELD, MAX_PASSED, TooMuch};
pub use component::{Admitted, ComponentCache, ComponentInfo};
pub use contract::ContractImport;
pub(crate) use contract::PACKAGE as CONTRACT;
pub use describe::{Answer, DescribeError};
pub use effects::{Effects, Seen, Sight, StateWrite};
pub use engine::Engine;
pub use error::{AdmissionError, Fault, LoadError};
pub use instance::{Instances, Limits, Verdict};
pub use invocation::{BotContext, Invocation, MessageContext};
pub(crate) use journal::MAX_LINE;
pub use journal::Said;
pub use snapshot::{SnapshotError, snapshot_after_tick};
pub use wasi::wasi_offer;
