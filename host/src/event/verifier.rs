//! The one way to verify a received message, for all that receive some.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::announcement::{COMMIT, MAX_ANNOUNCEMENT, Unannounced};
use super::envelope::{Event, MAX_EVENT};
use super::policy::{self, Rule, Speaker, Upgraded};
use super::schema::{self, SchemaError};
use super::topics::Topics;
use crate::keys::{Binding, Fingerprint, Trust, TrustedKeys, VerifyError};

/// How far ahead of ours another host's clock may be.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Why a received message is not an event that may be handled.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Larger than [`MAX_EVENT`].
    #[error("it has {0} bytes, more than an event may have")]
    TooLarge(usize),
    /// An announcement that is larger than [`MAX_ANNOUNCEMENT`].
    #[error(
        "it has {0} bytes, and an event that announces a commit may have {MAX_ANNOUNCEMENT}, since all later events of its run \
         carry it"
    )]
    LargeAnnouncement(usize),
    /// Not JSON, or not an event.
    #[error("it is not an event: {0}")]
    Malformed(String),
    /// Not signed, or not as it should be.
    #[error("{0}")]
    Signature(#[from] VerifyError),
    /// Its signer may not say that, or not there.
    #[error("{0}")]
    Rule(#[from] Rule),
    /// Older than events may be.
    #[error("its time {0} is too far from now: events are refused after `messages.max-age`")]
    Stale(String),
    /// Its time has yet to come.
    #[error(
        "its time {time} is too far from now, which is {now} here (set the clocks of both machines, by NTP for instance; it is \
         tried again when its time has come)"
    )]
    Early {
        /// When it says it was made, RFC 3339.
        time: String,
        /// The same, as a moment.
        made: OffsetDateTime,
        /// When it came here.
        now: OffsetDateTime,
    },
    /// Its data isn't what its type says.
    #[error("{0}")]
    Schema(#[from] SchemaError),
    /// Nobody announced the commit that it is of.
    #[error("{0}")]
    Unannounced(#[from] Unannounced),
}

/// When a refused event may become acceptable without anybody sending it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cure {
    /// Once the trusted keys, or what their hosts may say, are others.
    Trust,
    /// Once the packages keys are others.
    Packages,
    /// From that moment on.
    At(#[serde(with = "time::serde::rfc3339")] OffsetDateTime),
}

impl Refusal {
    /// A short name of the rule that a host broke. None if the message may be of anybody: it says nothing of any host.
    #[must_use]
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge(_) | Self::Malformed(_) => None,
            Self::LargeAnnouncement(_) => Some("size"),
            Self::Signature(error) => match error {
                VerifyError::KeyExpired { .. } => Some("key-expired"),
                VerifyError::KeyRevoked { .. } => Some("key-revoked"),
                VerifyError::ImpossibleTime { .. } => Some("clock"),
                _ => None,
            },
            Self::Rule(rule) => Some(rule.name()),
            Self::Stale(_) => Some("too-old"),
            Self::Early { .. } => Some("clock"),
            Self::Schema(_) => Some("data"),
            Self::Unannounced(why) => Some(why.name()),
        }
    }

    /// The key in this host's store that signed the message, if one did; `named` is the one that the message names as its signer.
    #[must_use]
    pub fn known_key<'a>(&'a self, named: &'a str) -> Option<&'a str> {
        match self {
            Self::TooLarge(_) | Self::Malformed(_) | Self::Rule(Rule::UnknownKey { .. }) => None,
            // The signature itself was good in these cases.
            Self::Signature(
                VerifyError::KeyExpired { key, .. }
                | VerifyError::KeyRevoked { key, .. }
                | VerifyError::ImpossibleTime { key, .. },
            ) => Some(key),
            Self::Signature(_) => None,
            // Whatever is judged after the signature: it is by the key that the message names.
            Self::LargeAnnouncement(_) | Self::Rule(_) | Self::Stale(_) | Self::Early { .. } => Some(named),
            Self::Schema(_) | Self::Unannounced(_) => Some(named),
        }
    }

    /// What would make the same message acceptable, seen from `now`; none if nothing would.
    #[must_use]
    pub fn cure(&self, now: OffsetDateTime) -> Option<Cure> {
        let comes = |made: OffsetDateTime| (made - CLOCK_SKEW > now).then(|| Cure::At(made - CLOCK_SKEW));
        match self {
            Self::Rule(rule) => rule.is_about_trust().then_some(Cure::Trust),
            Self::Signature(VerifyError::KeyExpired { .. }) => Some(Cure::Trust),
            Self::Signature(VerifyError::ImpossibleTime { at, .. }) => comes(*at),
            Self::Early { made, .. } => comes(*made),
            Self::Unannounced(Unannounced::Refused(refusal)) => refusal.cure(now),
            Self::Unannounced(_) | Self::TooLarge(_) | Self::LargeAnnouncement(_) | Self::Malformed(_) => None,
            Self::Signature(_) | Self::Stale(_) | Self::Schema(_) => None,
        }
    }
}

