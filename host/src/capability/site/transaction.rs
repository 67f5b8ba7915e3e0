//! A change to a site, from its beginning to its commit.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use foundry_broker::killpoint;

use super::apply::{self, Placement, Plan, STAGING, bad_path, staged_path};
use super::lock::{SiteLock, blocking};
use super::mirror::{self, Mirror, MirrorState};
use super::path::{SitePath, is_hosts};
use super::texts::Known;
use super::{Digest, SiteError};

/// Largest file that is read into memory.
const MAX_READ: u64 = 512 * 1024 * 1024;

/// Largest part of a file that is read at once.
const MAX_PART: u64 = 16 * 1024 * 1024;

/// A change to a site. Nothing is visible before [`commit`](Self::commit); dropped without it, nothing happened.
#[derive(Debug)]
pub struct Transaction {
    root: Arc<Dir>,
    pub(super) directory: PathBuf,
    /// The right to write; given up at the end.
    lock: Option<SiteLock>,
    pub(super) changes: BTreeMap<SitePath, Change>,
    next: u64,
    pub(super) known: Known,
}

#[derive(Debug)]
pub(super) enum Change {
    /// A staged file replaces what is there.
    Write { staged: u64 },
    /// A staged file that never changes again.
    Add {
        staged: u64,
        digest: Digest,
        /// Whether its bytes are on disk for certain.
        kept: bool,
    },
    /// The file goes away.
    Remove,
}

impl Change {
    pub(super) fn staged(&self) -> Option<u64> {
        match self {
            Self::Write { staged } | Self::Add { staged, .. } => Some(*staged),
            Self::Remove => None,
        }
    }

    /// The staged file, if it has to be written to disk before the commit.
    fn dirty(&self) -> Option<u64> {
        match self {
            Self::Add { kept: true, .. } => None,
            other => other.staged(),
        }
    }
}

impl Transaction {
    pub(super) fn new(root: Arc<Dir>, directory: PathBuf, lock: SiteLock) -> Self {
        Self {
            root,
            directory,
            lock: Some(lock),
            changes: BTreeMap::new(),
            next: 0,
            known: Known::default(),
        }
    }

