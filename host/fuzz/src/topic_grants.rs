//! Grants of topics.

#[path = "../../src/capability/topic_grants/filter.rs"]
mod filter;
#[path = "../../src/capability/topic_grants/grant.rs"]
mod grant;

pub use filter::{TopicFilter, is_hosts_own};
pub use grant::{PublishGrant, ReadGrant};
