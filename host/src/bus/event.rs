//! The envelope: one signed CloudEvents 1.0 event (structured mode, JSON format) per message.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::schema::{self, SchemaError};
use crate::keys::{SignError, Signer, TrustedKeys, VerifyError};
use crate::ledger::EventRow;
use crate::runtime::OutgoingEvent;

/// The CloudEvents version that we speak.
const SPEC_VERSION: &str = "1.0";

/// How far ahead of ours another host's clock may be.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

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
    /// A JSON object.
    pub data: Map<String, Value>,
}

/// Why a received message is not an event that may be handled.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Larger than [`MAX_EVENT`].
    #[error("it has {0} bytes, more than an event may have")]
    TooLarge(usize),
    /// Not JSON, or not an event.
    #[error("it is not an event: {0}")]
    Malformed(String),
    /// Not signed by a key that may publish here.
    #[error("{0}")]
    Signature(#[from] VerifyError),
    /// Older than events may be, or from the future.
    #[error("its time {0} is too far from now")]
    Stale(String),
    /// Its data isn't what its type says.
    #[error("{0}")]
    Schema(#[from] SchemaError),
}

impl Event {
    /// An event of a bot, from now.
    #[must_use]
    pub fn of(outgoing: OutgoingEvent, source: &str) -> Self {
        Self {
            specversion: SPEC_VERSION.to_owned(),
            id: outgoing.id,
            source: source.to_owned(),
            event_type: outgoing.event_type,
            time: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            subject: outgoing.subject,
            datacontenttype: Some("application/json".to_owned()),
            run: outgoing.run,
            cause: outgoing.cause,
            data: outgoing.data,
        }
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

    /// Check a received message: its size, form, signature, age and data.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is wrong.
    pub fn verify(
        payload: &[u8],
        trusted: &TrustedKeys,
        now: OffsetDateTime,
        max_age: Duration,
    ) -> Result<Self, Refusal> {
        if payload.len() > MAX_EVENT {
            return Err(Refusal::TooLarge(payload.len()));
        }
        let malformed = |e: serde_json::Error| Refusal::Malformed(e.to_string());
        let value: Value = serde_json::from_slice(payload).map_err(malformed)?;
        trusted.verify_event(&value)?;
        let event: Self = serde_json::from_value(value).map_err(malformed)?;
        event.check_form()?;
        let time = OffsetDateTime::parse(&event.time, &Rfc3339)
            .map_err(|e| Refusal::Malformed(format!("time {:?}: {e}", event.time)))?;
        if time > now + CLOCK_SKEW || time < now - max_age {
            return Err(Refusal::Stale(event.time));
        }
        schema::check(&event.event_type, &event.data)?;
        Ok(event)
    }

    /// Ids become file names and keys, so they are checked even though a trusted key signed them.
    fn check_form(&self) -> Result<(), Refusal> {
        let plain =
            |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if self.specversion != SPEC_VERSION {
            return Err(Refusal::Malformed(format!(
                "specversion {:?} is not {SPEC_VERSION}",
                self.specversion
            )));
        }
        for (name, text) in [("id", &self.id), ("run", &self.run)] {
            if !plain(text) {
                return Err(Refusal::Malformed(format!(
                    "{name} {text:?} is not made of 1 to 64 letters and digits"
                )));
            }
        }
        Ok(())
    }

    /// The event as `runs` keeps it.
    #[must_use]
    pub fn row(&self, topic: &str) -> EventRow {
        EventRow {
            id: self.id.clone(),
            run: self.run.clone(),
            event_type: self.event_type.clone(),
            topic: topic.to_owned(),
            source: self.source.clone(),
            subject: self.subject.clone(),
            time: self.time.clone(),
            cause: self.cause.clone(),
            data: Value::Object(self.data.clone()),
        }
    }
}
