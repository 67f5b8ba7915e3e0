//! How long superseded indices stay under their by-hash names, for clients that still have an older `InRelease`.
//!
//! A client asks for the indices right after the `InRelease` that lists them, one after the other. So what was superseded
//! within the last minutes may be asked for; what is older may be by one behind a cache or a slow line, and stays as long as
//! there is room for it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Milliseconds that a superseded index is kept, if there is room.
const GRACE: u64 = 60 * 60 * 1000;

/// Milliseconds that it is kept in any case.
const LEAST: u64 = 2 * 60 * 1000;

/// Bytes of superseded indices that are kept for longer than that if the operator says nothing else.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// Files by their paths, with their sizes.
pub type Files = BTreeMap<String, u64>;

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
    /// How many bytes of superseded indices stay, if that is not the usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    superseded_limit: Option<u64>,
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
    /// Bytes of those; none in old records.
    #[serde(default)]
    bytes: u64,
}

impl Records {
    /// How many bytes of superseded indices stay.
    #[must_use]
    pub fn superseded_limit(&self) -> u64 {
        self.superseded_limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// From now on so many.
    pub fn limit_superseded(&mut self, limit: u64) {
        self.superseded_limit = Some(limit).filter(|limit| *limit != DEFAULT_LIMIT);
    }

    /// Whether a superseded file is kept.
    #[must_use]
    pub fn keeps(&self, file: &str) -> bool {
        self.generations.iter().any(|kept| kept.files.contains(file))
    }

    /// The current files change. Returns the files that no client needs any more.
    pub fn supersede(&mut self, before: &Files, after: &Files, now: u64) -> BTreeSet<String> {
        let gone: Files = before
            .iter()
            .filter(|(file, _)| !after.contains_key(*file))
            .map(|(file, size)| (file.clone(), *size))
            .collect();
        if !gone.is_empty() {
            self.generations.push(Generation {
                superseded: now,
                bytes: gone.values().sum(),
                files: gone.into_keys().collect(),
            });
        }
        self.expire(after, now)
    }

    /// Time passes. Returns the files that no client needs any more.
    pub fn expire(&mut self, current: &Files, now: u64) -> BTreeSet<String> {
        // The current generation and the one before it are always kept.
        let old = self.generations.len().saturating_sub(1);
        let old = self.generations.get(..old).unwrap_or_default();
        let limit = self.superseded_limit();
        let mut bytes: u64 = old.iter().map(|generation| generation.bytes).sum();
        let expired = old.iter().take_while(|generation| {
            let age = now.saturating_sub(generation.superseded);
            let expired = age >= GRACE || (age >= LEAST && bytes > limit);
            bytes = bytes.saturating_sub(generation.bytes);
            expired
        });
        let expired = expired.count();
        let expired: BTreeSet<_> = self
            .generations
            .drain(..expired)
            .flat_map(|generation| generation.files)
            .collect();
        let needed = |file: &String| current.contains_key(file) || self.keeps(file);
        expired.into_iter().filter(|file| !needed(file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of a hundred bytes each.
    fn files<const N: usize>(files: [&str; N]) -> Files {
        files.map(|file| (file.to_owned(), 100)).into()
    }

    fn set<const N: usize>(files: [&str; N]) -> BTreeSet<String> {
        files.map(str::to_owned).into()
    }

    #[test]
    fn the_generation_before_stays_however_old_it_is() {
        let mut records = Records::default();
        records.limit_superseded(0);
        assert_eq!(records.supersede(&files(["a"]), &files(["b"]), 0), set([]));
        assert_eq!(records.expire(&files(["b"]), 9 * GRACE), set([]));
        assert_eq!(records.supersede(&files(["b"]), &files(["c"]), 10 * GRACE), set(["a"]));
    }

    #[test]
    fn thick_and_fast_publications_keep_every_generation_of_the_last_hour_if_there_is_room() {
        let mut records = Records::default();
        for (before, after, now) in [("a", "b", 0), ("b", "c", 1), ("c", "d", 2)] {
            assert_eq!(records.supersede(&files([before]), &files([after]), now), set([]));
        }
        assert_eq!(
            records.supersede(&files(["d"]), &files(["e"]), GRACE + 1),
            set(["a", "b"])
        );
    }

    #[test]
    fn without_room_the_oldest_go_first_and_those_of_the_last_minutes_stay() {
        let mut records = Records::default();
        records.limit_superseded(250);
        let minute = LEAST / 2;
        for (before, after, now) in [("a", "b", 0), ("b", "c", 1), ("c", "d", minute), ("d", "e", minute)] {
            assert_eq!(records.supersede(&files([before]), &files([after]), now), set([]));
        }
        assert_eq!(records.expire(&files(["e"]), LEAST), set(["a"]));
        assert_eq!(records.expire(&files(["e"]), LEAST + minute), set([]), "there is room");
        records.limit_superseded(0);
        assert_eq!(records.expire(&files(["e"]), LEAST + minute), set(["b", "c"]));
    }

    #[test]
    fn a_file_that_came_back_is_not_removed() {
        let mut records = Records::default();
        records.supersede(&files(["a"]), &files(["b"]), 0);
        records.supersede(&files(["b"]), &files(["a"]), 1);
        assert_eq!(records.supersede(&files(["a"]), &files(["a", "c"]), 2 * GRACE), set([]));
        assert_eq!(
            records.supersede(&files(["a", "c"]), &files(["d"]), 4 * GRACE),
            set(["b"])
        );
    }

    #[test]
    fn records_of_former_releases_are_read() {
        let old = r#"{"key":"A","generations":[{"superseded":5,"files":["a"]}]}"#;
        let mut records: Records = serde_json::from_str(old).unwrap();
        assert_eq!(records.superseded_limit(), DEFAULT_LIMIT);
        assert_eq!(records.supersede(&files(["b"]), &files(["c"]), GRACE + 5), set(["a"]));
    }

    /// A busy repository of 100,000 packages, over a day.
    #[test]
    fn what_superseded_indices_take_is_bounded_by_the_limit_and_what_the_last_minutes_wrote() {
        const SIZE: u64 = 26 << 20;
        for (pause, limit) in [
            (1000, DEFAULT_LIMIT),
            (1000, 10 << 30),
            (30_000, DEFAULT_LIMIT),
            (60_000, 0),
        ] {
            let mut records = Records::default();
            records.limit_superseded(limit);
            let mut there: Files = [("0".to_owned(), SIZE)].into();
            let mut most = 0;
            for number in 0..24 * 60 * 60 * 1000 / pause {
                let generation = |number: u64| -> Files { [(number.to_string(), SIZE)].into() };
                let (before, after) = (generation(number), generation(number + 1));
                there.extend(after.clone());
                for gone in records.supersede(&before, &after, number * pause) {
                    assert!(there.remove(&gone).is_some());
                }
                most = most.max(there.values().sum::<u64>());
            }
            let last_minutes = (LEAST / pause + 1) * SIZE;
            let bound = 2 * SIZE + limit.max(last_minutes);
            assert!(most <= bound, "{most} of {bound} with one each {pause} ms");
            assert!(most > bound / 4, "{most} of {bound} with one each {pause} ms");
        }
    }
}
