//! Runs: one commit's way through the pipeline, as far as its events tell.
//!
//! ```text
//! events, in the order in which this host saw them
//!   -> [causes]    what led to what
//!   -> [failures]  which failures count, and against what
//!   -> [state]     the chains, and what they make of the run
//! ```
//!
//! Nothing here reads a clock, a file or the ledger. The table of docs/messages.md ("A run's state") is the specification,
//! and a test of this module.

mod causes;
mod failures;
mod stage;
mod state;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use state::{Chain, ChainStatus, RunState, RunStatus, StageFailure};

use crate::event::Event;
use stage::Stage;

/// An event that this host published or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Its id.
    pub id: String,
    /// Its run.
    pub run: String,
    /// CloudEvents type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Topic, without prefix.
    pub topic: String,
    /// `<host>/<bot>`.
    pub source: String,
    /// What it is about.
    pub subject: Option<String>,
    /// RFC 3339, by the clock of the host that published it.
    pub time: String,
    /// The message that led to it.
    pub cause: Option<String>,
    /// The group whose work it is. None if it is no work of a message, or of an older host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its data.
    pub data: serde_json::Value,
}

impl EventRow {
    /// An event of a topic, without prefix, as `runs` keeps it.
    #[must_use]
    pub fn of(event: &Event, topic: &str) -> Self {
        Self {
            id: event.id.clone(),
            run: event.run.clone(),
            event_type: event.event_type.clone(),
            topic: topic.to_owned(),
            source: event.source.clone(),
            subject: event.subject.clone(),
            time: event.time.clone(),
            cause: event.cause.clone(),
            group: event.origin().and_then(|origin| origin.group().map(ToOwned::to_owned)),
            data: serde_json::Value::Object(event.data.clone()),
        }
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// How far it has come.
    #[serde(flatten)]
    pub state: RunState,
    /// The repository, if an event names it.
    pub repository: Option<String>,
    /// The git branch.
    pub branch: Option<String>,
    /// The commit.
    #[serde(rename = "ref")]
    pub commit: Option<String>,
    /// What it is about, by the event that is furthest in the pipeline.
    pub subject: Option<String>,
    /// When its first event was published, RFC 3339.
    pub started: String,
    /// When the event that this host saw last was published, RFC 3339.
    pub updated: String,
    /// Its events: each after its cause, else in the order in which this host saw them.
    pub events: Vec<EventRow>,
}

impl Run {
    /// Puts a run together from its events, in the order in which this host saw them. `None` if there are none.
    ///
    /// The times of the events are for display: the clocks of two hosts may differ by minutes.
    #[must_use]
    pub fn of(seen: Vec<EventRow>) -> Option<Self> {
        let updated = seen.last()?.time.clone();
        let state = RunState::of(&seen);
        let events = causes::in_order(seen);
        let first = events.first()?;
        Some(Self {
            id: first.run.clone(),
            repository: about(&events, "repository"),
            branch: about(&events, "branch"),
            commit: about(&events, "ref"),
            subject: subject(&events),
            started: first.time.clone(),
            updated,
            state,
            events,
        })
    }
}

/// What the events say of the commit: the event that announced it before all others.
fn about(events: &[EventRow], key: &str) -> Option<String> {
    let is_commit = |event: &&EventRow| Stage::done_by(&event.event_type) == Some(Stage::Commit);
    let announcing = events.iter().filter(is_commit);
    let mut all = announcing.chain(events);
    all.find_map(|event| event.data.get(key)?.as_str().map(ToOwned::to_owned))
}

/// A failure's subject, or that of a bot of another kind, says less than that of the package.
fn subject(events: &[EventRow]) -> Option<String> {
    let with_subject = events.iter().filter(|event| event.subject.is_some());
    let furthest = with_subject.max_by_key(|event| Stage::done_by(&event.event_type));
    furthest.and_then(|event| event.subject.clone())
}
