//! Sessions: what a client has beyond its connection.

mod mailbox;
mod outbound;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use mailbox::{KEPT_IDS, Kept, Mail, Mailbox, MailboxLimits, Ordinary};
pub use outbound::{Outbound, Resend};
pub use registry::{Attached, Ending, Registry, RegistryHandle};

use crate::archive::ArchivedSession;
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
    /// A new session; `lasting` if it shall outlive its connection, and the broker's process.
    pub fn new(id: SessionId, client_id: String, limits: MailboxLimits, lasting: bool) -> Self {
        Self {
            id,
            client_id,
            user: None,
            expiry: 0,
            mailbox: Mailbox::new(limits, lasting),
            subscriptions: BTreeMap::new(),
            groups: BTreeMap::new(),
            outbound: Outbound::new(if lasting { KEPT_IDS + 1 } else { 1 }),
            inbound: BTreeSet::new(),
        }
    }

    /// A session from before the broker's start.
    pub fn restore(archived: ArchivedSession, limits: MailboxLimits) -> Self {
        let mut session = Self::new(archived.id, archived.client_id, limits, true);
        for mail in archived.mail {
            if mail.ordinary.is_none() {
                session.outbound.restore_released(mail.packet_id, mail.row);
            }
            session.mailbox.restore(mail.packet_id, mail.ordinary);
        }
        Self {
            user: archived.user,
            expiry: archived.expiry,
            subscriptions: archived.subscriptions,
            groups: archived.groups,
            inbound: archived.inbound,
            ..session
        }
    }

    /// Does it outlive its connection?
    pub fn is_lasting(&self) -> bool {
        self.mailbox.is_lasting()
    }
}
