//! What an event's id derives from: whose work it is, and which event of that work. The id is the same for every repetition, whoever
//! repeats it, and another for every other piece of work (`docs/adr/0021-an-events-id-says-whose-work-it-is.md`). The same type
//! makes ids and checks them (`docs/adr/0028-an-events-id-is-checked.md`).

use serde::{Deserialize, Serialize};

use super::id::derive;

/// The attempt at a message, until messages that are settled can be tried again.
pub(crate) const ATTEMPT: u32 = 0;

/// Where an event comes from. Two events of one type and topic that have one origin are one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A group handles a message: which member does it, on which host and under which name, makes no difference.
    Message {
        /// The group.
        group: String,
        /// The message's id.
        input: String,
        /// Which attempt at the settled message, from 0.
        attempt: u32,
        /// Which of the events that come of it.
        place: Place,
    },
    /// A timer of a stock bot. All bots of that kind, on all hosts, do the same work: two watchbots announce a commit once.
    StockTimer {
        /// The stock bot's name, as the host knows it: a component from a file cannot claim it.
        bot: String,
        /// What the bot calls the event: a tick has no identity, so that nothing else would tell a repetition from new work.
        key: String,
    },
    /// A timer of a bot from a file.
    Timer {
        /// The name that its operator loaded it under.
        bot: String,
        /// What the bot calls the event.
        key: String,
    },
    /// A group refuses what a key says in a run, by a rule.
    Refused {
        /// The group.
        group: String,
        /// The run that the message names.
        run: String,
        /// The rule's name.
        rule: String,
        /// The key that the message names as its signer.
        key: String,
    },
    /// A group gives a message up.
    GivenUp {
        /// The group.
        group: String,
        /// The message's id.
        input: String,
        /// Which attempt at the settled message, from 0.
        attempt: u32,
    },
    /// Something that nobody else would repeat: what hosts say to each other.
    Own {
        /// The host.
        host: String,
        /// What tells it from all others of the host.
        key: String,
    },
}

/// Which of the events that come of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Its number among all that come of the message, from 0.
    Position(u32),
    /// What the bot calls it. A key counts within one group, whatever message led to it.
    Key(String),
}

impl Origin {
    /// An origin that nothing else has, of a host.
    pub(crate) fn of_its_own(host: &str) -> Self {
        Self::Own {
            host: host.to_owned(),
            key: hex::encode(rand::random::<[u8; 16]>()),
        }
    }

    /// The id of the event: `what` it is, its type and its topic without prefix, and its origin.
    #[must_use]
    pub fn id(&self, what: &[&str]) -> String {
        match self {
            Self::Message {
                group,
                input,
                attempt,
                place: Place::Position(position),
            } => derive(
                "message",
                what,
                &[group, input, &attempt.to_string(), &position.to_string()],
            ),
            Self::Message {
                group,
                attempt,
                place: Place::Key(key),
                ..
            } => derive("message key", what, &[group, &attempt.to_string(), key]),
            Self::StockTimer { bot, key } => derive("stock timer key", what, &[bot, key]),
            Self::Timer { bot, key } => derive("timer key", what, &[bot, key]),
            Self::Refused { group, run, rule, key } => derive("refused", &[], &[group, run, rule, key]),
            Self::GivenUp { group, input, attempt } => derive("given up", &[], &[group, input, &attempt.to_string()]),
            Self::Own { host, key } => derive("own", &[], &[host, key]),
        }
    }

    /// The group whose work it is; none if it is no work of a message.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        match self {
            Self::Message { group, .. } | Self::Refused { group, .. } | Self::GivenUp { group, .. } => Some(group),
            Self::StockTimer { .. } | Self::Timer { .. } | Self::Own { .. } => None,
        }
    }
}

/// An origin as the envelope carries it, in extension attributes of CloudEvents. What else it takes, run and cause, is in the
/// envelope already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// The kind of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work: Option<String>,
    /// Whose it is: a group, a bot or a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

impl Attributes {
    /// Whether there are none, as in events of older hosts.
    pub(super) fn are_missing(&self) -> bool {
        *self == Self::default()
    }

    /// Whose the work is, in whatever kind of work.
    pub(super) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The origin that they mean in an event of a run, with a cause. None if they mean none: something is missing, or too much.
    pub(super) fn origin(&self, run: &str, cause: Option<&str>) -> Option<Origin> {
        let owner = self.owner.clone()?;
        let input = || cause.map(ToOwned::to_owned);
        let rest = (self.attempt, self.position, self.key.clone(), self.rule.clone());
        Some(match (self.work.as_deref()?, rest) {
            ("message", (Some(attempt), Some(position), None, None)) => Origin::Message {
                group: owner,
                input: input()?,
                attempt,
                place: Place::Position(position),
            },
            ("message", (Some(attempt), None, Some(key), None)) => Origin::Message {
                group: owner,
                input: input()?,
                attempt,
                place: Place::Key(key),
            },
            ("stock-timer", (None, None, Some(key), None)) => Origin::StockTimer { bot: owner, key },
            ("timer", (None, None, Some(key), None)) => Origin::Timer { bot: owner, key },
            ("refused", (None, None, Some(key), Some(rule))) => Origin::Refused {
                group: owner,
                run: run.to_owned(),
                rule,
                key,
            },
            ("given-up", (Some(attempt), None, None, None)) => Origin::GivenUp {
                group: owner,
                input: input()?,
                attempt,
            },
            ("own", (None, None, Some(key), None)) => Origin::Own { host: owner, key },
            _ => return None,
        })
    }
}

impl From<Origin> for Attributes {
    fn from(origin: Origin) -> Self {
        let of = |work: &str, owner: String| Self {
            work: Some(work.to_owned()),
            owner: Some(owner),
            ..Self::default()
        };
        let with_key = |work: &str, owner: String, key: String| Self {
            key: Some(key),
            ..of(work, owner)
        };
        match origin {
            Origin::Message {
                group, attempt, place, ..
            } => {
                let (position, key) = match place {
                    Place::Position(position) => (Some(position), None),
                    Place::Key(key) => (None, Some(key)),
                };
                Self {
                    attempt: Some(attempt),
                    position,
                    key,
                    ..of("message", group)
                }
            }
            Origin::StockTimer { bot, key } => with_key("stock-timer", bot, key),
            Origin::Timer { bot, key } => with_key("timer", bot, key),
            Origin::Refused { group, rule, key, .. } => Self {
                rule: Some(rule),
                ..with_key("refused", group, key)
            },
            Origin::GivenUp { group, attempt, .. } => Self {
                attempt: Some(attempt),
                ..of("given-up", group)
            },
            Origin::Own { host, key } => with_key("own", host, key),
        }
    }
}

#[cfg(test)]
mod tests;
