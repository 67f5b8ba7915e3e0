//! Sessions: what a client has beyond its connection.

mod mailbox;
mod outbound;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use mailbox::{Mail, Mailbox, MailboxLimits, Ordinary};
pub use outbound::{Outbound, Resend};
pub use registry::{Attached, Ending, Registry, RegistryHandle};

use crate::message::{QoS, SessionId};
use crate::routing::SubscriptionOptions;
use crate::topic::{GroupKey, TopicFilter};

/// A session. A connection owns it while there is one, the registry otherwise.
#[derive(Debug)]
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// The client identifier.
    pub client_id: String,
    /// The user who made it.
    pub user: Option<String>,
    /// Seconds that it outlives its connection; `u32::MAX` is for ever.
    pub expiry: u32,
    /// Where its deliveries wait.
    pub mailbox: Arc<Mailbox>,
    /// Its ordinary subscriptions.
    pub subscriptions: BTreeMap<TopicFilter, SubscriptionOptions>,
    /// The groups that its connections are members of, with QoS and subscription identifier.
    pub groups: BTreeMap<GroupKey, (QoS, Option<u32>)>,
    /// Deliveries that the client has not acknowledged.
    pub outbound: Outbound,
    /// QoS 2 publishes of the client that it has not released.
    pub inbound: BTreeSet<u16>,
}

impl Session {
    /// A new session.
    pub fn new(id: SessionId, client_id: String, limits: MailboxLimits) -> Self {
        Self {
            id,
            client_id,
            user: None,
            expiry: 0,
            mailbox: Mailbox::new(limits),
            subscriptions: BTreeMap::new(),
            groups: BTreeMap::new(),
            outbound: Outbound::default(),
            inbound: BTreeSet::new(),
        }
    }
}
