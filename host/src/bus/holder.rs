//! Who holds a host's name: what hosts of one name say to each other, and what a starting one makes of it.
//!
//! A starting host asks on the topic of its own name before it opens any session. Whoever runs under that name answers
//! there, with the number of its start, which is random: two copies of one state directory differ in nothing else. An
//! answer counts only for the start that asked, so that none can be replayed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::presence::{self, HostPresence};
use super::publisher::KEEP_ALIVE;

/// Type of the question.
const QUESTION: &str = "foundry.peer-name-question.v1";

/// Type of the answer.
const ANSWER: &str = "foundry.peer-name-answer.v1";

/// How long a host that may be there has for its answer, from when the question is known to have passed the broker.
const GRACE: Duration = Duration::from_millis(300);

/// How long the broker may take to notice that a host is gone: it waits for one and a half times the keep-alive
/// (MQTT 5, section 3.1.2.10).
const NOTICE: Duration = KEEP_ALIVE.saturating_mul(2);

/// How long the broker has to let a question pass.
const PASSAGE: Duration = Duration::from_secs(5);

/// One start of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The host's name.
    pub host: String,
    /// Its identity: copies of one state directory have the same.
    pub identity: String,
    /// The number of this start, random, with 53 bits (JSON has no more).
    pub start: u64,
    /// What the machine is called that it runs on.
    pub machine: String,
}

impl Holder {
    /// A start of a host on this machine, from now.
    #[must_use]
    pub fn starting(host: &str, identity: &str) -> Self {
        Self {
            host: host.to_owned(),
            identity: identity.to_owned(),
            start: rand::random::<u64>() >> 11,
            machine: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    /// The answer to a question of another start.
    pub(super) fn answer(&self, to: u64) -> Word {
        Word::Answer(Answer {
            to,
            start: self.start,
            identity: self.identity.clone(),
            machine: self.machine.clone(),
        })
    }

    /// The question.
    pub(super) fn question(&self) -> Word {
        Word::Question(Question { start: self.start })
    }
}

/// What hosts of one name say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Question(Question),
    Answer(Answer),
}

/// Does somebody have this name?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// The start that asks.
    pub(super) start: u64,
}

/// Somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The start that asked.
    pub(super) to: u64,
    pub(super) start: u64,
    pub(super) identity: String,
    pub(super) machine: String,
}

impl Word {
    /// From an event's type and data; none for other events.
    pub(super) fn of(event_type: &str, data: &Map<String, Value>) -> Option<Self> {
        let data = Value::Object(data.clone());
        match event_type {
            QUESTION => serde_json::from_value(data).ok().map(Self::Question),
            ANSWER => serde_json::from_value(data).ok().map(Self::Answer),
            _ => None,
        }
    }

    /// What an event says whose signature did not hold.
    pub(super) fn unproven(payload: &[u8]) -> Option<Self> {
        let event: Value = serde_json::from_slice(payload).ok()?;
        Self::of(event.get("type")?.as_str()?, event.get("data")?.as_object()?)
    }

    pub(super) fn event_type(&self) -> &'static str {
        match self {
            Self::Question(_) => QUESTION,
            Self::Answer(_) => ANSWER,
        }
    }

    pub(super) fn data(&self) -> Map<String, Value> {
        let value = match self {
            Self::Question(question) => serde_json::to_value(question),
            Self::Answer(answer) => serde_json::to_value(answer),
        };
        match value {
            Ok(Value::Object(data)) => data,
            _ => Map::new(),
        }
    }
}

/// What a host presented itself with.
pub(super) type Presented = presence::Word<HostPresence>;

/// What a starting host has heard by now.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Since when its question is known to have passed the broker.
    pub(super) passed: Option<Duration>,
    /// The newest presence under its name that can be believed.
    pub(super) presence: Option<Presented>,
    /// Whether that says online.
    pub(super) online: bool,
    /// Whether it said so at some time.
    pub(super) was_online: bool,
    /// Who answered.
    pub(super) answer: Option<Answer>,
    /// Why an answer could not be believed.
    pub(super) unproven: Option<String>,
}

impl Known {
    /// A host presents itself under the name of the `own` one.
    pub(super) fn see(&mut self, word: Presented, own: &Holder) {
        if self.presence.as_ref().is_some_and(|known| !word.replaces(known)) {
            return;
        }
        self.online = word.is_online() && word.rank.start != own.start;
        self.was_online |= self.online;
        self.presence = Some(word);
    }
}

/// How a host comes to its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// Nobody had it.
    Free,
    /// Somebody seemed to have it, and is gone.
    Gone,
    /// Somebody seems to have it, and does not answer.
    Silent,
    /// Another start has it.
    Held {
        /// Whether its state directory is a copy of this host's, or this one's of it.
        copy: bool,
        /// The machine that it runs on.
        machine: String,
    },
    /// Somebody says that he has it, and nobody knows whether to believe him: why.
    Claimed(String),
    /// It could not be asked: the broker is away, or lets nothing pass.
    Unasked,
}

