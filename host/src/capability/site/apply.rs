//! What happens to a committed transaction: its plan, and how it is carried out, again if need be.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use cap_std::fs::{Dir, PermissionsExt};
use foundry_broker::killpoint;
use serde::{Deserialize, Serialize};

use super::path::SitePath;
use super::{PRIVATE, SiteError, TRANSACTIONS, mirror, threads};

/// A transaction that is still open; its changes may be thrown away.
pub(super) const STAGING: &str = ".foundry/transactions/staging";
/// A transaction that has been committed; its changes have to be carried out.
pub(super) const COMMITTED: &str = ".foundry/transactions/committed";
/// The plan's name in both.
const PLAN: &str = "plan.json";

/// From so many files on, having the whole file system on disk costs less than having each of them there.
const MANY: usize = 512;

/// How many files are written to disk at the same time.
const SYNCS: usize = 16;

/// The changes of one transaction, in the order of their taking effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Files that nothing refers to yet, or that readers find by other names.
    pub(super) first: Vec<Placement>,
    /// Files that refer to others, in their order.
    pub(super) last: Vec<Placement>,
    /// Files that nothing refers to any more.
    pub(super) removals: Vec<String>,
}

/// A staged file and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placement {
    /// Its number in the staging directory.
    pub(super) staged: u64,
    /// Its path in the site.
    pub(super) path: String,
}

impl Plan {
    /// Make it certain: once this returns, the changes take effect even if this process dies.
    ///
    /// Everything that may fail for lack of space comes before the commit.
    /// `dirty` are the staged files whose bytes may not be on disk yet.
    pub(super) fn commit(&self, root: &Dir, directory: &Path, dirty: &BTreeSet<u64>) -> Result<(), SiteError> {
        let placements = || self.first.iter().chain(&self.last);
        let staged: Vec<_> = placements()
            .filter(|placement| dirty.contains(&placement.staged))
            .map(|placement| staged_path(STAGING, placement.staged))
            .collect();
        sync(root, directory, staged.iter().map(String::as_str))?;
        let mut directories = Directories::new(root, directory);
        for placement in placements() {
            if let Some(parent) = parent_of(&placement.path) {
                directories.make(parent)?;
            }
        }
        sync(root, directory, directories.changed.iter().map(String::as_str))?;
        let path = format!("{STAGING}/{PLAN}");
        let json = serde_json::to_vec(self)
            .map_err(io::Error::from)
            .map_err(SiteError::io("write", directory.join(&path)))?;
        root.write(&path, json)
            .and_then(|()| root.open(&path)?.sync_all())
            .map_err(SiteError::io("write", directory.join(&path)))?;
        sync(root, directory, [STAGING])?;
        killpoint::pass("site-planned");
        root.rename(STAGING, root, COMMITTED)
            .map_err(SiteError::io("rename", directory.join(STAGING)))?;
        sync(root, directory, [TRANSACTIONS])
    }

    /// The steps that carry it out. Doing the first of them, and later all of them, is the same as doing them once.
    pub(super) fn steps(&self) -> Vec<Step<'_>> {
        let parents = |placements: &'_ [Placement]| -> BTreeSet<String> {
            let parents = placements.iter().map(|placement| parent_of(&placement.path));
            parents.map(|parent| parent.unwrap_or(".").to_owned()).collect()
        };
        let mut steps: Vec<_> = self.first.iter().map(Step::Place).collect();
        steps.push(Step::Sync(parents(&self.first)));
        steps.extend(self.last.iter().map(Step::Place));
        steps.push(Step::Sync(parents(&self.last)));
        steps.extend(self.removals.iter().map(|path| Step::Remove(path)));
        steps
    }
}

