//! Which artifacts go: those that nothing refers to any more, and those that only a record refers to, when there are too many.
//!
//! Whoever stores an artifact that is there already gets the old one, before any event refers to it. So each has a lease from when it was
//! stored last, by a clock that nobody sets, and the sweep removes under the lock of the leases: an artifact is leased before it is looked
//! for, so that either the sweep leaves it, or whoever stores it finds it gone and writes it again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use foundry_broker::killpoint;

use super::ArtifactStore;
use crate::ledger::References;
use crate::retention::{Bound, Kind, Limits, Report, Sweep};

/// How long an event may take to refer to what was stored for it: longer than any message is in hand.
const LEASE: Duration = Duration::from_secs(24 * 3600);

/// Leases that are remembered one by one. Where a bot stores more in a day, the others are known by the times of their files.
const MOST: usize = 256 * 1024;

/// What was stored lately.
#[derive(Default)]
pub(super) struct Leases(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// By digest.
    since: HashMap<String, Instant>,
    /// When there were too many to be remembered: some are forgotten until a lease after that.
    forgotten: Option<Instant>,
}

impl Leases {
    /// Before it is looked for. Its file, if it is there, is as new as the lease, so that this is still known when there are too many leases; the
    /// sweep looks at the time under the same lock.
    pub(super) fn take(&self, sha256: &str, file: Option<&Path>) {
        let mut held = self.lock();
        if held.since.len() >= MOST {
            held.since.clear();
            held.forgotten = Some(Instant::now());
        }
        held.since.insert(sha256.to_owned(), Instant::now());
        let Some(file) = file else { return };
        match File::open(file).and_then(|open| open.set_modified(SystemTime::now())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(path = %file.display(), %error, "cannot date an artifact");
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing is half done where a thread could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_old(&self) {
        let mut held = self.lock();
        held.since.retain(|_, since| since.elapsed() < LEASE);
        held.forgotten = held.forgotten.filter(|since| since.elapsed() < LEASE);
    }
}

impl Held {
    fn has(&self, file: &Found) -> bool {
        self.since.contains_key(&file.sha256) || (self.forgotten.is_some() && file.is_young())
    }
}

/// A file of the store.
struct Found {
    path: PathBuf,
    /// Of its name; empty for what an upload left.
    sha256: String,
    bytes: u64,
    used: SystemTime,
}

impl Found {
    /// Whether it was stored within the time of a lease, by this machine's clock, which dates files. One that is dated later was, for all that is known.
    fn is_young(&self) -> bool {
        let used = fs::metadata(&self.path).and_then(|about| about.modified());
        used.is_ok_and(|used| used.elapsed().unwrap_or_default() < LEASE)
    }
}

impl ArtifactStore {
    /// Remove artifacts, oldest first: those that nothing refers to and that are older than `limits.artifacts`; then, while there are more
    /// bytes than `limits.artifacts_size`, whatever is not needed. `None` for a store that other hosts may use: this one does not know
    /// what they need. Blocks.
    #[must_use]
    pub fn sweep(&self, references: &References, limits: &Limits, sweep: &Sweep) -> Option<Report> {
        let directory = self.directory.as_ref().filter(|_| self.is_own)?;
        let mut report = Report::new(Kind::Artifacts, Bound::size(limits.artifacts_size));
        self.leases.end_old();
        let mut files = match files_of(&directory.join("sha256")) {
            Ok(files) => files,
            Err(error) => {
                report.note(&error);
                return Some(report);
            }
        };
        files.sort_by_key(|file| file.used);
        for file in &files {
            report.kept.add(file.bytes);
            if references.needed.contain(&file.sha256) || self.leases.lock().has(file) {
                report.needed.add(file.bytes);
            }
            date_back(file, sweep);
        }
        let is_forgotten =
            |file: &Found| !references.recorded.contain(&file.sha256) && sweep.age(file.used) > limits.artifacts;
        for by_size in [false, true] {
            for file in &files {
                let is_due = match by_size {
                    false => is_forgotten(file),
                    true => report.kept.bytes > limits.artifacts_size && !is_forgotten(file) && !file.sha256.is_empty(),
                };
                if is_due && !references.needed.contain(&file.sha256) {
                    self.remove(file, sweep, &mut report);
                }
            }
        }
        Some(report)
    }

    /// Unless it was stored again meanwhile.
    fn remove(&self, file: &Found, sweep: &Sweep, report: &mut Report) {
        let leases = self.leases.lock();
        if leases.has(file) {
            return;
        }
        let removed = if sweep.dry_run {
            Ok(())
        } else {
            fs::remove_file(&file.path)
        };
        drop(leases);
        killpoint::pass("sweep-artifact");
        match removed {
            Ok(()) => {
                report.removed.add(file.bytes);
                report.kept.take(file.bytes);
                if let Ok(mut verified) = self.verified.lock() {
                    verified.forget(&file.sha256);
                }
            }
            Err(error) => report.note(&format_args!("cannot remove {}: {error}", file.path.display())),
        }
    }
}

fn date_back(file: &Found, sweep: &Sweep) {
    if let Err(error) = sweep.date_back(&file.path, file.used) {
        tracing::debug!(path = %file.path.display(), %error, "cannot date an artifact back");
    }
}

/// All artifacts, and what uploads left that did not come to an end.
fn files_of(directory: &Path) -> io::Result<Vec<Found>> {
    let mut files = Vec::new();
    let shards = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        shards => shards?,
    };
    for shard in shards {
        for entry in fs::read_dir(shard?.path())? {
            let entry = entry?;
            // It may have been renamed into place meanwhile.
            let Ok(about) = entry.metadata() else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push(Found {
                path: entry.path(),
                sha256: Some(name).filter(|name| name.len() == 64).unwrap_or_default(),
                bytes: about.len(),
                used: about.modified()?,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use time::OffsetDateTime;

    use super::super::Artifact;
    use super::*;
    use crate::retention::Digests;

    const DAY: Duration = Duration::from_secs(86_400);

    /// A store that forgot its leases, as a host that was started again.
    fn reopened(directory: &Path) -> ArtifactStore {
        ArtifactStore::local(directory).unwrap()
    }

    async fn stored(store: &ArtifactStore, text: &str) -> Artifact {
        store.put("a.deb", "x/y", Bytes::from(text.to_owned())).await.unwrap()
    }

    fn digests(artifacts: &[&Artifact]) -> Digests {
        let mut digests = Digests::default();
        artifacts
            .iter()
            .for_each(|artifact| digests.add(artifact.sha256.as_bytes()));
        digests
    }

    fn after(days: u32) -> Sweep {
        Sweep {
            now: OffsetDateTime::now_utc() + DAY * days,
            newest: OffsetDateTime::now_utc() + DAY * days,
            dry_run: false,
        }
    }

    #[tokio::test]
    async fn what_nothing_refers_to_goes_after_its_time_and_the_rest_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::local(directory.path()).unwrap();
        let needed = stored(&store, "needed").await;
        let recorded = stored(&store, "recorded").await;
        let garbage = stored(&store, "garbage").await;
        let references = References {
            needed: digests(&[&needed]),
            recorded: digests(&[&recorded]),
        };
        let limits = Limits::default();
        let leased = store.sweep(&references, &limits, &after(30)).unwrap();
        assert_eq!(leased.removed.count, 0, "they were stored just now");
        let store = reopened(directory.path());
        assert_eq!(store.sweep(&references, &limits, &after(6)).unwrap().removed.count, 0);
        let dry = Sweep {
            dry_run: true,
            ..after(8)
        };
        for sweep in [dry, after(8)] {
            assert!(store.get(&garbage).await.is_ok());
            let report = store.sweep(&references, &limits, &sweep).unwrap();
            assert_eq!(
                (report.removed.count, report.kept.count, report.needed.count),
                (1, 2, 1)
            );
        }
        assert!(store.get(&garbage).await.is_err());
        assert!(store.get(&needed).await.is_ok() && store.get(&recorded).await.is_ok());
    }

    #[tokio::test]
    async fn beyond_the_size_what_only_a_record_refers_to_goes_oldest_first() {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::local(directory.path()).unwrap();
        let mut artifacts = Vec::new();
        for number in 0..10_u32 {
            let artifact = stored(&store, &format!("{number:0100}")).await;
            let path = store.local_file(&artifact).unwrap().unwrap();
            let age = DAY * (10 - number);
            File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            artifacts.push(artifact);
        }
        let store = reopened(directory.path());
        let references = References {
            needed: digests(&[&artifacts[0]]),
            recorded: digests(&artifacts.iter().collect::<Vec<_>>()),
        };
        let limits = Limits {
            artifacts_size: 350,
            ..Limits::default()
        };
        let report = store.sweep(&references, &limits, &after(0)).unwrap();
        assert_eq!((report.kept.bytes, report.removed.count), (300, 7));
        let mut left = Vec::new();
        for (number, artifact) in artifacts.iter().enumerate() {
            if store.get(artifact).await.is_ok() {
                left.push(number);
            }
        }
        assert_eq!(left, [0, 8, 9], "the needed one, and the newest");
    }

    #[tokio::test]
    async fn what_is_stored_again_while_it_is_swept_is_there_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        stored(&reopened(directory.path()), "again").await;
        let store = reopened(directory.path());
        let again = stored(&store, "again").await;
        let report = store
            .sweep(&References::default(), &Limits::default(), &after(30))
            .unwrap();
        assert_eq!(report.removed.count, 0);
        assert!(store.get(&again).await.is_ok());
    }

    #[tokio::test]
    async fn a_bot_that_stores_very_many_keeps_only_what_is_new_from_being_swept() {
        let directory = tempfile::tempdir().unwrap();
        let store = reopened(directory.path());
        let old = stored(&store, "old").await;
        let again = stored(&store, "again").await;
        for artifact in [&old, &again] {
            let path = store.local_file(artifact).unwrap().unwrap();
            let file = File::open(path).unwrap();
            file.set_modified(SystemTime::now() - DAY * 30).unwrap();
        }
        let store = reopened(directory.path());
        stored(&store, "again").await;
        for number in 0..=MOST {
            store.leases.take(&number.to_string(), None);
        }
        assert!(
            !store.leases.lock().since.contains_key(&again.sha256),
            "it is one of too many"
        );
        let report = store
            .sweep(&References::default(), &Limits::default(), &after(8))
            .unwrap();
        assert_eq!((report.kept.count, report.removed.count), (1, 1));
        assert!(store.get(&old).await.is_err() && store.get(&again).await.is_ok());
    }

    #[tokio::test]
    async fn what_an_upload_left_goes_after_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let store = reopened(directory.path());
        let whole = stored(&store, "whole").await;
        let mut left = store.local_file(&whole).unwrap().unwrap().into_os_string();
        left.push("#1");
        fs::write(&left, "half").unwrap();
        let references = References {
            needed: digests(&[&whole]),
            ..References::default()
        };
        for (days, is_there) in [(1, true), (8, false)] {
            let _ = store.sweep(
                &references,
                &Limits {
                    artifacts_size: 0,
                    ..Limits::default()
                },
                &after(days),
            );
            assert_eq!(fs::exists(&left).unwrap(), is_there, "{days}");
        }
        assert!(store.get(&whole).await.is_ok());
    }

    #[tokio::test]
    async fn a_store_that_other_hosts_may_use_is_not_swept() {
        let directory = tempfile::tempdir().unwrap();
        let location = crate::objects::Location::Directory(directory.path().to_owned());
        let store = ArtifactStore::open(&location).unwrap();
        stored(&store, "theirs").await;
        assert_eq!(
            store.sweep(&References::default(), &Limits::default(), &after(1000)),
            None
        );
    }

    #[tokio::test]
    async fn what_is_dated_a_year_ahead_ages_from_the_next_sweep_on() {
        let directory = tempfile::tempdir().unwrap();
        let artifact = stored(&reopened(directory.path()), "ahead").await;
        let store = reopened(directory.path());
        let path = store.local_file(&artifact).unwrap().unwrap();
        File::open(&path)
            .unwrap()
            .set_modified(SystemTime::now() + DAY * 365)
            .unwrap();
        for (days, is_there) in [(0, true), (6, true), (8, false)] {
            let _ = store.sweep(&References::default(), &Limits::default(), &after(days));
            assert_eq!(path.exists(), is_there, "{days}");
        }
    }
}
