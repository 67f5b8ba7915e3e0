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

impl Mail {
    /// Where it is on disk.
    pub fn kept(&self) -> Option<Kept> {
        match self {
            Self::Ordinary(ordinary) => ordinary.kept,
            Self::Leased(_) => None,
        }
    }
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
    /// Where it is on disk, if it is for a session that lasts.
    pub kept: Option<Kept>,
}

/// A message on disk.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Its row in the archive.
    pub row: i64,
    /// The packet id that it is delivered with, now and after a restart of the broker.
    pub packet_id: u16,
    /// It was there when the broker started, so it may have been sent before.
    pub restored: bool,
}

/// Packet ids of mail on disk; the others are for what ends with the connection.
pub const KEPT_IDS: u16 = 0x7fff;

#[derive(Debug, Default)]
struct Queue {
    mail: VecDeque<Mail>,
    bytes: usize,
    /// Messages and bytes that are on their way to disk.
    reserved: (usize, usize),
    last_kept_id: u16,
    online: bool,
    member: Option<group::MemberId>,
}

impl Queue {
    fn unreserve(&mut self, size: usize) {
        let (messages, bytes) = self.reserved;
        self.reserved = (messages.saturating_sub(1), bytes.saturating_sub(size));
    }
}

/// A session's queue. Others put in without waiting; the session's connection takes out.
///
/// The bounds hold for ordinary messages; leases are bounded by the member's capacity. What does not fit is
/// dropped and counted: an ordinary subscriber that cannot keep up must not stop the publishers.
///
/// What a lasting session gets comes here by way of the disk: [`Mailbox::reserve`], then [`Mailbox::put_kept`].
#[derive(Debug)]
pub struct Mailbox {
    queue: Mutex<Queue>,
    limits: MailboxLimits,
    lasting: bool,
    dropped: AtomicU64,
    notify: Notify,
}

impl Mailbox {
    /// An empty mailbox of a session that is not connected.
    pub fn new(limits: MailboxLimits, lasting: bool) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            limits,
            lasting,
            dropped: AtomicU64::new(0),
            notify: Notify::new(),
        })
    }

    /// Does the session outlive its connection?
    pub fn is_lasting(&self) -> bool {
        self.lasting
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
        if !self.has_room(&queue, size) {
            drop(queue);
            self.overflows(&mail);
            return;
        }
        queue.bytes += size;
        queue.mail.push_back(Mail::Ordinary(mail));
        drop(queue);
        self.wake();
    }

    fn has_room(&self, queue: &Queue, size: usize) -> bool {
        let (messages, bytes) = queue.reserved;
        queue.mail.len() + messages < self.limits.messages
            && queue.bytes.saturating_add(bytes).saturating_add(size) <= self.limits.bytes
    }

    fn overflows(&self, mail: &Ordinary) {
        if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(topic = %mail.message.topic, "subscriber is too slow, dropping messages");
        }
    }

    /// Makes room for a message that goes to disk first, and gives it a packet id; `None` when it is over the bounds.
    pub fn reserve(&self, mail: &Ordinary) -> Option<u16> {
        let size = mail.message.size();
        let mut queue = self.lock();
        if !self.has_room(&queue, size) {
            drop(queue);
            self.overflows(mail);
            return None;
        }
        queue.reserved.0 += 1;
        queue.reserved.1 += size;
        queue.last_kept_id = queue.last_kept_id % KEPT_IDS + 1;
        Some(queue.last_kept_id)
    }

    /// Gives back the room of a message that could not be stored.
    pub fn cancel(&self, mail: &Ordinary) {
        self.lock().unreserve(mail.message.size());
    }

    /// Queues a message that is on disk, in the room that was made for it.
    pub fn put_kept(&self, mail: Ordinary) {
        let size = mail.message.size();
        let mut queue = self.lock();
        queue.unreserve(size);
        queue.bytes += size;
        queue.mail.push_back(Mail::Ordinary(mail));
        drop(queue);
        self.wake();
    }

    /// Queues a message that was on disk when the broker started; they come in their order.
    pub fn restore(&self, packet_id: u16, mail: Option<Ordinary>) {
        let mut queue = self.lock();
        queue.last_kept_id = packet_id;
        if let Some(mail) = mail {
            queue.bytes += mail.message.size();
            queue.mail.push_back(Mail::Ordinary(mail));
        }
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