/// One step of carrying out a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Rename a staged file to its place.
    Place(&'a Placement),
    /// Have the entries of directories on disk before going on.
    Sync(BTreeSet<String>),
    /// Remove a file.
    Remove(&'a str),
}

impl Step<'_> {
    pub(super) fn carry_out(&self, root: &Dir, directory: &Path) -> Result<(), SiteError> {
        match self {
            Self::Place(placement) => {
                killpoint::pass("site-placing");
                let staged = staged_path(COMMITTED, placement.staged);
                match root.rename(&staged, root, &placement.path) {
                    // Placed before whoever began this died.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && root.exists(&placement.path) => Ok(()),
                    placed => placed.map_err(SiteError::io("write", directory.join(&placement.path))),
                }
            }
            Self::Sync(paths) => sync(root, directory, paths.iter().map(String::as_str)),
            Self::Remove(path) => match root.remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(SiteError::io("remove", directory.join(path))(error))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Finish what was committed, and sweep what wasn't. The caller has the site's lock.
pub(super) fn recover(root: &Dir, directory: &Path) -> Result<(), SiteError> {
    finish(root, directory)?;
    remove_tree(root, directory, STAGING)
}

/// Carry out the committed plan, if there is one.
pub(super) fn finish(root: &Dir, directory: &Path) -> Result<(), SiteError> {
    let path = format!("{COMMITTED}/{PLAN}");
    let json = match root.read(&path) {
        Ok(json) => json,
        // None was committed, or its last step was to remove the plan with its directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return remove_tree(root, directory, COMMITTED),
        Err(error) => return Err(SiteError::io("read", directory.join(&path))(error)),
    };
    let plan: Plan = serde_json::from_slice(&json).map_err(|error| SiteError::Damaged {
        path: directory.join(&path),
        why: error.to_string(),
    })?;
    killpoint::pass("site-committed");
    for step in plan.steps() {
        step.carry_out(root, directory)?;
    }
    killpoint::pass("site-placed");
    mirror::follow(root, directory, &plan)?;
    remove_tree(root, directory, COMMITTED)?;
    killpoint::pass("site-done");
    Ok(())
}

/// Remove a directory of the host's with all that is in it, if it is there.
pub(super) fn remove_tree(root: &Dir, directory: &Path, path: &str) -> Result<(), SiteError> {
    match root.remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SiteError::io("remove", directory.join(path))(error))
        }
        _ => Ok(()),
    }
}

/// Where a staged file is.
pub(super) fn staged_path(base: &str, staged: u64) -> String {
    format!("{base}/{staged}")
}

/// Directories on the way to files.
struct Directories<'a> {
    root: &'a Dir,
    directory: &'a Path,
    /// Those that are there for certain.
    there: BTreeSet<String>,
    /// Those that got an entry.
    changed: BTreeSet<String>,
}

impl<'a> Directories<'a> {
    fn new(root: &'a Dir, directory: &'a Path) -> Self {
        Self {
            root,
            directory,
            there: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Make a directory and those above it, readable by web servers whatever the umask is; our own records stay private.
    fn make(&mut self, path: &str) -> Result<(), SiteError> {
        if self.there.contains(path) {
            return Ok(());
        }
        let parent = parent_of(path);
        if let Some(parent) = parent {
            self.make(parent)?;
        }
        let failed = |error| match bad_path(&error, path) {
            Some(bad) => bad,
            None => SiteError::io("make", self.directory.join(path))(error),
        };
        let mode = if Path::new(path).starts_with(PRIVATE) {
            0o700
        } else {
            0o755
        };
        match self.root.create_dir(path) {
            Ok(()) => {
                self.root
                    .set_permissions(path, PermissionsExt::from_mode(mode))
                    .map_err(failed)?;
                self.changed.insert(parent.unwrap_or(".").to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !self.root.metadata(path).map_err(failed)?.is_dir() {
                    return Err(failed(io::ErrorKind::NotADirectory.into()));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        self.there.insert(path.to_owned());
        Ok(())
    }
}

/// An error that says that a path leads out of the site is the path's fault, not the file system's.
pub(super) fn bad_path(error: &io::Error, path: &str) -> Option<SiteError> {
    // The kernel's own refusals have a number, those of the directory handle have none.
    let escapes = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
    escapes.then(|| SiteError::BadPath(path.to_owned()))
}

/// Have files or directories on disk. Together, since the file system's journal then writes them together.
fn sync<'a>(root: &Dir, directory: &Path, paths: impl IntoIterator<Item = &'a str>) -> Result<(), SiteError> {
    let paths: Vec<_> = paths.into_iter().collect();
    if paths.len() > MANY {
        let whole = root.open(".").and_then(|opened| Ok(rustix::fs::syncfs(opened)?));
        return whole.map_err(SiteError::io("write", directory));
    }
    threads::map(&paths, SYNCS, |path| {
        root.open(path)
            .and_then(|opened| opened.sync_all())
            .map_err(SiteError::io("write", directory.join(path)))
    })
    .map(drop)
}

fn parent_of(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

impl From<(u64, &SitePath)> for Placement {
    fn from((staged, path): (u64, &SitePath)) -> Self {
        Self {
            staged,
            path: path.as_str().to_owned(),
        }
    }
}
