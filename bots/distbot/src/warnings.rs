//! What runs out, told in the log ahead of time: once a day, however often we look.

use apt_repository::existing::Existing;
use apt_repository::expiry;
use apt_repository::failure::Failure;
use apt_repository::host::{Host as _, Transaction as _};
use foundry_sdk::log;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::guest::{Sandbox, SiteTransaction};

/// Milliseconds between two times that the same is told.
const PAUSE: u64 = 24 * 60 * 60 * 1000;

/// Where it is written down when it was told.
const RECORD: &str = ".foundry/warned.json";

/// What was told last.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// When, in milliseconds since 1970.
    at: u64,
    /// How many problems there were.
    problems: usize,
}

impl Told {
    /// Whether it is to be told that there are so many problems now: one more than before does not wait for a day.
    fn is_due(&self, problems: usize, now: u64) -> bool {
        problems > self.problems || (problems > 0 && now.saturating_sub(self.at) >= PAUSE)
    }
}

/// Look at every suite's signature and key, and tell what runs out.
///
/// # Errors
/// [`Failure`] if the repository can't be read.
pub fn tell(config: &Config) -> Result<(), Failure> {
    let transaction = SiteTransaction::begin(&config.directory)?;
    let now = Sandbox.now();
    let mut lines = Vec::new();
    for codename in config.mapping.all_codenames() {
        let Some(records) = Existing::read(&transaction, codename)?.records else {
            continue;
        };
        let expires = Sandbox.expires(&config.settings.key)?;
        let problems = expiry::problems(&records, expires, now);
        lines.extend(
            problems
                .into_iter()
                .map(|problem| format!("suite {codename}: {problem}")),
        );
    }
    let record = transaction.read(RECORD)?;
    // One that can't be read is written anew.
    let told: Told = record
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default();
    if !told.is_due(lines.len(), now) {
        return Ok(());
    }
    for line in &lines {
        log::warn(line);
    }
    let told = Told {
        at: now,
        problems: lines.len(),
    };
    let json = serde_json::to_vec(&told).map_err(|error| Failure::Later(error.to_string()))?;
    transaction.write(RECORD, &json)?;
    transaction.commit(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_day_and_more_at_once() {
        let told = Told { at: PAUSE, problems: 1 };
        assert!(Told::default().is_due(1, PAUSE));
        assert!(!told.is_due(0, 9 * PAUSE));
        assert!(!told.is_due(1, 2 * PAUSE - 1));
        assert!(told.is_due(1, 2 * PAUSE));
        assert!(told.is_due(2, PAUSE));
    }
}
