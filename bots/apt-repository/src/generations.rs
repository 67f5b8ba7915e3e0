//! How long superseded indices stay under their by-hash names, for clients that still have an older `InRelease`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Milliseconds that a superseded index is kept at least, if publications come thick and fast.
const GRACE: u64 = 60 * 60 * 1000;

/// What distbot knows of a suite beside its published files. Without it the suite was made by another program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// Fingerprint of the key that signed it last.
    pub key: String,
    /// Fingerprints of those that signed beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older_keys: Vec<String>,
    /// Until when its signature is valid, in milliseconds since 1970; none for ever.
    #[serde(default)]
    pub valid_until: Option<u64>,
    /// For how long each signature is valid, in milliseconds; none for ever.
    #[serde(default)]
    pub valid_for: Option<u64>,
    /// Superseded generations, oldest first.
    #[serde(default)]
    generations: Vec<Generation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    /// When it was superseded, in milliseconds since 1970.
    superseded: u64,
    /// Its by-hash files that its successor no longer had.
    files: BTreeSet<String>,
}

impl Records {
    /// The current files change. Returns the files that no client needs any more.
    pub fn supersede(&mut self, before: &BTreeSet<String>, after: &BTreeSet<String>, now: u64) -> BTreeSet<String> {
        let gone: BTreeSet<_> = before.difference(after).cloned().collect();
        if !gone.is_empty() {
            self.generations.push(Generation {
                superseded: now,
                files: gone,
            });
        }
        // The current generation and the one before it are always kept.
        let old = self.generations.len().saturating_sub(1);
        let expired = self
            .generations
            .iter()
            .take(old)
            .take_while(|generation| generation.superseded.saturating_add(GRACE) <= now)
            .count();
        let expired: BTreeSet<_> = self
            .generations
            .drain(..expired)
            .flat_map(|generation| generation.files)
            .collect();
        let needed =
            |file: &String| after.contains(file) || self.generations.iter().any(|kept| kept.files.contains(file));
        expired.into_iter().filter(|file| !needed(file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<const N: usize>(files: [&str; N]) -> BTreeSet<String> {
        files.map(str::to_owned).into()
    }

    #[test]
    fn the_generation_before_stays_however_old_it_is() {
        let mut records = Records::default();
        assert_eq!(records.supersede(&set(["a"]), &set(["b"]), 0), set([]));
        assert_eq!(records.supersede(&set(["b"]), &set(["b"]), 9 * GRACE), set([]));
        assert_eq!(records.supersede(&set(["b"]), &set(["c"]), 10 * GRACE), set(["a"]));
    }

    #[test]
    fn thick_and_fast_publications_keep_every_generation_of_the_last_hour() {
        let mut records = Records::default();
        for (before, after, now) in [("a", "b", 0), ("b", "c", 1), ("c", "d", 2)] {
            assert_eq!(records.supersede(&set([before]), &set([after]), now), set([]));
        }
        assert_eq!(records.supersede(&set(["d"]), &set(["e"]), GRACE + 1), set(["a", "b"]));
    }

    #[test]
    fn a_file_that_came_back_is_not_removed() {
        let mut records = Records::default();
        records.supersede(&set(["a"]), &set(["b"]), 0);
        records.supersede(&set(["b"]), &set(["a"]), 1);
        assert_eq!(records.supersede(&set(["a"]), &set(["a", "c"]), 2 * GRACE), set([]));
        assert_eq!(records.supersede(&set(["a", "c"]), &set(["d"]), 4 * GRACE), set(["b"]));
    }
}
