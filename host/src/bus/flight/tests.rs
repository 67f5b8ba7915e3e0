//! Rows and answers, without a broker or a ledger.

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
            bytes: 10,
        });
        let mut flight = Flight::new(0);
        flight.at_broker(patience, Keeping::NONE);
        Self {
            flight,
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
        if let Fate::Bury(seq, _) = fate {
            self.forgotten(seq);
        }
        for seq in self.flight.heard(self.now) {
            self.forgotten(seq);
        }
        fate
    }

    fn forgotten(&mut self, seq: i64) {
        self.rows.retain(|row| row.seq != seq);
        self.flight.gone(seq);
    }

    fn add(&mut self, seq: i64, topic: &str) {
        self.rows.push(Carried {
            seq,
            topic: topic.to_owned(),
            bytes: 10,
        });
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
        world.add(seq, topic);
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
    assert_eq!(world.answer(sent[0].0, PubAckReason::Success), Fate::Accepted);
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
    assert_eq!(world.answer(sent[0].0, PubAckReason::Success), Fate::Accepted);
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
    for (packet, _) in sent {
        let fate = world.answer(packet, PubAckReason::NoMatchingSubscribers);
        assert_eq!(fate, Fate::Accepted, "its time is up, and its topic's");
    }
    world.flight.reconnected();
    world.add(3, "a");
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
        Some(Fate::Accepted)
    );
    assert_eq!(world.flight.heard(world.now), [1]);
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

const KEEPING: Keeping = Keeping {
    patience: Duration::from_secs(10),
    most: crate::ledger::Size { rows: 3, bytes: 1000 },
};

#[test]
fn what_a_broker_acknowledged_a_moment_before_it_died_is_sent_again_with_a_mark() {
    let mut world = World::new(&["a", "a"], MINUTE);
    world.flight.at_broker(MINUTE, KEEPING);
    let sent = world.fill();
    world.answer(sent[0].0, PubAckReason::Success);
    world.now += Duration::from_secs(9);
    world.answer(sent[1].0, PubAckReason::Success);
    assert_eq!(
        (world.flight.kept(), world.seqs()),
        (2, vec![]),
        "kept, and not sent twice"
    );
    world.now += Duration::from_secs(1);
    assert_eq!(
        world.flight.heard(world.now),
        [1],
        "it lives, and has had its time to write"
    );
    world.forgotten(1);
    // Time alone says nothing: the broker may have died right after its last word.
    world.now += MINUTE;
    world.flight.reconnected();
    assert_eq!((world.seqs(), world.flight.kept()), (vec![2], 0));
    assert!(world.flight.is_doubtful(2));
}

#[test]
fn no_more_is_kept_than_the_bound_and_the_oldest_goes_first() {
    let mut world = World::new(&["a"; 5], MINUTE);
    world.flight.at_broker(MINUTE, KEEPING);
    for (packet, _) in world.fill() {
        world.answer(packet, PubAckReason::Success);
    }
    assert_eq!(world.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 4, 5]);
    world.flight.at_broker(
        MINUTE,
        Keeping {
            most: crate::ledger::Size { rows: 3, bytes: 15 },
            ..KEEPING
        },
    );
    assert_eq!(world.flight.heard(world.now), [3, 4]);
}

/// Found by `make chaos`: rows that were sent, and lay behind one that was read again after its pause, came to the broker
/// a second time without a mark.
#[test]
fn what_was_sent_is_doubtful_also_while_older_rows_are_read_again() {
    let mut topics = vec!["a"; 100];
    topics.extend(["b"; 60]);
    let mut world = World::new(&topics, MINUTE);
    let sent = world.fill();
    for (packet, seq) in &sent {
        if *seq <= 100 {
            world.answer(*packet, PubAckReason::NoMatchingSubscribers);
        }
    }
    assert_eq!(world.seqs().last(), Some(&160), "the other topic goes on");
    world.now = world.flight.alarm(world.now).unwrap();
    let (after, _) = world.flight.next_rows(world.now);
    assert_eq!(after, 0);
    world.flight.reconnected();
    assert!(world.flight.is_doubtful(160));
}

#[test]
fn every_reason_code_of_mqtt_5_is_in_its_class() {
    use PubAckReason as R;
    // MQTT 5, section 3.4.2.1, table 3-4.
    let codes = [
        (R::Success, "accepted"),
        (R::NoMatchingSubscribers, "waits for subscribers"),
        (R::UnspecifiedError, "again"),
        (R::ImplementationSpecificError, "again"),
        (R::NotAuthorized, "never"),
        (R::TopicNameInvalid, "never"),
        (R::PacketIdentifierInUse, "again"),
        (R::QuotaExceeded, "again"),
        (R::PayloadFormatInvalid, "never"),
    ];
    for (code, class) in codes {
        let mut world = World::new(&["a"], MINUTE);
        let packet = world.fill()[0].0;
        let fate = world.answer(packet, code);
        let found = match fate {
            Fate::Accepted => "accepted",
            Fate::Bury(1, _) => "never",
            Fate::Later(why, _) if why == "nobody subscribes to the topic" => "waits for subscribers",
            Fate::Later(..) => "again",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, class, "{code:?}");
        let left = world.rows.len();
        assert_eq!(
            left,
            usize::from(matches!(class, "again" | "waits for subscribers")),
            "{code:?}"
        );
    }
}

#[test]
fn a_packet_that_carries_presence_answers_for_no_row() {
    let mut world = World::new(&["a"], Duration::ZERO);
    world.flight.sent_live();
    world.flight.sent(world.rows[0].clone());
    world.flight.left(1);
    world.flight.left(2);
    assert_eq!(world.flight.answered(1, PubAckReason::Success, world.now), None);
    assert_eq!(
        world.flight.answered(2, PubAckReason::Success, world.now),
        Some(Fate::Accepted)
    );
}
