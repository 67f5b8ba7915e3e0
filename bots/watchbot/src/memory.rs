//! What watchbot knows of a repository from one poll to the next. Kept in the host's ledger, as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// How long a ref that is gone is remembered, in milliseconds: 90 days.
const GONE_FOR_GOOD: u64 = 90 * 24 * 3600 * 1000;

/// What is known of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The last known commit of each watched ref, by full name.
    pub heads: BTreeMap<String, Head>,
    /// Patterns that have been looked for. What appears under them later is new, even with `--from-now`.
    pub seen: BTreeSet<String>,
    /// Patterns that matched nothing the last time; the operator knows.
    pub missing: BTreeSet<String>,
    /// Why the repository can't be read, if so.
    pub trouble: Option<Trouble>,
}

/// A ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its last known commit.
    pub commit: String,
    /// Since when it is gone, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<u64>,
}

/// A repository that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What the host says; the operator knows.
    pub why: String,
    /// How often in a row.
    pub failures: u32,
    /// When to try again, in milliseconds since 1970.
    pub next: u64,
}

impl Memory {
    /// Whether the repository is to be read now. A clock that was set back must not silence it for longer than a day.
    pub fn is_due(&self, now: u64) -> bool {
        const DAY: u64 = 24 * 3600 * 1000;
        self.trouble
            .as_ref()
            .is_none_or(|trouble| now >= trouble.next || trouble.next > now.saturating_add(DAY))
    }

    /// Forget refs that have been gone for long.
    pub fn forget(&mut self, now: u64) {
        self.heads
            .retain(|_, head| head.gone.is_none_or(|gone| now.saturating_sub(gone) < GONE_FOR_GOOD));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_does_not_silence_a_repository() {
        let trouble = |next| Memory {
            trouble: Some(Trouble {
                why: String::new(),
                failures: 1,
                next,
            }),
            ..Memory::default()
        };
        assert!(trouble(1000).is_due(1000));
        assert!(!trouble(1001).is_due(1000));
        assert!(trouble(10_000_000_000).is_due(1000));
    }

    #[test]
    fn memories_of_earlier_versions_are_read() {
        let memory: Memory = serde_json::from_str(r#"{"heads":{"refs/heads/master":{"commit":"a"}}}"#).unwrap();
        assert_eq!(
            memory.heads["refs/heads/master"],
            Head {
                commit: "a".into(),
                gone: None
            }
        );
    }
}
