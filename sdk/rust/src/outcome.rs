//! What becomes of a message.

use std::time::Duration;

use crate::bindings::foundry::bot::types;

/// What a handler made of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done: what was published and written takes effect.
    Done,
    /// Nothing takes effect; try again.
    Retry {
        /// At least this much later.
        after: Duration,
        /// Why.
        why: String,
    },
    /// Nothing takes effect; the message becomes a dead letter.
    Reject(String),
}

/// Try again after a while.
#[must_use]
pub fn retry_after(after: Duration, why: impl Into<String>) -> Outcome {
    Outcome::Retry { after, why: why.into() }
}

/// Try again as soon as the host's backoff allows.
#[must_use]
pub fn retry_now(why: impl Into<String>) -> Outcome {
    retry_after(Duration::ZERO, why)
}

impl From<Outcome> for types::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Retry { after, why } => {
                let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                Self::Retry(types::Retry { after_ms, why })
            }
            Outcome::Reject(why) => Self::Reject(why),
        }
    }
}
