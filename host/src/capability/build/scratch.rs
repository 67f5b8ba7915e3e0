//! The directories that a build leaves behind for nobody: made, locked, and removed, also after a crash.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::slice;

use rustix::fs::{FlockOperation, flock};

use super::cgroup::Group;
use super::error::{Attempt as _, BuildError};
use super::keeper::Keeper;
use super::subordinate;

const LOCK: &str = "lock";

/// The directory of one running build. Dropped, it is removed with everything in it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    keeper: Keeper,
    // Held for its lock: while it lives, no other host sweeps this directory.
    _lock: File,
}

impl Scratch {
    /// Makes a directory below `builds` and locks it.
    pub fn create(builds: &Path, keeper: Keeper) -> Result<Self, BuildError> {
        let dir = tempfile::Builder::new()
            .prefix("b")
            .tempdir_in(builds)
            .attempt("create a directory in", builds)?;
        let lock_path = dir.path().join(LOCK);
        let lock = File::create(&lock_path).attempt("create", &lock_path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).attempt("lock", &lock_path)?;
        Ok(Self {
            path: dir.keep(),
            keeper,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the control group that belongs to it.
    pub fn group_name(&self) -> String {
        group_name(&self.path)
    }

    /// Makes a directory in it that only its owner can enter.
    pub fn dir(&self, name: &str) -> Result<PathBuf, BuildError> {
        let path = self.path.join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .attempt("create", &path)?;
        Ok(path)
    }

    /// Puts a file that everyone may read into it.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, BuildError> {
        let path = self.path.join(name);
        fs::write(&path, content).attempt("write", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).attempt("change", &path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.keeper.remove(slice::from_ref(&self.path)) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a build's directory; the next start tries again");
        }
    }
}

/// Removes what builds of hosts that are gone have left in `builds`. Returns how many were removed. What can't be removed
/// stays, with a warning that says what to do: it keeps nobody from building.
pub(super) fn sweep(builds: &Path, keeper: Keeper) -> Result<usize, BuildError> {
    let mut swept = 0;
    for entry in fs::read_dir(builds).attempt("read", builds)? {
        let path = entry.attempt("read", builds)?.path();
        // No lock file: the directory is being made, or half removed. Being made takes no time at all
        // between two system calls, so what is older than that is half removed.
        if let Ok(lock) = File::open(path.join(LOCK)) {
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
        } else if is_young(&path) {
            continue;
        }
        Group::forget(&group_name(&path));
        swept += usize::from(remove_old(&path, keeper));
    }
    Ok(swept)
}

/// Removes what an earlier host has left, or says why not. Returns whether it is gone.
pub(super) fn remove_old(path: &Path, keeper: Keeper) -> bool {
    match keeper.remove(&[path.to_owned()]) {
        Ok(()) => true,
        Err(error) => {
            let remedy = subordinate::foreign(path);
            tracing::warn!(path = %path.display(), %error, "cannot remove what an earlier build has left: {remedy}");
            false
        }
    }
}

fn group_name(path: &Path) -> String {
    format!("foundry-{}", path.file_name().unwrap_or_default().to_string_lossy())
}

fn is_young(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .and_then(|kind| kind.modified())
        .ok()
        .and_then(|time| time.elapsed().ok())
        .is_some_and(|age| age.as_secs() < 60)
}

/// Removes a file or a tree, also one whose owner took away his own permissions on its directories.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(kind) if !kind.is_dir() => return fs::remove_file(path),
        _ => {}
    }
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    let mut pending = vec![path.to_owned()];
    while let Some(dir) = pending.pop() {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_permissions_is_removed() {
        let top = tempfile::tempdir().unwrap();
        let deep = top.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        fs::set_permissions(top.path().join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(&top.path().join("a")).unwrap();
        assert!(!top.path().join("a").exists());
    }

    #[test]
    fn the_sweep_takes_the_dead_and_leaves_the_living() {
        let builds = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(None);
        let living = Scratch::create(builds.path(), keeper).unwrap();
        let dead = builds.path().join("dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        assert_eq!(sweep(builds.path(), keeper).unwrap(), 1);
        assert!(living.path().exists() && !dead.exists());
    }
}
