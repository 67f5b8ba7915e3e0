//! Whether a directory is as it was when it was read, told without reading it again.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// A change may leave no trace in a directory that changed less than this before: file systems count time in steps.
pub(super) const STEP: Duration = Duration::from_secs(1);

/// What a directory shows of its changes. Every change of a key's file is a rename, which changes the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Nobody can set it: also a change whose author puts the other time back shows.
    changed: (i64, i64),
}

impl Stamp {
    fn of(directory: &Path) -> Option<Self> {
        let found = std::fs::metadata(directory).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// How long ago the change was, by the machine's clock. None if that is in the future.
    fn age(self) -> Option<Duration> {
        let seconds = u64::try_from(self.changed.0).ok()?;
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.saturating_add(1)))?;
        changed.elapsed().ok()
    }
}

/// A directory as it was seen last, and since when it has been so.
///
/// Its time alone does not tell its age: it is in the future where the clock was put back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    stamp: Option<Stamp>,
    since: Instant,
}

impl Sight {
    /// How the directory is now.
    pub(super) fn of(directory: &Path) -> Self {
        Self {
            stamp: Stamp::of(directory),
            since: Instant::now(),
        }
    }

    /// How it is now: since the same moment, if it is as it was.
    pub(super) fn again(self, directory: &Path) -> Self {
        let now = Self::of(directory);
        match self.stamp == now.stamp {
            true => self,
            false => now,
        }
    }

    /// Whether the directory has been like this for so long that every later change shows: by its own time, or by how long it has
    /// been seen. Never, if it can't be looked at.
    pub(super) fn is_settled(self) -> bool {
        let is_old = |stamp: Stamp| stamp.age().is_some_and(|age| age > STEP);
        self.stamp
            .is_some_and(|stamp| is_old(stamp) || self.since.elapsed() > STEP)
    }

    /// Whether the directory looks the same in both.
    pub(super) fn is_like(self, other: Self) -> bool {
        self.stamp == other.stamp
    }
}
