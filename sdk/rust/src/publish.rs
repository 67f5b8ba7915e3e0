//! Publishing events.

use serde::Serialize;

use crate::bindings::foundry::bot::publish as host;

/// An event to publish. The host adds id, source, time, run and cause, and signs it.
#[derive(Debug, Clone)]
pub struct Event<'a, T> {
    /// A topic of the bot's description, or `failures`.
    pub topic: &'a str,
    /// CloudEvents type.
    pub event_type: &'a str,
    /// What it is about, for people.
    pub subject: Option<String>,
    /// Serialised as a JSON object.
    pub data: &'a T,
    /// What makes this event the same as an earlier one; without it, the message in hand does.
    pub key: Option<String>,
}

/// Publish an event together with the outcome [`Done`](crate::Outcome::Done). Returns its id.
///
/// # Errors
/// A sentence that says why the host refuses it.
pub fn publish<T: Serialize>(event: Event<'_, T>) -> Result<String, String> {
    let data = serde_json::to_string(event.data).map_err(|e| format!("cannot serialise an event: {e}"))?;
    let sent = host::send(&host::Event {
        topic: event.topic.to_owned(),
        event_type: event.event_type.to_owned(),
        subject: event.subject,
        data,
        key: event.key,
    });
    sent.map_err(|error| match error {
        host::Error::NotGranted(topic) => format!("may not publish to {topic}"),
        host::Error::Invalid(why) => format!("invalid event: {why}"),
        host::Error::TooLarge(limit) => format!("event larger than {limit} bytes"),
    })
}
