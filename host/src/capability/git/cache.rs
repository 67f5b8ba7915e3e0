//! Bare repositories that keep what was fetched, so that the next commit of a repository costs its changes only.
//!
//! A cached repository has one user at a time, across processes. What a killed process left half done is swept before
//! the next use, and a damaged cache is rebuilt: nothing in here can't be fetched again.
//!
//! What readers wrote is only ever opened by readers: a repository's configuration names programs. So what the program git fetches is
//! kept apart, where no reader writes.

mod retention;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::deadline::Deadline;
use super::error::GitError;
use super::location::Location;
use super::reader;
use super::source::remove_tree;
use crate::retention::is_still;

/// How often a lock that somebody else holds is tried.
const RETRY: Duration = Duration::from_millis(25);

/// Each fetch adds a pack, and looking an object up gets slower with their number: beyond this, start anew.
const MAX_PACKS: usize = 256;

/// Where our refs live in a cached repository.
const REFS: &str = "refs/foundry";

/// A directory of cached repositories.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

/// Who writes a cached repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// A reader, in a process of its own.
    Reader,
    /// The program git.
    Git,
}

/// One cached repository, held by us alone.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    writer: Writer,
    _lock: File,
}

impl Cache {
    pub(super) fn new(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    /// Take the cached repository of a location; waits for others, up to the deadline.
    pub(super) fn hold(&self, location: &Location, writer: Writer, deadline: &Deadline) -> Result<Held, GitError> {
        let named = match writer {
            Writer::Reader => location.to_string(),
            // No URL has a blank.
            Writer::Git => format!("{location} by git"),
        };
        let name = hex::encode(Sha256::digest(named));
        let failed =
            |error: io::Error| GitError::unavailable(location, format!("the cache {}: {error}", self.root.display()));
        let lock = loop {
            if let Some(lock) = self.lock(&name).map_err(failed)? {
                break lock;
            }
            if deadline.passed() {
                return Err(GitError::unavailable(
                    location,
                    "other checkouts of this repository keep it busy",
                ));
            }
            std::thread::sleep(RETRY);
        };
        // Its time tells when the repository was last of use.
        lock.set_modified(SystemTime::now()).map_err(failed)?;
        let held = Held {
            path: self.root.join(name),
            writer,
            _lock: lock,
        };
        held.sweep().map_err(failed)?;
        Ok(held)
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.lock"))
    }

    /// The lock of the repository of a name, if nobody else has it.
    fn lock(&self, name: &str) -> io::Result<Option<File>> {
        let path = self.lock_path(name);
        let lock = File::options().create(true).append(true).open(&path)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            // The housekeeping removes locks of repositories that it removes.
            Ok(()) => Ok(Some(lock).filter(|lock| is_still(lock, &path))),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Held {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Who writes it.
    pub(super) fn writer(&self) -> Writer {
        self.writer
    }

    /// Make its directory, if need be. A reader makes the repository: what it left of one is not for this process to read.
    pub(super) fn make_directory(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)
    }

    /// Make a repository for the program git, if need be.
    pub(super) fn make(&self) -> io::Result<()> {
        // The last file of a repository that is made.
        if self.path.join("HEAD").exists() {
            return Ok(());
        }
        self.discard()?;
        match reader::make(&self.path) {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::other(error.message().to_owned())),
        }
    }

    /// Throw it away, to begin anew.
    pub(super) fn discard(&self) -> io::Result<()> {
        match remove_tree(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether what is to be a directory of the repository is something else, such as a link to a directory elsewhere, which this
    /// process would follow. A reader that was taken over can make one.
    fn leads_elsewhere(&self) -> bool {
        ["", "refs", REFS, "objects", "objects/pack"].iter().any(|part| {
            let found = fs::symlink_metadata(self.path.join(part));
            found.is_ok_and(|found| !found.is_dir())
        })
    }

    /// Remove what a killed process left: locks, and packs that it was writing.
    fn sweep(&self) -> io::Result<()> {
        if self.leads_elsewhere() {
            tracing::warn!(cache = %self.path.display(), "a git cache has links among its directories, and starts anew");
            return self.discard();
        }
        let mut packs = 0;
        for directory in [self.path.clone(), self.path.join(REFS), self.path.join("objects/pack")] {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.ends_with(".lock") || name.starts_with("pack_git2_") || name.starts_with("tmp_") {
                    let _ = fs::remove_file(entry.path());
                }
                packs += usize::from(name.ends_with(".pack"));
            }
        }
        if packs > MAX_PACKS {
            tracing::info!(cache = %self.path.display(), packs, "a git cache has grown into many packs and starts anew");
            self.discard()?;
        }
        Ok(())
    }
}

/// The ref in a cached repository that follows a remote ref. Its name is a digest: two remote names, one after the
/// other, could be a directory and a file in it.
pub(super) fn tracking_ref(remote_ref: &str) -> String {
    let digest = hex::encode(Sha256::digest(remote_ref));
    format!("{REFS}/{}", digest.get(..40).unwrap_or(&digest))
}
