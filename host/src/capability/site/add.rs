//! Files that never change, and how they come into a transaction: one by one, or many at a time by hard links.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, PermissionsExt};

use super::apply::{STAGING, staged_path};
use super::path::SitePath;
use super::transaction::{Change, Transaction, failed, make_staging};
use super::{Digest, SiteError, threads};
use crate::package;

/// A file on its way into a site: write it at its path, then [`add`](Transaction::add) it.
#[derive(Debug)]
pub struct StagedFile {
    staged: u64,
    path: PathBuf,
}

impl StagedFile {
    /// Where to write it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file that is kept elsewhere: on disk for certain, and never written to.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where it goes.
    pub path: String,
    /// What its SHA-256 has to be.
    pub sha256: String,
    /// Where it is.
    pub file: PathBuf,
}

/// What has a path once files were added where there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What is there.
    pub digest: Digest,
    /// Whether it was added, and not there before.
    pub is_new: bool,
}

/// What other bytes at a path are to the one who adds a file there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtherBytes {
    /// An error: nothing is added.
    Conflict,
    /// What the path has, and keeps.
    Stay,
}

/// A kept file with its place in the transaction.
#[derive(Debug)]
struct Arrival {
    kept: Kept,
    path: SitePath,
    /// What is at its path already, if anything may be.
    there: Option<String>,
    staged: u64,
}

/// What became of an arrival.
#[derive(Debug)]
struct Arrived {
    digest: Digest,
    /// None if it was there.
    change: Option<Change>,
}

impl Transaction {
    /// Look whether a file that never changes is there already.
    ///
    /// # Errors
    /// [`SiteError::Conflict`] if it is there with other bytes than `sha256` says; others if it can't be read.
    pub async fn present(&self, path: &str, sha256: &str) -> Result<Option<Digest>, SiteError> {
        match self.digest_of(path).await? {
            Some(digest) if digest.sha256 != sha256 => Err(SiteError::Conflict {
                path: path.to_owned(),
                existing: digest.sha256,
                new: sha256.to_owned(),
            }),
            there => Ok(there),
        }
    }

    /// The digests of a file, as it would be after the transaction; none if there is none.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad, or the file can't be read.
    pub async fn digest_of(&self, path: &str) -> Result<Option<Digest>, SiteError> {
        self.open()?;
        let path = SitePath::parse(path)?;
        match self.changes.get(&path) {
            Some(Change::Add { digest, .. }) => Ok(Some(digest.clone())),
            Some(Change::Remove) => Ok(None),
            staged => {
                let source = match staged.and_then(Change::staged) {
                    Some(staged) => staged_path(STAGING, staged),
                    None => path.as_str().to_owned(),
                };
                let name = path.clone();
                self.blocking(
                    move |root, directory| match root.open(&source).and_then(Digest::of_reader) {
                        Ok(digest) => Ok(Some(digest)),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                        Err(error) => Err(failed("read", directory, name.as_str())(error)),
                    },
                )
                .await
            }
        }
    }

    /// A place on the site's own file system for a file that [`add`](Self::add) is going to take.
    ///
    /// # Errors
    /// [`SiteError`] if the staging directory can't be made.
    pub async fn reserve(&mut self) -> Result<StagedFile, SiteError> {
        self.open()?;
        let staged = self.number();
        self.blocking(make_staging).await?;
        Ok(StagedFile {
            staged,
            path: self.directory.join(staged_path(STAGING, staged)),
        })
    }

    /// Add the file that was written to a reserved place, as a file that never changes: the same bytes may be there.
    ///
    /// # Errors
    /// [`SiteError::Conflict`] if other bytes are there; others if the path is bad or the file can't be read.
    pub async fn add(&mut self, path: &str, file: StagedFile) -> Result<Digest, SiteError> {
        self.open()?;
        let parsed = SitePath::parse(path)?;
        let source = staged_path(STAGING, file.staged);
        let digest = self
            .blocking(move |root, directory| {
                make_readable(root, &source)
                    .and_then(|()| Digest::of_reader(root.open(&source)?))
                    .map_err(failed("read", directory, &source))
            })
            .await?;
        if let Some(there) = self.present(path, &digest.sha256).await? {
            return Ok(there);
        }
        self.changes.insert(
            parsed,
            Change::Add {
                staged: file.staged,
                digest: digest.clone(),
                kept: false,
            },
        );
        Ok(digest)
    }

    /// Add files that are kept elsewhere, as files that never change: the same bytes may be there. They get another name
    /// where the file system can give them one, and are copied otherwise. Returns their digests, in the same order.
    ///
    /// # Errors
    /// [`SiteError::Conflict`] if other bytes are there; others if a path is bad or a file isn't what it should be.
    pub async fn add_kept(&mut self, files: Vec<Kept>) -> Result<Vec<Digest>, SiteError> {
        let placed = self.place(files, OtherBytes::Conflict).await?;
        Ok(placed.into_iter().map(|placed| placed.digest).collect())
    }

