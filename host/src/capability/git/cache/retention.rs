//! Which cached repositories go: those that nobody used for long, and of the others the longest unused when they are too large together.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Cache;
use crate::retention::{Bound, Kind, Limits, Report, Sweep, empty, remove_aside, size_of_tree};

/// One that was used within this time stays whatever its size: it is probably watched.
const LATELY: Duration = Duration::from_secs(3600);

/// A cached repository.
struct Cached {
    name: String,
    directory: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// Removes repositories, the longest unused first. One that is in use stays.
    pub(in crate::capability::git) fn sweep_unused(&self, limits: &Limits, sweep: &Sweep) -> Report {
        let mut report = Report::new(Kind::GitCaches, Bound::both(limits.caches_size, limits.caches));
        if let Err(error) = self.sweep_into(&mut report, limits, sweep) {
            report.note(&error);
        }
        report
    }

    fn sweep_into(&self, report: &mut Report, limits: &Limits, sweep: &Sweep) -> io::Result<()> {
        let trash = self.root.with_file_name("trash");
        if !sweep.dry_run {
            empty(&trash)?;
        }
        self.remove_stray_locks(limits, sweep)?;
        let mut cached = self.all(sweep)?;
        cached.sort_by_key(|one| one.used);
        cached.iter().for_each(|one| report.kept.add(one.bytes));
        for one in cached {
            let age = sweep.age(one.used);
            let is_too_much = report.kept.bytes > limits.caches_size && age > LATELY;
            if age <= limits.caches && !is_too_much {
                if age <= LATELY {
                    report.needed.add(one.bytes);
                }
                continue;
            }
            let Some(_lock) = self.free(&one.name, sweep)? else {
                report.needed.add(one.bytes);
                continue;
            };
            if !sweep.dry_run {
                remove_aside(&one.directory, &trash)?;
                // While it is held: whoever waits for it sees that it has no name any more.
                fs::remove_file(self.lock_path(&one.name))?;
            }
            report.removed.add(one.bytes);
            report.kept.take(one.bytes);
        }
        Ok(())
    }

    /// Removes the locks of repositories that were never fetched, or whose directory went and they did not.
    fn remove_stray_locks(&self, limits: &Limits, sweep: &Sweep) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let is_stray =
                || path.extension().is_some_and(|ending| ending == "lock") && !path.with_extension("").exists();
            let used = fs::metadata(&path).and_then(|about| about.modified());
            let is_old = used.is_ok_and(|used| sweep.age(used) > limits.caches);
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if is_stray()
                && is_old
                && !sweep.dry_run
                && let Some(_lock) = self.lock(&name)?
                && is_stray()
            {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// What keeps others from a repository that nobody uses, `None` if somebody does. A dry run makes no lock: one without is used by nobody.
    fn free(&self, name: &str, sweep: &Sweep) -> io::Result<Option<Option<File>>> {
        if sweep.dry_run && !self.lock_path(name).exists() {
            return Ok(Some(None));
        }
        Ok(self.lock(name)?.map(Some))
    }

    fn all(&self, sweep: &Sweep) -> io::Result<Vec<Cached>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let directory = entry.path();
            let modified = |path: PathBuf| {
                // What a reader has made of it may be a link to elsewhere.
                let found = fs::symlink_metadata(&path)?;
                if found.is_symlink() {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                let used = found.modified()?;
                if let Err(error) = sweep.date_back(&path, used) {
                    tracing::debug!(path = %path.display(), %error, "cannot date a repository back");
                }
                Ok::<_, io::Error>(used)
            };
            // A host that did not note uses made packs all the same.
            let locked = modified(self.lock_path(&name));
            let fetched = modified(directory.join("objects/pack"));
            all.push(Cached {
                bytes: size_of_tree(&directory),
                used: locked
                    .into_iter()
                    .chain(fetched)
                    .max()
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                name,
                directory,
            });
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::super::super::deadline::Deadline;
    use super::super::super::location::Location;
    use super::super::Writer;
    use super::*;

    fn now(dry_run: bool) -> Sweep {
        Sweep {
            now: OffsetDateTime::now_utc(),
            newest: OffsetDateTime::now_utc(),
            dry_run,
        }
    }

    fn location(name: &str) -> Location {
        Location::parse(&format!("https://example.org/{name}.git")).unwrap()
    }

    /// A repository of a thousand bytes that was used so many hours ago.
    fn make(cache: &Cache, name: &str, hours: u64) {
        let held = cache
            .hold(
                &location(name),
                Writer::Reader,
                &Deadline::after(Duration::from_secs(60)),
            )
            .unwrap();
        let pack = held.path().join("objects/pack");
        fs::create_dir_all(&pack).unwrap();
        fs::write(held.path().join("file"), [0; 1000]).unwrap();
        let used = SystemTime::now() - Duration::from_secs(3600) * u32::try_from(hours).unwrap();
        File::open(pack).unwrap().set_modified(used).unwrap();
        held._lock.set_modified(used).unwrap();
    }

    fn left(cache: &Cache) -> usize {
        cache.all(&now(true)).unwrap().len()
    }

    #[test]
    fn a_cache_with_a_link_for_a_directory_starts_anew_and_nothing_is_touched_where_it_leads() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("repositories")).unwrap();
        let keys = directory.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::write(keys.join(".lock"), "").unwrap();
        for part in ["objects/pack", "objects", "refs"] {
            make(&cache, "taken", 1);
            let held = || {
                let deadline = Deadline::after(Duration::from_secs(60));
                cache.hold(&location("taken"), Writer::Reader, &deadline).unwrap()
            };
            let place = held().path().join(part);
            fs::create_dir_all(&place).unwrap();
            fs::remove_dir_all(&place).unwrap();
            std::os::unix::fs::symlink(&keys, &place).unwrap();
            fs::create_dir_all(keys.join("foundry")).unwrap();
            fs::write(keys.join("foundry/x.lock"), "").unwrap();
            assert!(!held().path().exists(), "{part}");
            assert!(
                keys.join(".lock").exists() && keys.join("foundry/x.lock").exists(),
                "{part}"
            );
        }
    }

