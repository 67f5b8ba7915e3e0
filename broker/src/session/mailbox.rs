//! Where deliveries wait for a session's connection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::group;
use crate::message::{Message, QoS};

/// Bounds of a session's queue of ordinary messages.
#[derive(Debug, Clone, Copy)]
pub struct MailboxLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes.
    pub bytes: usize,
}

/// A message for the session.
#[derive(Debug, Clone)]
pub enum Mail {
    /// By an ordinary subscription.
    Ordinary(Ordinary),
    /// A lease of a group.
    Leased(group::Delivery),
}

/// A message by an ordinary subscription.
#[derive(Debug, Clone)]
pub struct Ordinary {
    /// The message.
    pub message: Arc<Message>,
    /// Effective QoS.
    pub qos: QoS,
    /// RETAIN flag to deliver with.
    pub retain: bool,
    /// Subscription identifier.
    pub subscription: Option<u32>,
}

#[derive(Debug, Default)]
struct Queue {
    mail: VecDeque<Mail>,
    bytes: usize,
    online: bool,
    member: Option<group::MemberId>,
}

/// A session's queue. Others put in without waiting; the session's connection takes out.
///
/// The bounds hold for ordinary messages; leases are bounded by the member's capacity. What does not fit is
/// dropped and counted: an ordinary subscriber that cannot keep up must not stop the publishers.
#[derive(Debug)]
pub struct Mailbox {
    queue: Mutex<Queue>,
    limits: MailboxLimits,
    dropped: AtomicU64,
    notify: Notify,
}

impl Mailbox {
    /// An empty mailbox of a session that is not connected.
    pub fn new(limits: MailboxLimits) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            limits,
            dropped: AtomicU64::new(0),
            notify: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole after every statement, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message, unless it is over the bounds or a QoS 0 message for a session that is away.
    pub fn put(&self, mail: Ordinary) {
        let size = mail.message.size();
        let mut queue = self.lock();
        if mail.qos == QoS::AtMostOnce && !queue.online {
            return;
        }
        if queue.mail.len() >= self.limits.messages || queue.bytes.saturating_add(size) > self.limits.bytes {
            drop(queue);
            if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(topic = %mail.message.topic, "subscriber is too slow, dropping messages");
            }
            return;
        }
        queue.bytes += size;
        queue.mail.push_back(Mail::Ordinary(mail));
        drop(queue);
        self.wake();
    }

    /// Queues a lease of `member`; one that comes after that member's connection has ended is nobody's.
    pub fn lease(&self, member: group::MemberId, delivery: group::Delivery) {
        let mut queue = self.lock();
        if queue.member == Some(member) {
            queue.mail.push_back(Mail::Leased(delivery));
            drop(queue);
            self.wake();
        }
    }

    /// Takes the next message that `wanted` lets through, in order.
    pub fn take(&self, wanted: impl Fn(&Mail) -> bool) -> Option<Mail> {
        let mut queue = self.lock();
        if !wanted(queue.mail.front()?) {
            return None;
        }
        let mail = queue.mail.pop_front()?;
        if let Mail::Ordinary(ordinary) = &mail {
            queue.bytes = queue.bytes.saturating_sub(ordinary.message.size());
        }
        Some(mail)
    }

    /// The session has a connection, which is this member of groups.
    pub fn online(&self, member: group::MemberId) {
        let mut queue = self.lock();
        queue.online = true;
        queue.member = Some(member);
    }

    /// The session's connection is gone: leases end with it, and so do QoS 0 messages.
    pub fn offline(&self) {
        let mut queue = self.lock();
        queue.online = false;
        queue.member = None;
        queue.mail.retain(|mail| match mail {
            Mail::Ordinary(ordinary) => ordinary.qos != QoS::AtMostOnce,
            Mail::Leased(_) => false,
        });
        queue.bytes = queue
            .mail
            .iter()
            .map(|mail| match mail {
                Mail::Ordinary(ordinary) => ordinary.message.size(),
                Mail::Leased(_) => 0,
            })
            .sum();
    }

    /// Wakes the connection.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits until there is something to look at.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}
