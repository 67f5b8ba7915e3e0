//! One writer per site; the others queue.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, MetadataExt, OpenOptions};
use tokio::sync::OwnedMutexGuard;

use super::transaction::Transaction;
use super::{Closed, PRIVATE, SiteError, TRANSACTIONS, apply, layout};

/// How long to wait between attempts at a lock that another process holds.
const POLL: Duration = Duration::from_millis(20);

/// A site's device and inode, the same whatever path leads there.
type Identity = (u64, u64);

/// Every site of this process, by its identity; a queue lives as long as someone is in it.
#[derive(Debug, Default)]
pub struct Sites {
    queues: Mutex<HashMap<Identity, Weak<tokio::sync::Mutex<()>>>>,
    /// Directories of which it was already said that other users can't reach them. As many as bots publish into.
    closed: Mutex<HashSet<PathBuf>>,
}

/// The right to write to one site. Dropped, or with its process dead, the next in the queue gets it.
#[derive(Debug)]
pub(super) struct SiteLock {
    // Declared first: other processes come before those of this process that wait for the queue.
    _file: File,
    _turn: OwnedMutexGuard<()>,
}

impl Sites {
    /// No site is open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Open a transaction on a directory, which is made if need be. Waits until no one else writes to it, and finishes
    /// what a writer that died had committed.
    ///
    /// # Errors
    /// [`SiteError`] if the directory holds something else than an APT repository, or can't be used.
    pub async fn begin(&self, directory: &Path) -> Result<Transaction, SiteError> {
        let path = directory.to_owned();
        let root = blocking(move || open(&path)).await?;
        let turn = self.queue(&root, directory)?.lock_owned().await;
        let root = Arc::new(root);
        let (lock_root, path) = (Arc::clone(&root), directory.to_owned());
        let file = blocking(move || open_lock(&lock_root, &path)).await?;
        while !try_lock(&file, directory)? {
            // Polled, since a thread that blocks in flock could not be called back when the message's time is up.
            tokio::time::sleep(POLL).await;
        }
        let lock = SiteLock {
            _file: file,
            _turn: turn,
        };
        let (recovered, path) = (Arc::clone(&root), directory.to_owned());
        let lock = blocking(move || apply::recover(&recovered, &path).map(|()| lock)).await?;
        Ok(Transaction::new(root, directory.to_owned(), lock))
    }

    /// Which directory keeps other users from what is published in `directory`. Returned once per process for each
    /// directory, and again after it was open in the meantime.
    #[must_use]
    pub fn newly_closed(&self, directory: &Path) -> Option<Closed> {
        let closed = Closed::on_the_way_to(directory);
        let mut known = self.closed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if closed.is_none() {
            known.remove(directory);
            return None;
        }
        closed.filter(|_| known.insert(directory.to_owned()))
    }

    fn queue(&self, root: &Dir, directory: &Path) -> Result<Arc<tokio::sync::Mutex<()>>, SiteError> {
        let metadata = root.dir_metadata().map_err(SiteError::io("read", directory))?;
        let mut queues = self.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        queues.retain(|_, queue| queue.strong_count() > 0);
        let place = queues.entry((metadata.dev(), metadata.ino())).or_default();
        Ok(place.upgrade().unwrap_or_else(|| {
            let queue = Arc::default();
            *place = Arc::downgrade(&queue);
            queue
        }))
    }
}

fn open(directory: &Path) -> Result<Dir, SiteError> {
    make_public(directory).map_err(SiteError::io("make", directory))?;
    let root = Dir::open_ambient_dir(directory, ambient_authority()).map_err(SiteError::io("open", directory))?;
    layout::check(&root, directory)?;
    Ok(root)
}

/// Make a directory and those above it. What is made can be entered by everybody, whatever the umask is: it is there to be
/// published.
fn make_public(directory: &Path) -> io::Result<()> {
    let made = match (std::fs::create_dir(directory), directory.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            make_public(parent)?;
            std::fs::create_dir(directory)
        }
        (made, _) => made,
    };
    match made {
        Ok(()) => std::fs::set_permissions(directory, Permissions::from_mode(0o755)),
        // Also by another writer, at this moment.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn open_lock(root: &Dir, directory: &Path) -> Result<File, SiteError> {
    // Web servers run as another user, so they can't read what isn't published yet.
    let mut private = DirBuilder::new();
    private.recursive(true).mode(0o700);
    root.create_dir_with(TRANSACTIONS, &private)
        .map_err(SiteError::io("make", directory.join(TRANSACTIONS)))?;
    let path = format!("{PRIVATE}/lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    let file = root
        .open_with(&path, &options)
        .map_err(SiteError::io("open", directory.join(&path)))?;
    Ok(file.into_std())
}

/// The file is never removed: two processes could each lock another file of that name.
fn try_lock(file: &File, directory: &Path) -> Result<bool, SiteError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(SiteError::io("lock", directory.join(PRIVATE).join("lock"))(error))
        }
    }
}

/// Run file system work where it may block, to its end even if its caller gives up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SiteError> + Send + 'static,
) -> Result<T, SiteError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(SiteError::Stopping))
}
