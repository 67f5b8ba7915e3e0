//! Where deliveries wait for a session's connection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::group;
use crate::message::{Message, QoS, Timestamp};

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
    /// Messages and bytes beyond the bounds, for what a subscription begins with; given back as mail is taken.
    granted: (usize, usize),
    /// No mail expires before.
    first_expiry: Option<Timestamp>,
    last_kept_id: u16,
    online: bool,
    member: Option<group::MemberId>,
}

/// Expired mail is not looked for more often than this, in milliseconds: a full mailbox must not be searched for each message.
const SEARCH: u64 = 1000;

impl Queue {
    fn push(&mut self, mail: Ordinary) {
        self.bytes += mail.message.size();
        self.first_expiry = self.first_expiry.into_iter().chain(mail.message.expires).min();
        self.mail.push_back(Mail::Ordinary(mail));
    }

    fn is_within(&self, limits: MailboxLimits, size: usize) -> bool {
        let (messages, bytes) = self.reserved;
        self.mail.len() + messages < limits.messages
            && self.bytes.saturating_add(bytes).saturating_add(size) <= limits.bytes
    }

    /// Whether there is room; where there is none, expired mail makes it. The rows of what it was on disk go to `expired`.
    fn make_room(&mut self, limits: MailboxLimits, size: usize, expired: &mut Vec<i64>) -> bool {
        let limits = MailboxLimits {
            messages: limits.messages.saturating_add(self.granted.0),
            bytes: limits.bytes.saturating_add(self.granted.1),
        };
        if self.is_within(limits, size) {
            return true;
        }
        self.expire(Timestamp::now(), expired);
        self.is_within(limits, size)
    }

    fn expire(&mut self, now: Timestamp, rows: &mut Vec<i64>) {
        if self.first_expiry.is_none_or(|at| at > now) {
            return;
        }
        let (mut first, mut freed) = (None, 0);
        self.mail.retain(|mail| {
            let Mail::Ordinary(ordinary) = mail else { return true };
            if ordinary.message.is_expired(now) {
                freed += ordinary.message.size();
                rows.extend(ordinary.kept.map(|kept| kept.row));
                return false;
            }
            first = first.into_iter().chain(ordinary.message.expires).min();
            true
        });
        self.bytes = self.bytes.saturating_sub(freed);
        let again = Timestamp(now.0.saturating_add(SEARCH));
        self.first_expiry = first.map(|at| at.max(again));
    }

    fn unreserve(&mut self, size: usize) {
        let (messages, bytes) = self.reserved;
        self.reserved = (messages.saturating_sub(1), bytes.saturating_sub(size));
    }
}

