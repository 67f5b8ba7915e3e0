//! How others talk to the hub.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::routes::SubscriptionOptions;
use crate::archive::Change;
use crate::message::{Message, SessionId};
use crate::receipt::Completion;
use crate::session::Mailbox;
use crate::topic::TopicFilter;

/// What the hub does next.
pub(super) enum Command {
    Publish(Arc<Message>, Option<Completion>),
    Subscribe(SubscribeRequest, oneshot::Sender<Vec<bool>>),
    Unsubscribe(SessionId, Vec<TopicFilter>, oneshot::Sender<Vec<bool>>),
    Forget(SessionId, Vec<TopicFilter>),
    ForgetAll(SessionId),
    Note(Change),
    Stop,
}

/// Ordinary subscriptions to make.
#[derive(Debug)]
pub struct SubscribeRequest {
    /// Whose.
    pub session: SessionId,
    /// Where its messages go.
    pub mailbox: Arc<Mailbox>,
    /// Filters, options and retain handling (0: send retained; 1: only when new; 2: never).
    pub filters: Vec<(TopicFilter, SubscriptionOptions, u8)>,
}

/// How others talk to the hub.
#[derive(Debug, Clone)]
pub struct HubHandle(mpsc::UnboundedSender<Command>);

/// A handle, and where the hub hears of what it is used for.
pub(super) fn channel() -> (HubHandle, mpsc::UnboundedReceiver<Command>) {
    let (sender, commands) = mpsc::unbounded_channel();
    (HubHandle(sender), commands)
}

// The channel is not bounded itself: every publish in it holds a receipt, and connections bound their receipts.
impl HubHandle {
    fn send(&self, command: Command) {
        // A hub that has stopped drops the command, and with it whatever somebody waits for: they learn so.
        drop(self.0.send(command));
    }

    /// Routes a message; `completion` is done when it is on its way to all subscribers.
    pub fn publish(&self, message: Arc<Message>, completion: Option<Completion>) {
        self.send(Command::Publish(message, completion));
    }

    /// Subscribes, and sends the retained messages that belong to it; says of each filter whether it was taken. It is
    /// not where so much waits for the session already that the retained messages have no room.
    pub async fn subscribe(&self, request: SubscribeRequest) -> Vec<bool> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Subscribe(request, done));
        answer.await.unwrap_or_default()
    }

    /// Unsubscribes; says of each filter whether it was subscribed.
    pub async fn unsubscribe(&self, session: SessionId, filters: Vec<TopicFilter>) -> Vec<bool> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Unsubscribe(session, filters, done));
        answer.await.unwrap_or_default()
    }

    /// Drops the subscriptions of a session that has ended.
    pub fn forget(&self, session: SessionId, filters: Vec<TopicFilter>) {
        self.send(Command::Forget(session, filters));
    }

    /// Drops the subscriptions of a session of which nothing else is known any more.
    pub fn forget_all(&self, session: SessionId) {
        self.send(Command::ForgetAll(session));
    }

    /// Notes a change in the archive, behind those of what was sent before.
    pub fn note(&self, change: Change) {
        self.send(Command::Note(change));
    }

    /// Ends the hub after what was sent before.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }
}
