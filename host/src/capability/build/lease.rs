//! Things that builds share and that are costly to make: layers, roots, and copies of the machine's data. Each is a
//! directory below `layers`, `roots` or `data` with a lock file beside it. Whoever uses it holds the lock together with
//! others; whoever makes or removes it holds it alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::error::{Attempt as _, BuildError};
use super::keeper::Keeper;
use super::scratch::remove_old;
use super::subordinate;

/// How long a layer that nobody uses is kept.
const LAYER_KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How long a fetched package is kept.
const ARCHIVE_KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How often it is tried to get a lock that somebody else holds.
const PAUSE: Duration = Duration::from_millis(50);

/// A lock on a file, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Waits for a lock; `check` ends the waiting with its error.
    pub fn wait(
        path: &Path,
        exclusive: bool,
        check: &mut dyn FnMut() -> Result<(), BuildError>,
    ) -> Result<Self, BuildError> {
        loop {
            if let Some(lock) = Self::attempt(path, exclusive)? {
                return Ok(lock);
            }
            check()?;
            std::thread::sleep(PAUSE);
        }
    }

    /// Takes a lock if it is free.
    pub fn attempt(path: &Path, exclusive: bool) -> Result<Option<Self>, BuildError> {
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .attempt("open", path)?;
        let operation = if exclusive {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(io::Error::from(error)).attempt("lock", path),
        }
    }

    /// Lets others in, without a moment in which anyone could remove what was made.
    pub fn share(&self) {
        // Converting our own exclusive lock can't fail for want of the lock.
        let _ = flock(&self.file, FlockOperation::NonBlockingLockShared);
    }

    /// Notes that the thing was used now.
    pub fn touch(&self) {
        let _ = self.file.set_modified(SystemTime::now());
    }
}

/// The lock file that belongs to a directory.
pub(super) fn lock_path(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Removes layers and copies of data that nobody has used for long, roots that are too old, and packages fetched long ago.
/// What can't be removed stays, with a warning.
pub(super) fn sweep(state: &Path, keeper: Keeper, root_max_age: Duration) -> Result<(), BuildError> {
    for (name, kept) in [
        ("data", LAYER_KEPT),
        ("layers", LAYER_KEPT),
        ("roots", root_max_age + LAYER_KEPT),
    ] {
        let parent = state.join(name);
        for entry in fs::read_dir(&parent).attempt("read", &parent)? {
            let dir = entry.attempt("read", &parent)?.path();
            if !dir.is_dir() || !is_older(&lock_path(&dir), kept) {
                continue;
            }
            if let Some(_lock) = Lock::attempt(&lock_path(&dir), true)?
                && remove_old(&dir, keeper)
            {
                let _ = fs::remove_file(lock_path(&dir));
            }
        }
    }
    let archives = state.join("archives");
    for entry in fs::read_dir(&archives).attempt("read", &archives)? {
        let path = entry.attempt("read", &archives)?.path();
        // Before each set of sources had a directory of its own, packages were in this one.
        if path.is_dir() {
            sweep_packages(&path, false, keeper)?;
        }
    }
    sweep_packages(&archives, true, keeper)
}

/// Removes packages that were fetched long ago, or all.
fn sweep_packages(dir: &Path, all: bool, keeper: Keeper) -> Result<(), BuildError> {
    let mut old = Vec::new();
    for entry in fs::read_dir(dir).attempt("read", dir)? {
        let path = entry.attempt("read", dir)?.path();
        if path.extension().is_some_and(|ending| ending == "deb") && (all || is_older(&path, ARCHIVE_KEPT)) {
            old.push(path);
        }
    }
    if let Err(error) = keeper.remove(&old) {
        let remedy = subordinate::foreign(dir);
        tracing::warn!(path = %dir.display(), %error, "cannot remove packages that were fetched long ago: {remedy}");
    }
    Ok(())
}

fn is_older(path: &Path, than: Duration) -> bool {
    fs::metadata(path)
        .and_then(|kind| kind.modified())
        .ok()
        .and_then(|time| time.elapsed().ok())
        .is_some_and(|age| age > than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_in_use_survives_the_sweep_and_an_old_one_does_not() {
        let state = tempfile::tempdir().unwrap();
        for name in ["layers/used", "layers/old", "layers/new", "roots", "archives", "data"] {
            fs::create_dir_all(state.path().join(name)).unwrap();
        }
        let dir = |name: &str| state.path().join("layers").join(name);
        let long_ago = SystemTime::now() - LAYER_KEPT * 2;
        for (name, time) in [("used", long_ago), ("old", long_ago), ("new", SystemTime::now())] {
            File::create(lock_path(&dir(name))).unwrap().set_modified(time).unwrap();
        }
        let _lease = Lock::attempt(&lock_path(&dir("used")), false).unwrap().unwrap();
        sweep(state.path(), Keeper::new(None), Duration::ZERO).unwrap();
        assert!(dir("used").exists() && dir("new").exists() && !dir("old").exists());
    }

    #[test]
    fn a_lock_is_shared_by_users_and_not_by_makers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let maker = Lock::attempt(&path, true).unwrap().unwrap();
        assert!(Lock::attempt(&path, false).unwrap().is_none());
        maker.share();
        let _user = Lock::attempt(&path, false).unwrap().unwrap();
        assert!(Lock::attempt(&path, true).unwrap().is_none());
    }
}