/// What a starting host does next, `elapsed` after its first attempt to ask.
///
/// None means to wait. An operator who says that the host may take over waits for nobody but one who answers.
pub(super) fn arrival(own: &Holder, known: &Known, elapsed: Duration, take_over: bool) -> Option<Arrival> {
    if let Some(answer) = &known.answer {
        return Some(Arrival::Held {
            copy: answer.identity == own.identity,
            machine: answer.machine.clone(),
        });
    }
    if let Some(why) = known.unproven.as_ref().filter(|_| !take_over) {
        return Some(Arrival::Claimed(why.clone()));
    }
    let Some(passed) = known.passed else {
        return (elapsed >= PASSAGE).then_some(Arrival::Unasked);
    };
    let asked = elapsed.saturating_sub(passed);
    match (known.online, known.was_online) {
        _ if asked < GRACE => None,
        (false, false) => Some(Arrival::Free),
        (false, true) => Some(Arrival::Gone),
        (true, _) if take_over || asked >= NOTICE => Some(Arrival::Silent),
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(1);

    fn own() -> Holder {
        Holder::starting("head", "mine")
    }

    fn asked() -> Known {
        Known {
            passed: Some(Duration::ZERO),
            ..Known::default()
        }
    }

    fn answered(identity: &str) -> Known {
        Known {
            online: true,
            was_online: true,
            answer: Some(Answer {
                to: 1,
                start: 2,
                identity: identity.to_owned(),
                machine: "m".to_owned(),
            }),
            ..asked()
        }
    }

    fn seemingly_online() -> Known {
        Known {
            online: true,
            was_online: true,
            ..asked()
        }
    }

    #[test]
    fn where_nobody_answers_and_nobody_is_online_the_host_starts() {
        assert_eq!(
            arrival(&own(), &asked(), Duration::ZERO, false),
            None,
            "an answer may come yet"
        );
        assert_eq!(arrival(&own(), &asked(), LATER, false), Some(Arrival::Free));
    }

    #[test]
    fn where_somebody_is_online_and_silent_the_host_waits_for_the_broker_to_notice() {
        let known = seemingly_online();
        assert_eq!(arrival(&own(), &known, NOTICE - LATER, false), None);
        assert_eq!(arrival(&own(), &known, NOTICE, false), Some(Arrival::Silent));
        let gone = Known { online: false, ..known };
        assert_eq!(arrival(&own(), &gone, LATER, false), Some(Arrival::Gone));
    }

    #[test]
    fn one_that_may_take_over_waits_for_an_answer_alone() {
        let known = seemingly_online();
        assert_eq!(arrival(&own(), &known, LATER, true), Some(Arrival::Silent));
        assert_eq!(arrival(&own(), &known, Duration::ZERO, true), None);
    }

    #[test]
    fn one_that_answers_has_the_name_whatever_the_operator_says() {
        for take_over in [false, true] {
            for (identity, copy) in [("mine", true), ("other", false)] {
                let machine = "m".to_owned();
                let held = arrival(&own(), &answered(identity), Duration::ZERO, take_over);
                assert_eq!(held, Some(Arrival::Held { copy, machine }));
            }
        }
    }

    #[test]
    fn an_answer_that_cannot_be_believed_stops_a_host_unless_the_operator_knows_better() {
        let known = Known {
            unproven: Some("why".to_owned()),
            ..asked()
        };
        let claimed = arrival(&own(), &known, LATER, false);
        assert_eq!(claimed, Some(Arrival::Claimed("why".to_owned())));
        assert_eq!(arrival(&own(), &known, LATER, true), Some(Arrival::Free));
    }

    #[test]
    fn a_broker_that_lets_nothing_pass_keeps_no_host_from_starting() {
        assert_eq!(arrival(&own(), &Known::default(), LATER, false), None);
        assert_eq!(
            arrival(&own(), &Known::default(), PASSAGE, false),
            Some(Arrival::Unasked)
        );
    }

    #[test]
    fn words_go_there_and_back() {
        let holder = own();
        for word in [holder.question(), holder.answer(7)] {
            assert_eq!(Word::of(word.event_type(), &word.data()), Some(word));
        }
        assert_eq!(Word::of("foundry.peer-question.v1", &holder.question().data()), None);
    }

    #[test]
    fn presence_that_was_outdone_is_not_believed_when_it_is_sent_again() {
        let word = |status: &str, turn: u64| -> Presented {
            let word = serde_json::json!({
                "host": "head", "status": status, "version": "0.2.0", "identity": "i",
                "began": 1_796_000_000, "start": 7, "turn": turn,
            });
            serde_json::from_value(word).unwrap()
        };
        let (own, mut known) = (own(), Known::default());
        known.see(word("online", 1), &own);
        assert!(known.online);
        known.see(word("offline", 1), &own);
        known.see(word("online", 1), &own);
        assert!(!known.online && known.was_online);
    }

    #[test]
    fn a_start_number_survives_json() {
        for start in std::iter::repeat_with(|| own().start).take(100) {
            assert!(start < 1 << 53, "{start}");
        }
    }
}
