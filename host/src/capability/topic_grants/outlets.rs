//! Where a bot's events may go: asked for each of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::is_pipeline_type;
use crate::capability::MissingGrant;
use crate::event::FAILURES;

/// The type of a failure's event.
const FAILURE: &str = "foundry.failure.v1";

/// The topics that a bot may publish on, and what it may publish on each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlets {
    /// By the name that the bot uses for the topic.
    pub(super) topics: BTreeMap<String, Outlet>,
    /// Whose failures it may tell of.
    pub(super) failures: Failures,
    /// Whether a grant could allow more: not to a stock bot.
    pub(super) grantable: bool,
}

/// One topic, and the types of events that may be published on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outlet {
    /// Without prefix.
    pub(super) topic: String,
    pub(super) types: Types,
}

/// Types of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Types {
    /// All: in a trial, whose events reach nobody.
    All,
    /// Those that are named, and perhaps all that are not the pipeline's.
    Granted { others: bool, named: BTreeSet<String> },
}

/// Failures that a bot may tell of without a grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Failures {
    /// None.
    #[default]
    Nobodys,
    /// Those of any stage.
    Any,
    /// Those of one of these stages: its own.
    Of(Vec<String>),
}

/// An event that a bot may not publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The topic is none of those that it declares.
    #[error("{0}")]
    Topic(String),
    /// Events of that type need a grant of their own.
    #[error(
        "{topic}: events of the type {event_type} need a grant ({})",
        flag(topic, event_type)
    )]
    Type {
        /// The topic, without prefix.
        topic: String,
        /// The event's type.
        event_type: String,
    },
    /// A stock bot publishes events of its own type.
    #[error("{topic}: events of the type {event_type} are not this bot's")]
    StockType {
        /// The topic, without prefix.
        topic: String,
        /// The event's type.
        event_type: String,
    },
    /// A failure of somebody else.
    #[error(
        "{FAILURES}: the failure has the stage {stage:?}, which is not the bot's own ({own}); to tell of others' failures needs a grant ({})",
        flag(FAILURES, FAILURE)
    )]
    Stage {
        /// The stage in the event.
        stage: String,
        /// What its own failures have.
        own: String,
    },
}

fn flag(topic: &str, event_type: &str) -> String {
    MissingGrant::PublishType {
        topic: topic.to_owned(),
        event_type: event_type.to_owned(),
    }
    .flag(&[])
}

impl Outlets {
    /// All topics of a bot, for events of every type: for a world in which nobody receives them.
    #[must_use]
    pub fn unlimited(topics: &BTreeMap<String, String>) -> Self {
        let outlet = |topic: &String| Outlet {
            topic: topic.clone(),
            types: Types::All,
        };
        Self {
            topics: topics
                .iter()
                .map(|(name, topic)| (name.clone(), outlet(topic)))
                .collect(),
            failures: Failures::Any,
            grantable: false,
        }
    }

    /// The topics, without prefix.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.values().map(|outlet| outlet.topic.as_str())
    }

    /// The topic (without prefix) that a bot means by a name.
    ///
    /// # Errors
    /// [`NotAllowed::Topic`] if it is no name of its description, nor `failures`.
    pub fn topic<'a>(&'a self, name: &'a str) -> Result<&'a str, NotAllowed> {
        match self.topics.get(name) {
            Some(outlet) => Ok(&outlet.topic),
            None if name == FAILURES => Ok(FAILURES),
            None => Err(NotAllowed::Topic(name.to_owned())),
        }
    }

    /// Whether an event may be published on a topic (without prefix).
    ///
    /// # Errors
    /// [`NotAllowed`], which names the grant that would allow it.
    pub fn check(&self, topic: &str, event_type: &str, data: &Map<String, Value>) -> Result<(), NotAllowed> {
        let mut outlets = self.topics.values().filter(|outlet| outlet.topic == topic);
        if outlets.any(|outlet| outlet.types.allow(event_type)) {
            return Ok(());
        }
        if topic == FAILURES && event_type == FAILURE {
            return self.failures.check(data);
        }
        let (topic, event_type) = (topic.to_owned(), event_type.to_owned());
        Err(match self.grantable {
            true => NotAllowed::Type { topic, event_type },
            false => NotAllowed::StockType { topic, event_type },
        })
    }
}

impl Types {
    fn allow(&self, event_type: &str) -> bool {
        match self {
            Self::All => true,
            Self::Granted { others, named } => named.contains(event_type) || (*others && !is_pipeline_type(event_type)),
        }
    }
}

impl Failures {
    fn check(&self, data: &Map<String, Value>) -> Result<(), NotAllowed> {
        let stage = data.get("stage").and_then(Value::as_str).unwrap_or_default();
        match self {
            Self::Any => Ok(()),
            Self::Of(own) if own.iter().any(|own| own == stage) => Ok(()),
            Self::Of(own) => Err(NotAllowed::Stage {
                stage: stage.to_owned(),
                own: match own.as_slice() {
                    [] => "it has none".to_owned(),
                    own => own.join(" or "),
                },
            }),
            Self::Nobodys => Err(NotAllowed::Topic(FAILURES.to_owned())),
        }
    }
}
