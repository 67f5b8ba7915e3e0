//! Which layers, roots, copies of the machine's data and fetched packages go: those that no build used for long, and of the former the longest
//! unused when they are too large together.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use foundry_broker::killpoint;

use super::error::Attempt as _;
use super::keeper::Keeper;
use super::lease::{Lock, lock_path, use_path};
use super::scratch::remove_old;
use super::stage::Stage;
use super::{BuildError, Builder, Shared};
use crate::retention::{Bound, Kind, Limits, Report, Sweep, size_of_tree};

/// What the name of a directory begins with that is being removed. It stays in its own place, since its owner may be one of the ids of builds: the
/// kernel lets nobody else move such a directory to another one.
const GONE: &str = "gone-";

/// What was used within this time stays whatever its size: the next build probably uses it.
const LATELY: Duration = Duration::from_secs(3600);

/// A layer, a root or a copy of data.
struct Made {
    directory: PathBuf,
    bytes: u64,
    used: SystemTime,
    /// How long it is kept unused.
    kept: Duration,
}

impl Builder {
    /// Remove what only saves time, the longest unused first. What a build uses stays. Blocks.
    #[must_use]
    pub fn sweep(&self, limits: &Limits, sweep: &Sweep) -> [Report; 2] {
        let mut roots = Report::new(Kind::BuildRoots, Bound::both(limits.caches_size, limits.caches));
        if let Err(error) = self.shared.sweep_roots(&mut roots, limits, sweep) {
            roots.note(&error);
        }
        let mut packages = Report::new(Kind::BuildPackages, Bound::age(limits.caches));
        let keeper = self.shared.keeper();
        let archives = self.shared.state.join("archives");
        if let Err(error) = sweep_packages(&archives, keeper, &mut packages, limits, sweep) {
            packages.note(&error);
        }
        [roots, packages]
    }
}

impl Shared {
    /// What is in layers, roots and among packages may belong to the ids of builds.
    fn keeper(&self) -> Keeper {
        Stage::new(&self.state, &self.machine, self.settings.build_id).keeper
    }

    fn sweep_roots(&self, report: &mut Report, limits: &Limits, sweep: &Sweep) -> Result<(), BuildError> {
        let keeper = self.keeper();
        let mut made = Vec::new();
        for (name, more) in [
            ("data", Duration::ZERO),
            ("layers", Duration::ZERO),
            ("roots", self.settings.root_max_age),
        ] {
            let parent = self.state.join(name);
            remove_stray_locks(&parent, limits, sweep)?;
            let found = self.made_in(&parent, limits.caches + more, keeper, sweep);
            made.extend(found.attempt("sweep", &parent)?);
        }
        made.sort_by_key(|one| one.used);
        made.iter().for_each(|one| report.kept.add(one.bytes));
        for one in made {
            // One that has no lock yet was made just now.
            sweep.date_back(&lock_path(&one.directory), one.used).ok();
            let age = sweep.age(one.used);
            let is_too_much = report.kept.bytes > limits.caches_size && age > LATELY;
            if age <= one.kept && !is_too_much {
                if age <= LATELY {
                    report.needed.add(one.bytes);
                }
                continue;
            }
            let Some(_lock) = free(&lock_path(&one.directory), sweep)? else {
                report.needed.add(one.bytes);
                continue;
            };
            if !sweep.dry_run {
                self.remove(&one.directory, keeper).attempt("remove", &one.directory)?;
            }
            report.removed.add(one.bytes);
            report.kept.take(one.bytes);
        }
        Ok(())
    }

    /// Whoever holds the lock of a directory removes it, and the lock with it: whoever waits for that sees that it has no name any more.
    fn remove(&self, directory: &Path, keeper: Keeper) -> io::Result<()> {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let gone = directory.with_file_name(format!("{GONE}{name}"));
        fs::rename(directory, &gone)?;
        killpoint::pass("sweep-root");
        fs::remove_file(lock_path(directory))?;
        self.sizes().remove(directory);
        // What belongs to ids that the user has lost stays, with a warning, and keeps nothing else from going.
        remove_old(&gone, keeper);
        Ok(())
    }

