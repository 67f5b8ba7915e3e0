//! The one way by which messages enter the broker.

use std::sync::Arc;

use crate::archive::Change;
use crate::group::EngineHandle;
use crate::message::{Message, SessionId};
use crate::receipt::{Receipt, receipt};
use crate::routing::HubHandle;
use crate::session::Mailbox;
use crate::topic::TopicFilter;

/// Gives a message to everybody whom it concerns: the groups' engine and the hub.
#[derive(Debug, Clone)]
pub struct Publisher {
    hub: HubHandle,
    groups: EngineHandle,
}

impl Publisher {
    /// A publisher.
    pub fn new(hub: HubHandle, groups: EngineHandle) -> Self {
        Self { hub, groups }
    }

    /// Publishes; the connection behind `mailbox` is woken when the receipt has an outcome.
    pub fn publish_for(&self, message: &Arc<Message>, mailbox: &Arc<Mailbox>) -> Receipt {
        let (receipt, completion) = receipt(mailbox);
        if self.groups.concerns(&message.topic) {
            self.groups.publish(Arc::clone(message), Some(receipt.another()));
        }
        self.hub.publish(Arc::clone(message), Some(completion));
        receipt
    }

    /// Publishes for the broker itself: nobody waits for the outcome.
    pub fn publish(&self, message: &Arc<Message>) {
        if self.groups.concerns(&message.topic) {
            self.groups.publish(Arc::clone(message), None);
        }
        self.hub.publish(Arc::clone(message), None);
    }

    /// Notes a change behind what was published before.
    pub fn note(&self, change: Change) {
        self.hub.note(change);
    }

    /// Drops the subscriptions of a session that has ended.
    pub fn forget(&self, session: SessionId, filters: Vec<TopicFilter>) {
        self.hub.forget(session, filters);
    }
}