    #[test]
    fn a_repository_that_nobody_used_for_long_goes_and_one_in_use_stays() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("repositories")).unwrap();
        for (name, hours) in [("old", 24 * 15), ("busy", 24 * 15), ("young", 24 * 13)] {
            make(&cache, name, hours);
        }
        let busy = cache
            .hold(
                &location("busy"),
                Writer::Reader,
                &Deadline::after(Duration::from_secs(60)),
            )
            .unwrap();
        busy._lock
            .set_modified(SystemTime::now() - Duration::from_secs(86_400 * 15))
            .unwrap();
        let limits = Limits::default();
        for dry_run in [true, false] {
            assert_eq!(left(&cache), 3);
            let report = cache.sweep_unused(&limits, &now(dry_run));
            assert_eq!((report.removed.count, report.removed.bytes), (1, 1000), "{report:?}");
        }
        assert_eq!(left(&cache), 2);
        assert!(busy.path().exists());
        assert_eq!(
            fs::read_dir(directory.path().join("repositories")).unwrap().count(),
            4,
            "no lock is left over"
        );
    }

    #[test]
    fn beyond_the_size_the_longest_unused_go_but_none_that_was_used_lately() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("repositories")).unwrap();
        for hours in 0..6 {
            make(&cache, &hours.to_string(), hours);
        }
        let limits = Limits {
            caches_size: 3500,
            ..Limits::default()
        };
        let report = cache.sweep_unused(&limits, &now(false));
        assert_eq!((report.kept.bytes, report.removed.count), (3000, 3));
        let report = cache.sweep_unused(
            &Limits {
                caches_size: 0,
                ..limits
            },
            &now(false),
        );
        assert_eq!(report.kept.count, 1);
        assert!(!report.is_over());
    }

    #[test]
    fn one_that_is_dated_a_year_ahead_ages_from_the_next_sweep_on() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("repositories")).unwrap();
        make(&cache, "ahead", 0);
        let year_ago = |days: u32| {
            let now =
                OffsetDateTime::now_utc() + Duration::from_secs(86_400) * days - Duration::from_secs(86_400) * 365;
            Sweep {
                now,
                newest: now,
                dry_run: false,
            }
        };
        for (days, count) in [(0, 1), (13, 1), (15, 0)] {
            let report = cache.sweep_unused(&Limits::default(), &year_ago(days));
            assert_eq!((report.kept.count, report.trouble), (count, None), "{days}");
        }
    }

    #[test]
    fn whoever_waited_for_a_lock_that_was_removed_gets_the_one_that_counts() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("repositories")).unwrap();
        make(&cache, "one", 0);
        let (name, lock) = {
            let all = cache.all(&now(true)).unwrap();
            (all[0].name.clone(), cache.lock(&all[0].name).unwrap().unwrap())
        };
        let waits = std::thread::spawn({
            let cache = cache.clone();
            move || {
                cache
                    .hold(
                        &location("one"),
                        Writer::Reader,
                        &Deadline::after(Duration::from_secs(60)),
                    )
                    .unwrap()
            }
        });
        fs::remove_file(cache.root.join(format!("{name}.lock"))).unwrap();
        drop(lock);
        let _held = waits.join().unwrap();
        assert!(cache.lock(&name).unwrap().is_none(), "it is held under its name");
    }
}
