//! Which rows of the outbox are on their way to the broker, and what becomes of each when the broker answers.
//!
//! Everything here is decided without I/O; the time comes as an argument.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::PubAckReason;

/// Rows that are on their way at the same time.
const WINDOW: usize = 128;

/// First and longest pause before a topic is tried again after the broker refused one of its rows for now.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// A row on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) seq: i64,
    pub(super) topic: String,
}

/// What is to be done with a row that the broker has answered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The broker has it.
    Forget(i64),
    /// The broker will never take it.
    Bury(i64, String),
    /// It is tried again; why, and when. Further rows of its topic wait for it.
    Later(String, Duration),
}

/// A topic whose rows wait.
#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    since: Instant,
    failures: u32,
    /// The oldest row that waits.
    from: i64,
}

/// The rows on their way, over any number of connections.
#[derive(Debug)]
pub(super) struct Flight {
    /// Rows up to this one were handed out.
    cursor: i64,
    /// Rows up to this one may have reached the broker over a connection that ended.
    doubtful: i64,
    /// How long a message that nobody subscribes to is kept for those who may come back.
    patience: Duration,
    more: bool,
    /// Rows that must not be handed out: on their way, or answered for and not yet gone from the ledger.
    taken: BTreeSet<i64>,
    queued: VecDeque<Carried>,
    carried: HashMap<u16, Carried>,
    paused: HashMap<String, Pause>,
    /// Topics that nobody came for within the patience.
    unread: HashSet<String>,
}

impl Flight {
    /// Rows up to `doubtful` may have been sent by a process that ended.
    pub(super) fn new(doubtful: i64, patience: Duration) -> Self {
        Self {
            cursor: 0,
            doubtful,
            patience,
            more: false,
            taken: BTreeSet::new(),
            queued: VecDeque::new(),
            carried: HashMap::new(),
            paused: HashMap::new(),
            unread: HashSet::new(),
        }
    }

    /// The connection is new: what was under way is sent again.
    pub(super) fn reconnected(&mut self) {
        self.doubtful = self.doubtful.max(self.cursor);
        self.cursor = 0;
        for carried in self
            .queued
            .drain(..)
            .chain(self.carried.drain().map(|(_, carried)| carried))
        {
            self.taken.remove(&carried.seq);
        }
        self.paused.clear();
        self.unread.clear();
    }

    /// After which row to go on, and how many rows to read: those that are taken may come again among them.
    pub(super) fn next_rows(&mut self, now: Instant) -> (i64, usize) {
        let over: Vec<_> = self
            .paused
            .iter()
            .filter(|(_, pause)| pause.until <= now && pause.from != i64::MAX)
            .map(|(topic, pause)| (topic.clone(), pause.from))
            .collect();
        for (topic, from) in over {
            self.cursor = self.cursor.min(from - 1);
            if let Some(pause) = self.paused.get_mut(&topic) {
                pause.from = i64::MAX;
            }
        }
        let room = WINDOW.saturating_sub(self.in_hand());
        let again = self.taken.range(self.cursor + 1..).count();
        (self.cursor, if room == 0 { 0 } else { room + again })
    }

    /// Topics whose rows wait.
    pub(super) fn waiting_topics(&self, now: Instant) -> Vec<String> {
        let waiting = self.paused.iter().filter(|(_, pause)| pause.until > now);
        waiting.map(|(topic, _)| topic.clone()).collect()
    }