    /// What is in a directory; what was half removed goes for good.
    fn made_in(&self, parent: &Path, kept: Duration, keeper: Keeper, sweep: &Sweep) -> io::Result<Vec<Made>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let directory = entry.path();
            if entry.file_name().to_string_lossy().starts_with(GONE) {
                if !sweep.dry_run {
                    remove_old(&directory, keeper);
                }
                continue;
            }
            let of_lock = fs::metadata(lock_path(&directory));
            found.push(Made {
                // One that was made just now may have no lock yet.
                used: of_lock.or_else(|_| entry.metadata())?.modified()?,
                bytes: self.size(&directory),
                directory,
                kept,
            });
        }
        Ok(found)
    }

    fn size(&self, directory: &Path) -> u64 {
        let known = self.sizes().get(directory).copied();
        known.unwrap_or_else(|| {
            let size = size_of_tree(directory);
            self.sizes().insert(directory.to_owned(), size);
            size
        })
    }

    fn sizes(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<PathBuf, u64>> {
        // Nothing is half done where a thread could panic.
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps others from a thing that nobody uses, `None` if somebody does. A dry run makes no lock: a thing without one is used by nobody.
fn free(lock: &Path, sweep: &Sweep) -> Result<Option<Option<Lock>>, BuildError> {
    if sweep.dry_run && !lock.exists() {
        return Ok(Some(None));
    }
    Ok(Lock::attempt(lock, true)?.map(Some))
}

/// Removes the locks of what was never made, or whose directory went and they did not.
fn remove_stray_locks(parent: &Path, limits: &Limits, sweep: &Sweep) -> Result<(), BuildError> {
    for entry in fs::read_dir(parent).attempt("read", parent)? {
        let path = entry.attempt("read", parent)?.path();
        if path.extension().is_none_or(|ending| ending != "lock") || path.with_extension("").exists() || sweep.dry_run {
            continue;
        }
        let used = fs::metadata(&path).and_then(|about| about.modified());
        if used.is_ok_and(|used| sweep.age(used) > limits.caches)
            && let Some(_lock) = Lock::attempt(&path, true)?
            && !path.with_extension("").exists()
        {
            fs::remove_file(&path).attempt("remove", &path)?;
        }
    }
    Ok(())
}

/// Removes packages that were fetched long ago, but for those of a set of sources that a build installs from now. Each set has a directory of its own;
/// before there were such, packages were in the one above, where no build looks.
fn sweep_packages(
    archives: &Path,
    keeper: Keeper,
    report: &mut Report,
    limits: &Limits,
    sweep: &Sweep,
) -> Result<(), BuildError> {
    sweep_set(archives, Duration::ZERO, keeper, report, sweep).attempt("sweep", archives)?;
    for entry in fs::read_dir(archives).attempt("read", archives)? {
        let entry = entry.attempt("read", archives)?;
        let directory = entry.path();
        if !entry.file_type().attempt("read", &directory)?.is_dir() {
            continue;
        }
        if let Some(_lock) = free(&use_path(&directory), sweep)? {
            sweep_set(&directory, limits.caches, keeper, report, sweep).attempt("sweep", &directory)?;
        }
    }
    Ok(())
}

/// Removes the packages of one directory that were fetched longer ago than they are kept.
fn sweep_set(directory: &Path, kept: Duration, keeper: Keeper, report: &mut Report, sweep: &Sweep) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Ok(about) = fs::symlink_metadata(&path) else {
            continue;
        };
        if path.extension().is_none_or(|ending| ending != "deb") {
            continue;
        }
        if sweep.age(fetched(&about)) <= kept && !kept.is_zero() {
            report.kept.add(about.len());
            continue;
        }
        if !sweep.dry_run && !remove_old(&path, keeper) {
            report.kept.add(about.len());
            continue;
        }
        report.removed.add(about.len());
    }
    Ok(())
}

