//! Things that builds share and that are costly to make: layers, roots, and copies of the machine's data. Each is a
//! directory below `layers`, `roots` or `data` with a lock file beside it. Whoever uses it holds the lock together with
//! others; whoever makes or removes it holds it alone.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::error::{Attempt as _, BuildError};
use crate::retention::is_still;

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
            // The housekeeping removes locks of what it removes.
            Ok(()) => Ok(is_still(&file, path).then_some(Self { file })),
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

/// The lock file of those who use what is in a directory of fetched packages. It is another one than [`lock_path`]'s, which one of them holds while
/// apt fetches, so that others install meanwhile; the housekeeping holds it alone.
pub(super) fn use_path(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".use");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

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
