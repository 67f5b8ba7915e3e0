//! Which rows of the outbox are on their way to the broker, and what becomes of each when the broker answers.
//!
//! Everything here is decided without I/O; the time comes as an argument.

mod kept;
mod pauses;
mod reply;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::PubAckReason;

pub(super) use self::kept::Keeping;
use self::kept::Kept;
use self::pauses::Pauses;
use self::reply::Reply;

/// Rows that are on their way at the same time.
const WINDOW: usize = 128;

/// A row on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) seq: i64,
    pub(super) topic: String,
    /// Bytes of its payload.
    pub(super) bytes: u64,
}

/// What is to be done with a row that the broker has answered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The broker has it. When it can be forgotten, [`Flight::heard`] says.
    Accepted,
    /// The broker will never take it.
    Bury(i64, String),
    /// It is tried again; why, and when. Further rows of its topic wait for it.
    Later(String, Duration),
}

/// The rows on their way, over any number of connections.
#[derive(Debug)]
pub(super) struct Flight {
    /// Rows up to this one were handed out.
    cursor: i64,
    /// The newest row that was handed out.
    newest: i64,
    /// Rows up to this one may have reached the broker over a connection that ended.
    doubtful: i64,
    /// How long a message that nobody subscribes to is kept for those who may come back.
    patience: Duration,
    more: bool,
    /// Rows that must not be handed out: on their way, or answered for and not yet gone from the ledger.
    taken: BTreeSet<i64>,
    /// What the client has not given a packet id yet; none for what is no row.
    queued: VecDeque<Option<Carried>>,
    carried: HashMap<u16, Carried>,
    kept: Kept,
    pauses: Pauses,
    /// Topics that nobody came for within the patience.
    unread: HashSet<String>,
}

impl Flight {
    /// Rows up to `doubtful` may have been sent by a process that ended.
    pub(super) fn new(doubtful: i64) -> Self {
        Self {
            cursor: 0,
            newest: 0,
            doubtful,
            patience: Duration::ZERO,
            more: false,
            taken: BTreeSet::new(),
            queued: VecDeque::new(),
            carried: HashMap::new(),
            kept: Kept::new(Keeping::NONE),
            pauses: Pauses::default(),
            unread: HashSet::new(),
        }
    }

    /// How long the broker's readers are waited for, and what it acknowledges is kept.
    pub(super) fn at_broker(&mut self, patience: Duration, keeping: Keeping) {
        self.patience = patience;
        self.kept.set(keeping);
    }

    /// The connection is new: what was under way is sent again, and so is what the broker may have forgotten.
    pub(super) fn reconnected(&mut self) {
        self.doubtful = self.doubtful.max(self.newest);
        self.cursor = 0;
        let under_way = self
            .queued
            .drain(..)
            .flatten()
            .chain(self.carried.drain().map(|(_, row)| row));
        for seq in under_way.map(|row| row.seq).chain(self.kept.doubted()) {
            self.taken.remove(&seq);
        }
        self.pauses.clear();
        self.unread.clear();
    }

    /// After which row to go on, and how many rows to read: those that are taken may come again among them.
    pub(super) fn next_rows(&mut self, now: Instant) -> (i64, usize) {
        if let Some(from) = self.pauses.over(now) {
            self.cursor = self.cursor.min(from - 1);
        }
        let room = WINDOW.saturating_sub(self.in_hand());
        let again = self.taken.range(self.cursor + 1..).count();
        (self.cursor, if room == 0 { 0 } else { room + again })
    }

    /// Topics whose rows wait.
    pub(super) fn waiting_topics(&self, now: Instant) -> Vec<String> {
        self.pauses.waiting(now)
    }

    /// When the next topic has waited long enough.
    pub(super) fn alarm(&self, now: Instant) -> Option<Instant> {
        self.pauses.alarm(now)
    }

    /// Whether a row that was read is to be sent.
    pub(super) fn wants(&mut self, seq: i64) -> bool {
        self.cursor = self.cursor.max(seq);
        !self.taken.contains(&seq)
    }

    /// Whether the broker may have a row already.
    pub(super) fn is_doubtful(&self, seq: i64) -> bool {
        seq <= self.doubtful
    }

    /// A row was given to the client.
    pub(super) fn sent(&mut self, row: Carried) {
        self.newest = self.newest.max(row.seq);
        self.taken.insert(row.seq);
        self.queued.push_back(Some(row));
    }

    /// A message of QoS 1 that is no row was given to the client.
    pub(super) fn sent_live(&mut self) {
        self.queued.push_back(None);
    }

    /// A row was read that there was no room for, or that was not the last.
    pub(super) fn there_is_more(&mut self, more: bool) {
        self.more = more;
    }

    /// A row could not be handed over; it is read again.
    pub(super) fn put_back(&mut self, seq: i64) {
        self.cursor = self.cursor.min(seq - 1);
        self.more = true;
    }

    fn in_hand(&self) -> usize {
        self.queued.len() + self.carried.len()
    }

    /// Whether rows that had no room last time may have it now: half a window at a time, so that one read of the
    /// ledger serves many acknowledgements.
    pub(super) fn has_room(&self) -> bool {
        self.more && self.in_hand() <= WINDOW / 2
    }

    /// The client has given the oldest queued message a packet id. QoS 0 messages have packet id 0.
    pub(super) fn left(&mut self, packet_id: u16) {
        if packet_id != 0
            && let Some(Some(row)) = self.queued.pop_front()
        {
            self.carried.insert(packet_id, row);
        }
    }

    /// The broker has answered for a packet; none if it carried no row.
    pub(super) fn answered(&mut self, packet_id: u16, reason: PubAckReason, now: Instant) -> Option<Fate> {
        let row = self.carried.remove(&packet_id)?;
        Some(match Reply::from(reason) {
            Reply::Accepted => {
                self.unread.remove(&row.topic);
                self.accepted(row, now)
            }
            Reply::Nobody => self.nobody(row, now),
            Reply::NotNow(why) => self.later(row, why, now),
            Reply::Never(why) => Fate::Bury(row.seq, why.to_owned()),
        })
    }

    /// The broker was heard of: the rows that can be forgotten.
    pub(super) fn heard(&mut self, now: Instant) -> Vec<i64> {
        self.kept.heard(now)
    }

    /// How many rows are only kept in case that the broker dies.
    pub(super) fn kept(&self) -> u64 {
        self.kept.rows()
    }

    /// The row is gone from the ledger.
    pub(super) fn gone(&mut self, seq: i64) {
        self.taken.remove(&seq);
    }

    fn accepted(&mut self, row: Carried, now: Instant) -> Fate {
        self.pauses.accepted(&row.topic);
        self.kept.keep(row.seq, row.bytes, now);
        Fate::Accepted
    }

    /// Nobody subscribes to the topic. Some brokers forget shared subscriptions when they restart, until their members
    /// are back.
    fn nobody(&mut self, row: Carried, now: Instant) -> Fate {
        let waited = self.pauses.waited(&row.topic, now);
        if self.patience.is_zero() || waited >= self.patience {
            self.unread.insert(row.topic.clone());
        }
        if self.unread.contains(&row.topic) {
            return self.accepted(row, now);
        }
        self.later(row, "nobody subscribes to the topic", now)
    }

    fn later(&mut self, row: Carried, why: &str, now: Instant) -> Fate {
        self.taken.remove(&row.seq);
        let pause = self.pauses.refused(row.topic, row.seq, now);
        Fate::Later(why.to_owned(), pause)
    }
}

#[cfg(test)]
mod tests;
