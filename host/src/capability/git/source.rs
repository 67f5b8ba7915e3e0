//! The tree of one commit, checked out for one message.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::error::GitError;

/// The largest file that [`Source::read`] returns.
const MAX_READ: u64 = 1024 * 1024;

/// A directory of checkouts younger than this may not be locked yet by the process that makes it.
const YOUNG: Duration = Duration::from_secs(60);

/// What is known of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitInfo {
    /// Full id, lower-case hex.
    pub id: String,
    /// Committer's time, seconds since 1970.
    pub time: u64,
    /// Author, `Name <mail>`.
    pub author: String,
    /// First line of the message.
    pub summary: String,
    /// Its signature, as it is in the commit.
    pub signature: Option<RawSignature>,
}

/// A commit's signature, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawSignature {
    /// The armoured signature: the header `gpgsig`.
    pub signature: Vec<u8>,
    /// What it signs: the commit without that header.
    pub payload: Vec<u8>,
}

/// The tree of one commit, checked out for one message. It is removed when this is dropped.
#[derive(Debug)]
pub struct Source {
    info: CommitInfo,
    workspace: Workspace,
}

impl Source {
    pub(super) fn new(info: CommitInfo, workspace: Workspace) -> Self {
        Self { info, workspace }
    }

    /// The directory that holds the tree, without a `.git`.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.workspace.tree()
    }

    /// The commit.
    #[must_use]
    pub fn info(&self) -> &CommitInfo {
        &self.info
    }

    /// A file's bytes; none where there is no regular file, or only behind a symbolic link that leads out of the tree.
    ///
    /// # Errors
    /// [`GitError::BadRequest`] for a path that isn't relative and plain, and a file larger than 1 MiB.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        let what = || format!("cannot read {path:?} of the source");
        if path.is_empty()
            || !Path::new(path)
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(GitError::bad(what(), "it is not a plain relative path"));
        }
        let read = || -> io::Result<Option<Vec<u8>>> {
            // A `Dir` opens nothing outside of itself, whatever links there are.
            let file = Dir::open_ambient_dir(self.path(), ambient_authority())?.open(path)?;
            if !file.metadata()?.is_file() {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            file.take(MAX_READ + 1).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        match read() {
            Ok(Some(bytes)) if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_READ) => {
                Err(GitError::bad(what(), "it is larger than 1 MiB"))
            }
            Ok(content) => Ok(content),
            // Missing, a directory on the way that is none, or a link that leads out of the tree.
            Err(_) => Ok(None),
        }
    }
}

/// A directory for one checkout, which a lock marks as in use.
#[derive(Debug)]
pub(super) struct Workspace {
    directory: PathBuf,
    tree: PathBuf,
    /// Shows other processes, and ours after a restart, that somebody needs the directory.
    _lock: File,
}

impl Workspace {
    /// Make one in `parent`.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("checkout-").tempdir_in(parent)?.keep();
        let lock = File::create(directory.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let tree = directory.join("source");
        let workspace = Self {
            directory,
            tree,
            _lock: lock,
        };
        fs::DirBuilder::new().mode(0o755).create(&workspace.tree)?;
        Ok(workspace)
    }

    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Remove the checkouts in `parent` that killed processes left.
    pub(super) fn sweep(parent: &Path) -> io::Result<()> {
        for entry in fs::read_dir(parent)? {
            let directory = entry?.path();
            let in_use = match File::open(directory.join("lock")) {
                Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err(),
                Err(_) => is_young(&directory),
            };
            if !in_use {
                remove_tree(&directory)?;
            }
        }
        Ok(())
    }
}

fn is_young(directory: &Path) -> bool {
    let modified = fs::metadata(directory).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age < YOUNG))
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let directory = std::mem::take(&mut self.directory);
        let remove = move || {
            if let Err(error) = remove_tree(&directory) {
                tracing::warn!(directory = %directory.display(), %error, "cannot remove a checkout; the next start will");
            }
        };
        // Large trees take a while: that is no work for a thread that others wait for.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Remove a tree, also one whose directories were made unwritable by what was done with it.
pub(super) fn remove_tree(root: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(root)?;
            fs::remove_dir_all(root)
        }
        result => result,
    }
}

fn make_writable(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}