/// When a package came here. The time of its last modification is its mirror's, which apt gives it.
fn fetched(about: &fs::Metadata) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(about.ctime()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use time::OffsetDateTime;

    use super::super::Settings;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now(dry_run: bool) -> Sweep {
        Sweep {
            now: OffsetDateTime::now_utc(),
            newest: OffsetDateTime::now_utc(),
            dry_run,
        }
    }

    /// A directory of a thousand bytes that a build used so long ago.
    fn make(state: &Path, name: &str, age: Duration) -> PathBuf {
        let directory = state.join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), [0; 1000]).unwrap();
        let lock = File::create(lock_path(&directory)).unwrap();
        lock.set_modified(SystemTime::now() - age).unwrap();
        directory
    }

    #[test]
    fn what_no_build_used_for_long_goes_and_what_one_uses_stays() {
        let state = tempfile::tempdir().unwrap();
        let builder = Builder::new(state.path(), Settings::default()).unwrap();
        let used = make(state.path(), "layers/used", DAY * 30);
        let old = make(state.path(), "layers/old", DAY * 30);
        let young = make(state.path(), "layers/young", DAY * 13);
        let root = make(state.path(), "roots/trixie_amd64_1", DAY * 20);
        let half = state.path().join("layers/gone-x");
        fs::create_dir(&half).unwrap();
        let stray = lock_path(&state.path().join("layers/never-made"));
        File::create(&stray)
            .unwrap()
            .set_modified(SystemTime::now() - DAY * 15)
            .unwrap();
        let lease = Lock::attempt(&lock_path(&used), false).unwrap().unwrap();
        let limits = Limits::default();
        for dry_run in [true, false] {
            assert!(old.exists() && half.exists());
            let [roots, _] = builder.sweep(&limits, &now(dry_run));
            assert_eq!(
                (roots.trouble, roots.removed.count, roots.removed.bytes),
                (None, 1, 1000)
            );
        }
        assert!(used.exists() && young.exists() && !old.exists() && !half.exists());
        assert!(!lock_path(&old).exists() && !stray.exists());
        assert!(root.exists(), "it was for a week, and two weeks unused are not over");
        drop(lease);
        let [roots, _] = builder.sweep(&limits, &now(false));
        assert_eq!((roots.removed.count, roots.kept.count), (1, 2));
    }

    #[test]
    fn beyond_the_size_what_was_not_used_for_longest_goes() {
        let state = tempfile::tempdir().unwrap();
        let builder = Builder::new(state.path(), Settings::default()).unwrap();
        let made: Vec<_> = (0..5_u32)
            .map(|days| make(state.path(), &format!("layers/{days}"), DAY * days))
            .collect();
        let limits = Limits {
            caches_size: 2500,
            ..Limits::default()
        };
        let [roots, _] = builder.sweep(&limits, &now(false));
        assert_eq!((roots.kept.bytes, roots.removed.count), (2000, 3));
        assert!(made[0].exists() && made[1].exists());
        let [roots, _] = builder.sweep(
            &Limits {
                caches_size: 0,
                ..limits
            },
            &now(false),
        );
        assert_eq!(roots.kept.count, 1, "the next build may use it");
        assert!(!roots.is_over());
    }

    #[test]
    fn packages_that_were_fetched_long_ago_go_however_old_their_mirror_says_they_are() {
        let state = tempfile::tempdir().unwrap();
        let builder = Builder::new(state.path(), Settings::default()).unwrap();
        let archives = state.path().join("archives");
        fs::create_dir(archives.join("sources")).unwrap();
        for name in ["sources/a.deb", "before.deb", "sources/lock"] {
            let file = File::create(archives.join(name)).unwrap();
            file.set_modified(SystemTime::now() - DAY * 90).unwrap();
        }
        let swept = |days: u32| {
            let then = OffsetDateTime::now_utc() + DAY * days;
            let now = Sweep::new(then, then);
            let [_, packages] = builder.sweep(&Limits::default(), &now);
            (packages.trouble, packages.removed.count, packages.kept.count)
        };
        assert_eq!(swept(0), (None, 1, 1), "the one from before there were sets");
        assert_eq!(swept(13), (None, 0, 1));
        assert_eq!(swept(15), (None, 1, 0));
        assert!(archives.join("sources/lock").exists());
    }

    #[test]
    fn packages_that_a_build_is_about_to_install_stay() {
        let state = tempfile::tempdir().unwrap();
        let builder = Builder::new(state.path(), Settings::default()).unwrap();
        let sources = state.path().join("archives/sources");
        fs::create_dir(&sources).unwrap();
        File::create(sources.join("a.deb")).unwrap();
        let then = OffsetDateTime::now_utc() + DAY * 15;
        let later = Sweep::new(then, then);
        let installing = Lock::attempt(&use_path(&sources), false).unwrap().unwrap();
        let [_, packages] = builder.sweep(&Limits::default(), &later);
        assert_eq!((packages.trouble, packages.removed.count), (None, 0));
        drop(installing);
        let [_, packages] = builder.sweep(&Limits::default(), &later);
        assert_eq!((packages.trouble, packages.removed.count), (None, 1));
    }
}
