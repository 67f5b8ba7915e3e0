//! What hosts say of themselves and of their bots, and which of two words is the newer one.
//!
//! Presence lasts as long as its host, so that its age says nothing of it. What a host says is told apart by the start that
//! says it, and within the start by turns.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::event::policy::{BOT_PRESENCE, HOST_PRESENCE};
use crate::event::{Event, Topics};
use crate::ledger::MOST_AHEAD;

/// Largest presence, in bytes. One of a bot with a hundred topics has a tenth of it.
pub(super) const MAX_PRESENCE: usize = 64 * 1024;

/// The status of a host that is there.
pub(super) const ONLINE: &str = "online";

/// The status that a will tells of: the connection has ended without a goodbye.
pub(crate) const OFFLINE: &str = "offline";

/// The status of a bot that took its leave.
pub(super) const GONE: &str = "gone";

/// A bot, as it presents itself on `foundry/bots/<host>/<bot>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its host.
    pub host: String,
    /// Its name there.
    pub bot: String,
    /// What it is: `buildbot`.
    pub component: String,
    /// `starting`, `running`, `quarantined`, `stopping`, `offline` once its host is gone, or `gone` once it was stopped.
    pub status: String,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Topics that it reads.
    #[serde(default)]
    pub reads: Vec<String>,
    /// Topics that it publishes to.
    #[serde(default)]
    pub publishes: Vec<String>,
    /// Since when it is loaded, RFC 3339.
    pub since: String,
}

impl Presence {
    /// Say of a member of a group that is away what a broker does that gives it a share of the messages all the same.
    pub(crate) fn note_its_share(&mut self) {
        if self.status == OFFLINE && self.group.is_some() && self.detail.is_none() {
            self.detail = Some(format!(
                "is away: the broker goes on to give it its share of the group's messages, which wait for it, for a week at most (start {} again)",
                self.host
            ));
        }
    }
}

/// A host, as it presents itself on `foundry/hosts/<host>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostPresence {
    /// Its name.
    pub(super) host: String,
    /// `online`, or `offline` once its connection has ended.
    pub(super) status: String,
    /// The version of Foundry.
    pub(super) version: String,
    /// Its identity: copies of one state directory have the same.
    pub(super) identity: String,
}

/// The place of a word among those of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rank {
    /// When the start began, in seconds since 1970: later than every start before it, whatever the clock says.
    pub(super) began: u64,
    /// The number of the start, at random.
    pub(super) start: u64,
    /// The number of the word within its start. A will has that of the word that began its connection.
    pub(super) turn: u64,
}

/// A word and its place among those of its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Word<T> {
    #[serde(flatten)]
    pub(super) what: T,
    #[serde(flatten)]
    pub(super) rank: Rank,
}

impl Rank {
    /// Whether a start can have begun then. A host could not outdo a beginning that is beyond all times, and some readers of JSON
    /// know no integers beyond 53 bits.
    fn is_possible(&self, now: OffsetDateTime) -> bool {
        let now = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        self.began <= now.saturating_add(MOST_AHEAD) && self.began < 1 << 53
    }

    /// Whether it is of another start that began later, or at the same time with a greater number. A start that finds that it
    /// has been outdone moves its own beginning.
    pub(super) fn is_of_later_start(&self, than: &Self) -> bool {
        self.start != than.start && (self.began, self.start) > (than.began, than.start)
    }
}

impl<T: Status> Word<T> {
    /// Whether this word replaces another one of the same host about the same. Within a start the later turn counts, and
    /// in one turn the will; of two starts the later one. So neither an old word nor an old will, sent again by somebody,
    /// replaces a newer one.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        if self.rank.start != other.rank.start {
            return self.rank.is_of_later_start(&other.rank);
        }
        let place = |word: &Self| (word.rank.turn, word.what.status() == OFFLINE);
        place(self) > place(other)
    }
}

impl Word<HostPresence> {
    /// Whether the host says that it is there.
    pub(super) fn is_online(&self) -> bool {
        self.what.status == ONLINE
    }
}

/// What has a status.
pub(super) trait Status {
    /// The status.
    fn status(&self) -> &str;
}

impl Status for Presence {
    fn status(&self) -> &str {
        &self.status
    }
}

impl Status for HostPresence {
    fn status(&self) -> &str {
        &self.status
    }
}

/// What a verified event says of a bot; none if it says nothing of one, or of another than its topic does, or of a start that can
/// be none.
pub(super) fn of_bot(event: Event, topics: &Topics) -> Option<Word<Presence>> {
    let topic = event.topic.clone()?;
    let word: Word<Presence> = read(event, BOT_PRESENCE)?;
    (topic == topics.bot(&word.what.host, &word.what.bot)).then_some(word)
}

/// What a verified event says of a host; none if it says nothing of one, or of another than its topic does, or of a start that can
/// be none.
pub(super) fn of_host(event: Event, topics: &Topics) -> Option<Word<HostPresence>> {
    let topic = event.topic.clone()?;
    let word: Word<HostPresence> = read(event, HOST_PRESENCE)?;
    (topic == topics.host(&word.what.host)).then_some(word)
}

