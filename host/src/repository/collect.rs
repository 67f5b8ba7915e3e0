//! Removing what nothing refers to any more.

use std::collections::BTreeSet;

use apt_repository::existing::Existing;
use apt_repository::host::Transaction as _;
use apt_repository::operate::{self, Contents};
use apt_repository::provenance::{self, Provenance};

use super::{Desk, Done, RepositoryError};

impl Desk {
    /// Remove the files of the pool that no suite and no snapshot has, and superseded indices of which no records are left.
    ///
    /// # Errors
    /// [`RepositoryError`] if a suite can't be read: its files would be lost.
    pub fn gc(&self, dry_run: bool) -> Result<Done, RepositoryError> {
        let mut needed = BTreeSet::new();
        let mut need = |contents: Contents| {
            let entries = contents.values().flat_map(|index| index.entries());
            needed.extend(entries.flat_map(operate::files).map(|file| file.path));
        };
        for suite in self.suites()? {
            need(self.contents(&suite)?);
        }
        for snapshot in self.snapshots(None)? {
            need(self.snapshot_contents(&snapshot)?);
        }
        let mut done = Done::default();
        let mut unneeded = self.transaction.list("pool")?;
        unneeded.retain(|file| !needed.contains(file));
        for suite in self.suites()? {
            unneeded.extend(self.forgotten(&suite)?);
        }
        unneeded.extend(self.stale_provenance(&unneeded)?);
        for file in unneeded {
            done.bytes += std::fs::metadata(self.directory.join(&file)).map_or(0, |metadata| metadata.len());
            self.transaction.remove(&file)?;
            done.files.push(file);
        }
        if !dry_run && !done.files.is_empty() {
            self.transaction.commit(&[])?;
        }
        Ok(done)
    }

    /// Records of the commits of versions, none of whose files stays in the pool.
    fn stale_provenance(&self, removed: &[String]) -> Result<Vec<String>, RepositoryError> {
        let mut published: BTreeSet<_> = self.transaction.list("pool")?.into_iter().collect();
        for file in removed {
            published.remove(file);
        }
        let mut stale = Vec::new();
        for path in self.transaction.list(provenance::DIRECTORY)? {
            let record = Provenance::read(&self.transaction, &path)?;
            if record.is_none_or(|record| !record.is_in_force(&published)) {
                stale.push(path);
            }
        }
        Ok(stale)
    }

    /// Files of a suite that were found by their digests, and that neither its `Release` nor its records have any more.
    fn forgotten(&self, suite: &str) -> Result<Vec<String>, RepositoryError> {
        let existing = Existing::read(&self.transaction, suite)?;
        // What another program made is that one's to know.
        let (Some(records), Some(release)) = (&existing.records, &existing.release) else {
            return Ok(Vec::new());
        };
        let current = release.by_hash();
        let directory = existing.path("");
        let mut files = self.transaction.list(directory.trim_end_matches('/'))?;
        files.retain(|file| {
            let below = file.strip_prefix(&directory).unwrap_or_default();
            below.contains("/by-hash/") && !current.contains_key(below) && !records.keeps(below)
        });
        Ok(files)
    }
}
