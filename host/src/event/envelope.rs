//! The envelope: one signed CloudEvents 1.0 event (structured mode, JSON format) per message.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::origin::{Attributes, Origin};
use super::topics::{LONGEST_TOPIC, Topics};
use crate::keys::{SignError, Signer};

/// The CloudEvents version that we speak.
const SPEC_VERSION: &str = "1.0";

/// Largest event, in bytes. What is larger isn't even parsed.
pub const MAX_EVENT: usize = 512 * 1024;

/// An event, once it is verified or before it is signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    specversion: String,
    /// Unique id; the same for repetitions of the same event.
    pub id: String,
    /// `<host>/<bot>`.
    pub source: String,
    /// CloudEvents type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The full topic that it was published to: it counts there and nowhere else. Older hosts
    /// named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// RFC 3339.
    pub time: String,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(default)]
    datacontenttype: Option<String>,
    /// The run that it belongs to.
    pub run: String,
    /// Id of the message that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What its id derives from. Older hosts did not say it.
    #[serde(flatten)]
    pub derivation: Attributes,
    /// The event that announced the run's commit, as its host signed it; none if no commit led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announcement: Option<String>,
    /// A JSON object.
    pub data: Map<String, Value>,
}

/// An event that a bot or a part of the host wants published.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingEvent {
    /// The event's id, which says whose work it is.
    pub id: String,
    /// Topic without prefix.
    pub topic: String,
    /// CloudEvents type.
    pub event_type: String,
    /// What it is about.
    pub subject: Option<String>,
    /// The run; a new one if the bot acted by itself.
    pub run: String,
    /// The message that led to it.
    pub cause: Option<String>,
    /// What its id derives from.
    pub origin: Origin,
    /// A JSON object.
    pub data: Map<String, Value>,
}

impl OutgoingEvent {
    /// What a host says of its own accord to others, on a topic without prefix. The origin tells it from all else that it says.
    pub(crate) fn own(origin: Origin, topic: &str, event_type: &str, run: &str, data: Map<String, Value>) -> Self {
        Self {
            id: origin.id(&[]),
            topic: topic.to_owned(),
            event_type: event_type.to_owned(),
            subject: None,
            run: run.to_owned(),
            cause: None,
            origin,
            data,
        }
    }
}

impl Event {
    /// An event from now, of a source `<host>/<bot>`, for the topic of that installation.
    #[must_use]
    pub fn of(outgoing: OutgoingEvent, source: &str, topics: &Topics) -> Self {
        Self {
            specversion: SPEC_VERSION.to_owned(),
            id: outgoing.id,
            source: source.to_owned(),
            event_type: outgoing.event_type,
            topic: Some(topics.full(&outgoing.topic)),
            time: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            subject: outgoing.subject,
            datacontenttype: Some("application/json".to_owned()),
            run: outgoing.run,
            cause: outgoing.cause,
            derivation: outgoing.origin.into(),
            announcement: None,
            data: outgoing.data,
        }
    }

    /// What its id derives from; none if it does not say that, or nothing that could be.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.derivation.origin(&self.run, self.cause.as_deref())
    }

    /// The signed event, as it is published.
    ///
    /// # Errors
    /// [`SignError`] if the key can't sign.
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, SignError> {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        signer.sign_event(&mut value)?;
        Ok(value.to_string().into_bytes())
    }

    /// Ids become file names and keys, so they are checked even though a trusted key signed them.
    pub(super) fn check_form(&self) -> Result<(), String> {
        if self.specversion != SPEC_VERSION {
            return Err(format!("specversion {:?} is not {SPEC_VERSION}", self.specversion));
        }
        for (name, text) in [("id", &self.id), ("run", &self.run)] {
            if !is_plain(text) {
                return Err(format!("{name} {text:?} is not made of 1 to 64 letters and digits"));
            }
        }
        // Refusals put both into commands that an operator is to run.
        if !is_type(&self.event_type) {
            return Err(format!(
                "type {:?} is not made of 1 to 128 letters, digits, dots, hyphens and underscores",
                self.event_type
            ));
        }
        if self.source.len() > 200 || self.source.chars().any(char::is_control) {
            return Err("its source is longer than 200 bytes, or has control characters".to_owned());
        }
        // The record of runs keeps it.
        let owner = self.derivation.owner();
        if owner.is_some_and(|owner| owner.len() > LONGEST_TOPIC || owner.chars().any(char::is_control)) {
            return Err(format!(
                "its owner is longer than {LONGEST_TOPIC} bytes, or has control characters"
            ));
        }
        self.check_announcement()
    }

    /// The name of the host that says it.
    #[must_use]
    pub fn host(&self) -> &str {
        self.source.split_once('/').map_or("", |(host, _)| host)
    }

    /// When it was made.
    pub(crate) fn moment(&self) -> Result<OffsetDateTime, String> {
        OffsetDateTime::parse(&self.time, &Rfc3339).map_err(|error| format!("time {:?}: {error}", self.time))
    }
}

/// Whether a text can be an event's type.
pub(crate) fn is_type(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Whether a text can be an id: 1 to 64 letters, digits and hyphens.
pub(crate) fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::is_type;

    #[test]
    fn a_type_holds_nothing_that_means_something_to_a_shell_or_among_duties() {
        for fine in ["foundry.build.v1", "org.example.check-2_b", "x"] {
            assert!(is_type(fine), "{fine}");
        }
        for bad in [
            "",
            "*",
            "x@y,watch,sign,publish,z",
            "a;b",
            "$(id)",
            "a b",
            "a\u{301}",
            &"x".repeat(129),
        ] {
            assert!(!is_type(bad), "{bad:?}");
        }
    }
}