    /// A file as it would be after the transaction; none if there is none.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad or the file can't be read.
    pub async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, SiteError> {
        self.open()?;
        let path = SitePath::parse(path)?;
        let Some(source) = self.source(&path) else {
            return Ok(None);
        };
        self.blocking(move |root, directory| match read(root, &source) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", directory, path.as_str())(error)),
        })
        .await
    }

    /// A part of a file as it would be after the transaction: at most `length` bytes from an offset, and [`MAX_PART`]; less
    /// at the file's end. `None` if there is no file.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad or the file can't be read.
    pub async fn read_part(&self, path: &str, offset: u64, length: u32) -> Result<Option<Vec<u8>>, SiteError> {
        self.open()?;
        let path = SitePath::parse(path)?;
        let Some(source) = self.source(&path) else {
            return Ok(None);
        };
        let length = u64::from(length).min(MAX_PART);
        self.blocking(move |root, directory| match read_part(root, &source, offset, length) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", directory, path.as_str())(error)),
        })
        .await
    }

    /// The paths of the files below a directory (the empty path is the site), as they are before the transaction, sorted.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad or the directory can't be read.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, SiteError> {
        self.open()?;
        if !path.is_empty() {
            SitePath::parse(path)?;
        }
        let path = path.to_owned();
        self.blocking(move |root, directory| {
            let mut files = Vec::new();
            list(root, &path, &mut files).map_err(failed("read", directory, &path))?;
            files.sort_unstable();
            Ok(files)
        })
        .await
    }

    /// Write a file; it replaces what is there.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad or there is no space.
    pub async fn write(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), SiteError> {
        self.open()?;
        let path = SitePath::parse(path)?;
        let staged = self.number();
        let source = staged_path(STAGING, staged);
        self.blocking(move |root, directory| {
            make_staging(root, directory)?;
            create(root, &source)
                .and_then(|mut file| file.write_all(&bytes))
                .map_err(failed("write", directory, &source))
        })
        .await?;
        self.changes.insert(path, Change::Write { staged });
        Ok(())
    }

    /// When a file's bytes were written, in milliseconds since 1970; none if there is no file.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad or the file can't be looked at.
    pub async fn modified(&self, path: &str) -> Result<Option<u64>, SiteError> {
        self.open()?;
        let path = SitePath::parse(path)?;
        let Some(source) = self.source(&path) else {
            return Ok(None);
        };
        self.blocking(move |root, directory| match root.metadata(&source) {
            Ok(metadata) => {
                let millis = metadata.mtime().saturating_mul(1000) + metadata.mtime_nsec() / 1_000_000;
                Ok(Some(u64::try_from(millis).unwrap_or_default()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", directory, path.as_str())(error)),
        })
        .await
    }

    /// Remove a file; it need not exist.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad.
    pub fn remove(&mut self, path: &str) -> Result<(), SiteError> {
        self.open()?;
        self.changes.insert(SitePath::parse(path)?, Change::Remove);
        Ok(())
    }

    /// Make everything visible: added and new files first, then `last` in their order, each by one rename; removals at the
    /// end. The transaction is over then, and the next writer has its turn.
    ///
    /// # Errors
    /// [`SiteError`] if there is no space, for instance. Nothing is visible then; unless the disk fails when the changes
    /// are already certain, in which case whoever opens the site next finishes them.
    pub async fn commit(&mut self, last: &[String]) -> Result<(), SiteError> {
        let lock = self.lock.take().ok_or(SiteError::Over)?;
        let changes = std::mem::take(&mut self.changes);
        let dirty = changes.values().filter_map(Change::dirty).collect();
        let plan = plan(changes, last)?;
        self.blocking(move |root, directory| {
            // To its end, and with the lock, even if the caller gives up.
            let _lock = lock;
            if plan == Plan::default() {
                return apply::remove_tree(root, directory, STAGING);
            }
            // One that only removes has staged nothing.
            make_staging(root, directory)?;
            killpoint::pass("site-staged");
            plan.commit(root, directory, &dirty)?;
            apply::finish(root, directory)
        })
        .await
    }

    /// The copy that follows the site, as it is; none if there is none.
    ///
    /// # Errors
    /// [`SiteError`] if the record of it can't be read.
    pub async fn mirror(&self) -> Result<Option<MirrorState>, SiteError> {
        self.open()?;
        self.blocking(mirror::state).await
    }

    /// Have the site copied there, now and after each change; none for nowhere. Not a part of the transaction: it is in
    /// force at once.
    ///
    /// # Errors
    /// [`SiteError::Mirror`] if not everything could be copied. All is as before then.
    pub async fn set_mirror(&self, mirror: Option<Mirror>) -> Result<(), SiteError> {
        self.open()?;
        self.blocking(move |root, directory| mirror::set(root, directory, mirror))
            .await
    }

    /// Where a file's bytes are, as they would be after the transaction; none if it goes away.
    pub(super) fn source(&self, path: &SitePath) -> Option<String> {
        match self.changes.get(path).map(Change::staged) {
            Some(None) => None,
            Some(Some(staged)) => Some(staged_path(STAGING, staged)),
            None => Some(path.as_str().to_owned()),
        }
    }

    pub(super) fn open(&self) -> Result<(), SiteError> {
        if self.lock.is_some() {
            Ok(())
        } else {
            Err(SiteError::Over)
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Dir, &Path) -> Result<T, SiteError> + Send + 'static,
    ) -> Result<T, SiteError> {
        let (root, directory) = (Arc::clone(&self.root), self.directory.clone());
        blocking(move || work(&root, &directory)).await
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        if self.next == 0 {
            return;
        }
        let (root, directory) = (Arc::clone(&self.root), self.directory.clone());
        let sweep = move || {
            // What can't be swept now is swept by the next writer, who reports it if it can't either.
            let _ = apply::remove_tree(&root, &directory, STAGING);
            drop(lock);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(sweep)),
            Err(_) => sweep(),
        }
    }
}

/// The order in which changes take effect.
fn plan(mut changes: BTreeMap<SitePath, Change>, last: &[String]) -> Result<Plan, SiteError> {
    let mut plan = Plan::default();
    for name in last {
        let path = SitePath::parse(name)?;
        match changes.remove(&path).as_ref().and_then(Change::staged) {
            Some(staged) => plan.last.push(Placement::from((staged, &path))),
            None => return Err(SiteError::NotWritten(name.clone())),
        }
    }
    for (path, change) in changes {
        match change.staged() {
            Some(staged) => plan.first.push(Placement::from((staged, &path))),
            None => plan.removals.push(path.as_str().to_owned()),
        }
    }
    Ok(plan)
}

pub(super) fn failed(action: &'static str, directory: &Path, path: &str) -> impl FnOnce(io::Error) -> SiteError {
    let (full, path) = (directory.join(path), path.to_owned());
    move |error| bad_path(&error, &path).unwrap_or_else(|| SiteError::io(action, full)(error))
}

pub(super) fn make_staging(root: &Dir, directory: &Path) -> Result<(), SiteError> {
    let mut private = DirBuilder::new();
    private.recursive(true).mode(0o700);
    root.create_dir_with(STAGING, &private)
        .map_err(SiteError::io("make", directory.join(STAGING)))
}

/// A new file that web servers may read, whatever the umask is.
pub(super) fn create(root: &Dir, path: &str) -> io::Result<cap_std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let file = root.open_with(path, &options)?;
    file.set_permissions(PermissionsExt::from_mode(0o644))?;
    Ok(file)
}

fn read(root: &Dir, path: &str) -> io::Result<Vec<u8>> {
    let file = root.open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(MAX_READ)).unwrap_or_default());
    file.take(MAX_READ + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_READ {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 512 MiB"));
    }
    Ok(bytes)
}

fn read_part(root: &Dir, path: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut file = root.open(path)?;
    file.seek(io::SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn list(root: &Dir, path: &str, files: &mut Vec<String>) -> io::Result<()> {
    let entries = match root.read_dir(if path.is_empty() { "." } else { path }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // A name that isn't text was not made by a bot, and no bot could say it.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        if path != super::PRIVATE && is_hosts(&path) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