/// Whom a host believes what.
#[derive(Debug)]
pub struct Verifier {
    /// Its name.
    pub host: String,
    /// The key that signs its own events.
    pub own_key: Fingerprint,
    /// The keys that it knows.
    pub trust: Arc<Trust>,
    /// Its installation.
    pub topics: Topics,
    /// Older events are refused.
    pub max_age: Duration,
    /// The topics (without prefix) on which commits may be announced, as far as its record and its refusals go: what is signed
    /// is a matter of signbot's.
    pub announced_on: Vec<String>,
    /// Since when its own events have all that events have to have.
    pub upgraded: Upgraded,
}

impl Verifier {
    /// Check a message that came on a full topic: its size, form, signature, signer, age (but for presence, which lasts) and
    /// data.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is wrong, and what helps.
    pub fn verify(&self, payload: &[u8], topic: &str, now: OffsetDateTime) -> Result<Event, Refusal> {
        if payload.len() > MAX_EVENT {
            return Err(Refusal::TooLarge(payload.len()));
        }
        let malformed = |error: serde_json::Error| Refusal::Malformed(error.to_string());
        let value: Value = serde_json::from_slice(payload).map_err(malformed)?;
        let trusted = self.trust.now();
        let signer = trusted.verify_event(&value).map_err(|error| refusal(error, &value))?;
        let event: Event = serde_json::from_value(value).map_err(malformed)?;
        event.check_form().map_err(Refusal::Malformed)?;
        if event.event_type == COMMIT && payload.len() > MAX_ANNOUNCEMENT {
            return Err(Refusal::LargeAnnouncement(payload.len()));
        }
        let made = event.moment().map_err(Refusal::Malformed)?;
        policy::decide(
            &self.speaker(&trusted, signer),
            &event,
            topic,
            &self.topics,
            self.upgraded,
        )?;
        if made > now + CLOCK_SKEW {
            let time = event.time;
            return Err(Refusal::Early { time, made, now });
        }
        if made < now - self.max_age && !policy::lasts(&event, self.topics.short(topic)) {
            return Err(Refusal::Stale(event.time));
        }
        schema::check(&event.event_type, &event.data)?;
        Ok(event)
    }

    /// Whether a host is one whose word counts: this one, or one that a key is bound to which may say something.
    #[must_use]
    pub fn knows(&self, host: &str) -> bool {
        host == self.host
            || self
                .trust
                .now()
                .bindings_of(host)
                .any(|binding| !binding.may.is_empty())
    }

    /// A secret key in this host's store is this host's, unless somebody bound it to another. What the others believe of it
    /// does not matter here.
    fn speaker(&self, trusted: &TrustedKeys, key: Fingerprint) -> Speaker {
        let has_secret = trusted.is_secret(key);
        let bound = trusted.binding(key).filter(|_| key != self.own_key);
        let bound = bound.filter(|binding| !has_secret || binding.host() != self.host);
        let is_own = key == self.own_key || (has_secret && bound.is_none());
        Speaker {
            key,
            binding: bound.cloned().or_else(|| is_own.then(|| Binding::own(&self.host))),
            is_own,
            claims: Arc::clone(trusted.claims()),
        }
    }
}

fn refusal(error: VerifyError, event: &Value) -> Refusal {
    match error {
        VerifyError::UnknownSigner { issuer, .. } => {
            let source = event.get("source").and_then(Value::as_str).unwrap_or_default();
            let host = source.split_once('/').map_or("", |(host, _)| host);
            Refusal::Rule(Rule::UnknownKey {
                key: issuer,
                host: policy::presentable(host),
            })
        }
        error => Refusal::Signature(error),
    }
}
