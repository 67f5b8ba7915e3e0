//! Which topics a bot may read, and which events it may publish on which: what a component declares is a request, what
//! its operator granted decides (`docs/adr/0027-topics-are-grants.md`).
//!
//! Everything here is pure. [`weigh`] compares a request with grants; [`Outlets`] is asked for each event.

mod filter;
mod grant;
mod outlets;
mod weigh;

#[cfg(test)]
mod tests;

pub use filter::{BadFilter, TopicFilter, is_hosts_own};
pub use grant::{BadGrant, PublishGrant, ReadGrant};
pub use outlets::{NotAllowed, Outlets};
pub use weigh::{Bearer, Moved, Request, Routes, weigh};

/// Names whose namespace would be somebody else's: the pipeline's topics, the hosts' branches, and `pub`, below which the
/// stock bots have their groups.
const RESERVED: [&str; 12] = [
    "commits", "builds", "signs", "dists", "failures", "control", "jobs", "logs", "hosts", "bots", "peers", "pub",
];

/// Whether a bot from a file may not have this name: the topics `NAME` and `NAME/…` would come with it.
#[must_use]
pub fn is_reserved_name(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The types of the pipeline's events begin so.
const PIPELINE_TYPES: &str = "foundry.";

/// Whether an event's type is one of the pipeline's: such a type always needs a grant that names it.
#[must_use]
pub fn is_pipeline_type(event_type: &str) -> bool {
    event_type.starts_with(PIPELINE_TYPES)
}