    /// When the next topic has waited long enough.
    pub(super) fn alarm(&self, now: Instant) -> Option<Instant> {
        let waiting = self
            .paused
            .values()
            .filter(|pause| pause.until > now || pause.from != i64::MAX);
        waiting.map(|pause| pause.until).min()
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
        self.taken.insert(row.seq);
        self.queued.push_back(row);
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

    /// The client has given the oldest queued row a packet id. QoS 0 messages have packet id 0.
    pub(super) fn left(&mut self, packet_id: u16) {
        if packet_id != 0
            && let Some(row) = self.queued.pop_front()
        {
            self.carried.insert(packet_id, row);
        }
    }

    /// The broker has answered for a packet; none if it carried no row.
    pub(super) fn answered(&mut self, packet_id: u16, reason: PubAckReason, now: Instant) -> Option<Fate> {
        use PubAckReason as R;
        let row = self.carried.remove(&packet_id)?;
        Some(match reason {
            R::Success => {
                self.unread.remove(&row.topic);
                self.settled(row)
            }
            R::NoMatchingSubscribers => self.nobody(row, now),
            R::NotAuthorized => Fate::Bury(
                row.seq,
                "the broker does not allow this host to publish there".to_owned(),
            ),
            R::TopicNameInvalid => Fate::Bury(row.seq, "the broker does not accept the topic's name".to_owned()),
            R::PayloadFormatInvalid => Fate::Bury(row.seq, "the broker does not accept the payload".to_owned()),
            R::QuotaExceeded => self.later(row, "a quota is exceeded", now),
            R::UnspecifiedError | R::ImplementationSpecificError | R::PacketIdentifierInUse => {
                self.later(row, "the broker cannot take it now", now)
            }
        })
    }

    /// The row is gone from the ledger.
    pub(super) fn gone(&mut self, seq: i64) {
        self.taken.remove(&seq);
    }

    fn settled(&mut self, row: Carried) -> Fate {
        match self.paused.get_mut(&row.topic) {
            // An older row of the topic was refused meanwhile, and still has to be read again.
            Some(pause) if pause.from != i64::MAX => pause.failures = 0,
            _ => drop(self.paused.remove(&row.topic)),
        }
        Fate::Forget(row.seq)
    }

    /// Nobody subscribes to the topic. Some brokers forget shared subscriptions when they restart, until their members
    /// are back.
    fn nobody(&mut self, row: Carried, now: Instant) -> Fate {
        let waited = self
            .paused
            .get(&row.topic)
            .map_or(Duration::ZERO, |pause| now - pause.since);
        if self.patience.is_zero() || waited >= self.patience {
            self.unread.insert(row.topic.clone());
        }
        if self.unread.contains(&row.topic) {
            return self.settled(row);
        }
        self.later(row, "nobody subscribes to the topic", now)
    }

    fn later(&mut self, row: Carried, why: &str, now: Instant) -> Fate {
        self.taken.remove(&row.seq);
        let pause = self.paused.entry(row.topic).or_insert(Pause {
            until: now,
            since: now,
            failures: 0,
            from: i64::MAX,
        });
        // The rows of a topic that were on their way together are refused together, which is one failure.
        if pause.until <= now {
            let doubled = PAUSE
                .0
                .saturating_mul(1u32.checked_shl(pause.failures).unwrap_or(u32::MAX));
            pause.until = now + doubled.min(PAUSE.1);
            pause.failures = pause.failures.saturating_add(1);
        }
        pause.from = pause.from.min(row.seq);
        Fate::Later(why.to_owned(), pause.until - now)
    }
}

/// Bytes of a QoS 1 PUBLISH with at most one user property (MQTT 5, section 3.3).
pub(super) fn packet_size(topic: &str, payload: usize, property: Option<(&str, &str)>) -> usize {
    let properties = property.map_or(0, |(name, value)| 1 + 2 + name.len() + 2 + value.len());
    let rest = 2 + topic.len() + 2 + variable(properties) + properties + payload;
    1 + variable(rest) + rest
}

/// Bytes of a variable byte integer.
fn variable(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// An outbox in memory, and a clock.
    struct World {
        flight: Flight,
        rows: Vec<Carried>,
        now: Instant,
        packet: u16,
    }

    impl World {
        fn new(topics: &[&str], patience: Duration) -> Self {
            let rows = (1..).zip(topics).map(|(seq, topic)| Carried {
                seq,
                topic: (*topic).to_owned(),
            });
            Self {
                flight: Flight::new(0, patience),
                rows: rows.collect(),
                now: Instant::now(),
                packet: 0,
            }
        }

        /// Read and send; returns packet id and row of each.
        fn fill(&mut self) -> Vec<(u16, i64)> {
            let (after, limit) = self.flight.next_rows(self.now);
            let waiting = self.flight.waiting_topics(self.now);
            let rows = self
                .rows
                .iter()
                .filter(|row| row.seq > after && !waiting.contains(&row.topic));
            let mut sent = Vec::new();
            for row in rows.take(limit) {
                if self.flight.wants(row.seq) {
                    self.flight.sent(row.clone());
                    self.packet += 1;
                    self.flight.left(self.packet);
                    sent.push((self.packet, row.seq));
                }
            }
            sent
        }

        fn answer(&mut self, packet: u16, reason: PubAckReason) -> Fate {
            let fate = self.flight.answered(packet, reason, self.now).unwrap();
            if let Fate::Forget(seq) | Fate::Bury(seq, _) = fate {
                self.rows.retain(|row| row.seq != seq);
                self.flight.gone(seq);
            }
            fate
        }

        fn seqs(&mut self) -> Vec<i64> {
            self.fill().into_iter().map(|(_, seq)| seq).collect()
        }
    }

    #[test]
    fn a_row_that_is_refused_for_now_holds_up_its_own_topic_only() {
        let mut world = World::new(&["a", "b"], Duration::ZERO);
        let sent = world.fill();
        world.answer(sent[1].0, PubAckReason::Success);
        assert!(matches!(
            world.answer(sent[0].0, PubAckReason::QuotaExceeded),
            Fate::Later(..)
        ));
        for (seq, topic) in [(3, "a"), (4, "b")] {
            world.rows.push(Carried {
                seq,
                topic: topic.to_owned(),
            });
        }
        assert_eq!(world.seqs(), [4], "the other topic goes on");
        let alarm = world.flight.alarm(world.now).unwrap();
        world.now = alarm;
        assert_eq!(world.seqs(), [1, 3], "in their order, when the pause is over");
    }

    #[test]
    fn a_row_that_is_refused_while_later_ones_are_accepted_is_sent_again() {
        let mut world = World::new(&["a", "a", "a"], Duration::ZERO);
        let sent = world.fill();
        world.answer(sent[0].0, PubAckReason::QuotaExceeded);
        world.answer(sent[1].0, PubAckReason::Success);
        world.answer(sent[2].0, PubAckReason::Success);
        world.now = world.flight.alarm(world.now).unwrap();
        let sent = world.fill();
        assert_eq!(world.answer(sent[0].0, PubAckReason::Success), Fate::Forget(1));
        assert_eq!(world.flight.alarm(world.now), None);
    }

    #[test]
    fn pauses_grow_while_the_broker_refuses_and_end_with_the_first_success() {
        let mut world = World::new(&["a"], Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let sent = world.fill();
            let Fate::Later(_, pause) = world.answer(sent[0].0, PubAckReason::UnspecifiedError) else {
                panic!("it is tried again");
            };
            pauses.push(pause.as_millis());
            world.now += pause;
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        let sent = world.fill();
        assert_eq!(world.answer(sent[0].0, PubAckReason::Success), Fate::Forget(1));
        assert_eq!(world.flight.alarm(world.now), None);
    }

    #[test]
    fn a_row_that_is_refused_for_good_makes_room_for_the_next() {
        let mut world = World::new(&["a", "a"], Duration::ZERO);
        let sent = world.fill();
        for reason in [PubAckReason::NotAuthorized, PubAckReason::TopicNameInvalid] {
            let packet = sent[world.rows.len() % 2].0;
            assert!(matches!(world.answer(packet, reason), Fate::Bury(..)));
        }
        assert!(world.seqs().is_empty());
    }

    #[test]
    fn what_nobody_subscribes_to_waits_for_subscribers_but_not_for_ever() {
        let mut world = World::new(&["a", "a"], MINUTE);
        let begun = world.now;
        while world.now - begun < MINUTE {
            for (packet, _) in world.fill() {
                assert!(matches!(
                    world.answer(packet, PubAckReason::NoMatchingSubscribers),
                    Fate::Later(..)
                ));
            }
            world.now = world.flight.alarm(world.now).unwrap();
        }
        let sent = world.fill();
        assert_eq!(sent.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [1, 2]);
        for (packet, seq) in sent {
            let fate = world.answer(packet, PubAckReason::NoMatchingSubscribers);
            assert_eq!(fate, Fate::Forget(seq), "its time is up, and its topic's");
        }
        world.flight.reconnected();
        world.rows.push(Carried {
            seq: 3,
            topic: "a".to_owned(),
        });
        let sent = world.fill();
        let fate = world.answer(sent[0].0, PubAckReason::NoMatchingSubscribers);
        assert!(
            matches!(fate, Fate::Later(..)),
            "a broker that was restarted gets time again"
        );
    }

    #[test]
    fn a_new_connection_sends_again_what_was_unanswered_and_nothing_else() {
        let mut world = World::new(&["a", "b", "c"], Duration::ZERO);
        let sent = world.fill();
        // Answered for, but the ledger has not forgotten it yet.
        assert_eq!(
            world.flight.answered(sent[0].0, PubAckReason::Success, world.now),
            Some(Fate::Forget(1))
        );
        world.flight.reconnected();
        assert_eq!(world.seqs(), [2, 3]);
        assert!(world.flight.is_doubtful(3) && !world.flight.is_doubtful(4));
    }

    #[test]
    fn no_more_than_a_window_is_on_its_way() {
        let mut world = World::new(&["a"; 300], Duration::ZERO);
        let sent = world.fill();
        assert_eq!((sent.len(), world.fill().len()), (WINDOW, 0));
        for (packet, _) in &sent[..100] {
            world.answer(*packet, PubAckReason::Success);
        }
        assert_eq!(world.seqs(), (129..229).collect::<Vec<_>>());
    }

    #[test]
    fn packets_are_measured_as_rumqttc_writes_them() {
        use bytes::BytesMut;
        use rumqttc::v5::mqttbytes::QoS;
        use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
        for (payload, property) in [
            (0, None),
            (100, None),
            (200, Some(("name", "1"))),
            (40_000, Some(("n", ""))),
        ] {
            let properties = property.map(|(name, value): (&str, &str)| PublishProperties {
                user_properties: vec![(name.to_owned(), value.to_owned())],
                ..PublishProperties::default()
            });
            let mut publish = Publish::new("a/topic", QoS::AtLeastOnce, vec![0; payload], properties);
            publish.pkid = 1;
            let mut bytes = BytesMut::new();
            publish.write(&mut bytes).unwrap();
            assert_eq!(packet_size("a/topic", payload, property), bytes.len());
        }
    }
}