/// A session's queue. Others put in without waiting; the session's connection takes out.
///
/// The bounds hold for ordinary messages; leases are bounded by the member's capacity. What does not fit is
/// dropped and counted: an ordinary subscriber that cannot keep up must not stop the publishers. Expired mail takes no room
/// from what comes later, also while the client is away.
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

    /// Queues a message, unless it is over the bounds or a QoS 0 message for a session that is away. Says which rows of
    /// the archive need to be kept no longer, since their messages expired.
    pub fn put(&self, mail: Ordinary) -> Vec<i64> {
        let mut expired = Vec::new();
        let mut queue = self.lock();
        if mail.qos == QoS::AtMostOnce && !queue.online {
            return expired;
        }
        if !queue.make_room(self.limits, mail.message.size(), &mut expired) {
            drop(queue);
            self.overflows(&mail);
            return expired;
        }
        queue.push(mail);
        drop(queue);
        self.wake();
        expired
    }

    /// Makes room beyond the bounds for the retained messages of a subscription: they come all or not at all. `false` when
    /// what waits already is at the bounds.
    pub fn grant(&self, messages: usize, bytes: usize) -> bool {
        let mut queue = self.lock();
        if !queue.is_within(self.limits, 0) {
            return false;
        }
        queue.granted.0 = queue.granted.0.saturating_add(messages);
        queue.granted.1 = queue.granted.1.saturating_add(bytes);
        true
    }

    fn overflows(&self, mail: &Ordinary) {
        if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(topic = %mail.message.topic, "subscriber is too slow, dropping messages");
        }
    }

    /// Makes room for a message that goes to disk first, and gives it a packet id; `None` when it is over the bounds. The
    /// rows of mail that had to go for it, since it expired, are added to `expired`.
    pub fn reserve(&self, mail: &Ordinary, expired: &mut Vec<i64>) -> Option<u16> {
        let size = mail.message.size();
        let mut queue = self.lock();
        if !queue.make_room(self.limits, size, expired) {
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
        let mut queue = self.lock();
        queue.unreserve(mail.message.size());
        queue.push(mail);
        drop(queue);
        self.wake();
    }

    /// Queues a message that was on disk when the broker started; they come in their order.
    pub fn restore(&self, packet_id: u16, mail: Option<Ordinary>) {
        let mut queue = self.lock();
        queue.last_kept_id = packet_id;
        if let Some(mail) = mail {
            queue.push(mail);
        }
    }

    /// Gives the next message another packet id where its own is in use: `is_used` says so. The row and the new id, which
    /// is to be written before the message is sent.
    pub fn renumber(&self, is_used: impl Fn(u16) -> bool) -> Option<(i64, u16)> {
        let mut queue = self.lock();
        let Some(Mail::Ordinary(Ordinary { kept: Some(kept), .. })) = queue.mail.front_mut() else {
            return None;
        };
        if !is_used(kept.packet_id) {
            return None;
        }
        // Downwards: the ids above are those of the messages that come next.
        let below = (1..kept.packet_id).rev();
        let free = below
            .chain((kept.packet_id..=KEPT_IDS).rev())
            .find(|id| !is_used(*id))?;
        kept.packet_id = free;
        Some((kept.row, free))
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
            let size = ordinary.message.size();
            queue.bytes = queue.bytes.saturating_sub(size);
            let (messages, bytes) = queue.granted;
            queue.granted = (messages.saturating_sub(1), bytes.saturating_sub(size));
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

#[cfg(test)]
mod tests {

    use super::*;

    fn mail(expires: Option<u64>) -> Ordinary {
        let message = Message {
            expires: expires.map(Timestamp),
            ..Message::empty("t")
        };
        Ordinary {
            message: Arc::new(message),
            qos: QoS::AtLeastOnce,
            retain: false,
            subscription: None,
            kept: None,
        }
    }

    fn mailbox(messages: usize) -> Arc<Mailbox> {
        Mailbox::new(MailboxLimits { messages, bytes: 1000 }, true)
    }

    fn keep(mailbox: &Mailbox, row: i64, expires: Option<u64>) -> Option<Vec<i64>> {
        let mut expired = Vec::new();
        let mail = mail(expires);
        let packet_id = mailbox.reserve(&mail, &mut expired)?;
        let kept = Some(Kept {
            row,
            packet_id,
            restored: false,
        });
        mailbox.put_kept(Ordinary { kept, ..mail });
        Some(expired)
    }

    #[test]
    fn expired_mail_makes_room_and_what_waits_stays() {
        let mailbox = mailbox(3);
        for (row, expires) in [(1, Some(1)), (2, None), (3, Some(2))] {
            assert_eq!(keep(&mailbox, row, expires), Some(Vec::new()));
        }
        assert_eq!(keep(&mailbox, 4, None), Some(vec![1, 3]));
        assert_eq!(keep(&mailbox, 5, None), Some(Vec::new()));
        assert_eq!(keep(&mailbox, 6, None), None, "nothing expired is left");
        let rows = std::iter::from_fn(|| mailbox.take(|_| true)).filter_map(|mail| mail.kept());
        assert_eq!(rows.map(|kept| kept.row).collect::<Vec<_>>(), [2, 4, 5]);
    }

    #[test]
    fn what_a_subscription_begins_with_comes_whole_and_the_bounds_hold_again_after_it() {
        let mailbox = mailbox(2);
        assert!(mailbox.grant(5, 5));
        for row in 1..=5 {
            assert!(keep(&mailbox, row, None).is_some(), "{row}");
        }
        assert!(!mailbox.grant(1, 1), "another one has to wait");
        for _ in 0..5 {
            assert!(mailbox.take(|_| true).is_some());
        }
        let taken = [6, 7, 8].map(|row| keep(&mailbox, row, None).is_some());
        assert_eq!(taken, [true, true, false]);
    }

    #[test]
    fn a_message_whose_packet_id_is_in_use_gets_a_free_one() {
        let mailbox = mailbox(2);
        keep(&mailbox, 1, None).unwrap();
        assert_eq!(mailbox.renumber(|_| false), None);
        assert_eq!(mailbox.renumber(|id| id == 1), Some((1, KEPT_IDS)));
        assert_eq!(mailbox.take(|_| true).unwrap().kept().unwrap().packet_id, KEPT_IDS);
        assert_eq!(mailbox.renumber(|_| true), None, "there is nothing");
        keep(&mailbox, 2, None).unwrap();
        assert_eq!(mailbox.renumber(|_| true), None, "all are in use");
    }
}