fn read<T: DeserializeOwned>(event: Event, event_type: &str) -> Option<Word<T>> {
    if event.event_type != event_type {
        return None;
    }
    let word: Word<T> = serde_json::from_value(Value::Object(event.data)).ok()?;
    word.rank.is_possible(OffsetDateTime::now_utc()).then_some(word)
}

/// The data of an event that says a word.
pub(super) fn data<T: Serialize>(word: &Word<T>) -> Map<String, Value> {
    match serde_json::to_value(word) {
        Ok(Value::Object(data)) => data,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Origin, OutgoingEvent};

    fn word(began: u64, start: u64, turn: u64, status: &str) -> Word<HostPresence> {
        Word {
            what: HostPresence {
                host: "b1".to_owned(),
                status: status.to_owned(),
                version: "1".to_owned(),
                identity: "i".to_owned(),
            },
            rank: Rank { began, start, turn },
        }
    }

    #[test]
    fn a_later_turn_replaces_an_earlier_one_and_never_the_other_way() {
        let (first, second) = (word(100, 7, 1, ONLINE), word(100, 7, 2, ONLINE));
        assert!(second.replaces(&first));
        assert!(!first.replaces(&second));
        assert!(!first.replaces(&first), "the same word once more");
    }

    #[test]
    fn a_will_ends_its_own_connection_and_not_the_next_one() {
        let (hello, will, next) = (
            word(100, 7, 1, ONLINE),
            word(100, 7, 1, OFFLINE),
            word(100, 7, 2, ONLINE),
        );
        assert!(will.replaces(&hello));
        assert!(!hello.replaces(&will), "what began the connection, sent again");
        assert!(!will.replaces(&next), "the will, sent again");
    }

    #[test]
    fn no_word_of_an_earlier_start_replaces_one_of_a_later() {
        let now = word(200, 3, 1, ONLINE);
        for status in [ONLINE, OFFLINE] {
            assert!(!word(100, 7, 99, status).replaces(&now), "{status}");
            assert!(now.replaces(&word(100, 7, 99, status)), "{status}");
        }
    }

    #[test]
    fn a_start_that_moved_its_beginning_replaces_the_one_that_outdid_it_and_keeps_its_will() {
        let (own, other) = (word(100, 7, 4, ONLINE), word(150, 3, 1, ONLINE));
        assert!(other.replaces(&own));
        let moved = word(151, 7, 4, ONLINE);
        assert!(moved.replaces(&other));
        assert!(word(100, 7, 4, OFFLINE).replaces(&moved), "the will of that connection");
    }

    proptest! {
        #[test]
        fn of_two_different_words_at_most_one_replaces_the_other(
            one in (0u64..4, 0u64..4, 0u64..4, any::<bool>()),
            other in (0u64..4, 0u64..4, 0u64..4, any::<bool>()),
        ) {
            let make = |(began, start, turn, will): (u64, u64, u64, bool)| {
                word(began, start, turn, if will { OFFLINE } else { ONLINE })
            };
            let (one, other) = (make(one), make(other));
            prop_assert!(!(one.replaces(&other) && other.replaces(&one)));
        }
    }

    fn event_of(topic: &str, event_type: &str, data: Map<String, Value>) -> Event {
        let origin = Origin::of_its_own("b1");
        let outgoing = OutgoingEvent::own(origin, topic, event_type, "presence", data);
        Event::of(outgoing, "b1/x", &Topics::new("foundry"))
    }

    #[test]
    fn a_word_of_a_start_that_is_far_ahead_of_now_is_none() {
        let topics = Topics::new("foundry");
        let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap();
        let bot = |began: u64| -> Word<Presence> {
            let data = serde_json::json!({
                "host": "b1", "bot": "x", "component": "c", "status": "running", "since": "",
                "began": began, "start": 7, "turn": 1,
            });
            serde_json::from_value(data).unwrap()
        };
        let believed = |began: u64| {
            let host = event_of("hosts/b1", HOST_PRESENCE, data(&word(began, 7, 1, ONLINE)));
            let bot = event_of("bots/b1/x", BOT_PRESENCE, data(&bot(began)));
            (of_host(host, &topics).is_some(), of_bot(bot, &topics).is_some())
        };
        for began in [now, now - 1_000_000, now + MOST_AHEAD - 60] {
            assert_eq!(believed(began), (true, true), "{began}");
        }
        for began in [
            now + MOST_AHEAD + 60,
            1 << 53,
            i64::MAX.unsigned_abs() - 1,
            1 << 63,
            u64::MAX,
        ] {
            assert_eq!(believed(began), (false, false), "{began}");
        }
    }

    #[test]
    fn a_word_is_one_object_that_a_person_can_read() {
        let data = serde_json::to_value(word(1_796_000_000, 7, 2, ONLINE)).unwrap();
        assert_eq!(
            data,
            serde_json::json!({
                "host": "b1", "status": "online", "version": "1", "identity": "i",
                "began": 1_796_000_000, "start": 7, "turn": 2,
            })
        );
        let read: Word<HostPresence> = serde_json::from_value(data).unwrap();
        assert_eq!(read, word(1_796_000_000, 7, 2, ONLINE));
    }
}