    /// The same for files whose paths have none yet: what is there stays, whatever its bytes. Returns what has each path
    /// then, in the same order.
    ///
    /// # Errors
    /// [`SiteError::Conflict`] if two of the files have one path and other bytes; others if a path is bad or a file isn't
    /// what it should be.
    pub async fn add_missing(&mut self, files: Vec<Kept>) -> Result<Vec<Placed>, SiteError> {
        self.place(files, OtherBytes::Stay).await
    }

    async fn place(&mut self, files: Vec<Kept>, other: OtherBytes) -> Result<Vec<Placed>, SiteError> {
        self.open()?;
        let mut arrivals: BTreeMap<SitePath, Arrival> = BTreeMap::new();
        let mut order = Vec::with_capacity(files.len());
        for kept in files {
            let path = SitePath::parse(&kept.path)?;
            order.push(path.clone());
            match arrivals.get(&path) {
                Some(other) if other.kept.sha256 == kept.sha256 => {}
                Some(other) => {
                    return Err(SiteError::Conflict {
                        path: kept.path,
                        existing: other.kept.sha256.clone(),
                        new: kept.sha256,
                    });
                }
                None => {
                    let (there, staged) = (self.source(&path), self.number());
                    arrivals.insert(
                        path.clone(),
                        Arrival {
                            kept,
                            path,
                            there,
                            staged,
                        },
                    );
                }
            }
        }
        let arrivals: Vec<_> = arrivals.into_values().collect();
        let arrived = self
            .blocking(move |root, directory| {
                make_staging(root, directory)?;
                let arrived = threads::map(&arrivals, threads::cores(), |arrival| {
                    arrival.settle(root, directory, other)
                })?;
                Ok(arrivals.into_iter().map(|arrival| arrival.path).zip(arrived))
            })
            .await?;
        let mut placed = BTreeMap::new();
        for (path, Arrived { digest, change }) in arrived {
            let is_new = change.is_some();
            if let Some(change) = change {
                self.changes.insert(path.clone(), change);
            }
            placed.insert(path, Placed { digest, is_new });
        }
        Ok(order.iter().filter_map(|path| placed.get(path).cloned()).collect())
    }
}

impl Transaction {
    /// The files in a Debian package, as the site would be after the transaction: without directories, sorted.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad, or there is no package.
    pub async fn package_files(&self, path: &str) -> Result<Vec<String>, SiteError> {
        self.open()?;
        let path = SitePath::parse(path)?;
        let source = self
            .source(&path)
            .ok_or_else(|| SiteError::NotWritten(path.to_string()))?;
        self.blocking(move |root, directory| {
            let file = root.open(&source).map_err(failed("read", directory, path.as_str()))?;
            package::files(&file.into_std()).map_err(|source| SiteError::NotAPackage {
                path: directory.join(path.as_str()),
                source,
            })
        })
        .await
    }
}

impl Arrival {
    fn settle(&self, root: &Dir, directory: &Path, other: OtherBytes) -> Result<Arrived, SiteError> {
        if let Some(there) = &self.there {
            match root.open(there).and_then(Digest::of_reader) {
                Ok(digest) if digest.sha256 == self.kept.sha256 || other == OtherBytes::Stay => {
                    return Ok(Arrived { digest, change: None });
                }
                Ok(digest) => {
                    return Err(SiteError::Conflict {
                        path: self.kept.path.clone(),
                        existing: digest.sha256,
                        new: self.kept.sha256.clone(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("read", directory, &self.kept.path)(error)),
            }
        }
        let staged = staged_path(STAGING, self.staged);
        let linked = self.link(root, &directory.join(&staged), &staged);
        if !linked {
            std::fs::copy(&self.kept.file, directory.join(&staged))
                .and_then(|_| make_readable(root, &staged))
                .map_err(SiteError::io("copy", &self.kept.file))?;
        }
        let digest = root.open(&staged).and_then(Digest::of_reader);
        let digest = digest.map_err(failed("read", directory, &staged))?;
        if digest.sha256 != self.kept.sha256 {
            return Err(SiteError::NotAsPromised {
                file: self.kept.file.clone(),
                found: digest.sha256,
                promised: self.kept.sha256.clone(),
            });
        }
        let change = Change::Add {
            staged: self.staged,
            digest: digest.clone(),
            kept: linked,
        };
        Ok(Arrived {
            digest,
            change: Some(change),
        })
    }

    /// Give it another name. False if it has to be copied: it is on another file system, has too many names, or is not ours.
    fn link(&self, root: &Dir, target: &Path, staged: &str) -> bool {
        if std::fs::hard_link(&self.kept.file, target).is_err() {
            return false;
        }
        let readable = make_readable(root, staged).is_ok();
        // Best effort: what stays makes the copy fail, which says why.
        readable || std::fs::remove_file(target).is_err()
    }
}

/// Web servers may read it, whatever the umask was.
fn make_readable(root: &Dir, path: &str) -> io::Result<()> {
    if root.metadata(path)?.permissions().mode() & 0o777 == 0o644 {
        return Ok(());
    }
    root.set_permissions(path, PermissionsExt::from_mode(0o644))
}
