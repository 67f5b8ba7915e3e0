//! Events: the signed envelope, where it may go and who may say what, ids, topics and schemas. Nothing here does I/O.

mod announcement;
mod claim;
mod envelope;
mod id;
#[cfg(test)]
mod model;
mod origin;
pub mod policy;
pub mod schema;
mod topics;
mod verifier;

pub use announcement::{COMMIT, COMMITS, MAX_ANNOUNCEMENT, Unannounced};
pub(crate) use announcement::{counts, differing};
pub(crate) use claim::{Claim, commit_of};
pub use envelope::{Event, MAX_EVENT, OutgoingEvent};
pub(crate) use envelope::{is_plain as is_id, is_type};
pub(crate) use origin::ATTEMPT;
pub use origin::{Attributes, Origin, Place};
pub use policy::{Rule, Upgraded, of_stage};
pub use topics::{FAILURES, LONGEST_TOPIC, Topics, group_of};
pub use verifier::{CLOCK_SKEW, Cure, Refusal, Verifier};
