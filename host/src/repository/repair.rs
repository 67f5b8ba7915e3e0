//! Mending what is damaged: from whatever is left that says the same.

use std::collections::BTreeSet;

use apt_repository::existing::Existing;
use apt_repository::failure::Failure;
use apt_repository::host::Transaction as _;
use apt_repository::operate::{self, Changes, Contents};
use apt_repository::pieces::Edits;

use super::check::Findings;
use super::{Desk, Done, RepositoryError};

impl Desk {
    /// Mend a suite: packages whose files are missing or damaged are taken out, indices and what describes them are written
    /// anew from what is left of them, superseded ones that are damaged go, and all is signed again.
    ///
    /// # Errors
    /// [`RepositoryError::Lost`] if nothing is left of an index, or of what is signed. Nothing has changed then.
    pub fn repair(&self, suite: &str, dry_run: bool) -> Result<Done, RepositoryError> {
        self.known_suite(suite)?;
        let mut damaged = self.set_aside(suite)?;
        self.release_is_left(suite, &damaged)?;
        let existing = Existing::read(&self.transaction, suite)?;
        damaged.extend(self.check_signatures(suite, &existing)?);
        damaged.extend(self.check_tables(&existing)?);
        let superseded = self.check_superseded(&existing)?;
        let listed = self.check_listed_files(&existing);
        for (path, _) in listed.iter().chain(&superseded) {
            // What it said comes from a sibling in another compression or of another name.
            self.transaction.remove(path)?;
        }
        let (contents, lost) = self.contents_left(&existing)?;
        if !lost.is_empty() {
            return Err(self.lost(suite, &lost));
        }
        let anew = Edits {
            rewrite: true,
            ..Edits::default()
        };
        let mut changes: Changes = contents.keys().map(|name| (name.clone(), anew.clone())).collect();
        for (name, index) in &contents {
            for entry in index.entries() {
                let is_whole = |file| self.check_file(&file, true).is_none();
                let edits = changes.entry(name.clone()).or_default();
                if operate::files(entry).into_iter().all(is_whole) {
                    edits.insert.extend(self.described(entry));
                } else {
                    edits.remove.push(entry.key());
                }
            }
        }
        // One of the signed files that isn't there has all of them written.
        self.transaction.remove(&existing.path("Release.gpg"))?;
        let done = self.apply(suite, suite, &contents, changes, dry_run)?;
        let mended: BTreeSet<_> = damaged.into_iter().chain(listed).map(|(path, _)| path).collect();
        Ok(Done {
            mended: mended.into_iter().collect(),
            files: superseded.into_iter().map(|(path, _)| path).collect(),
            ..done
        })
    }

    /// The packages of the indices of which anything is left, and what is the matter with the others.
    pub(super) fn contents_left(&self, existing: &Existing<'_>) -> Result<(Contents, Findings), RepositoryError> {
        let (mut contents, mut lost) = (Contents::new(), Findings::new());
        for name in existing.names() {
            match existing.whole(&name) {
                Ok(index) => contents.extend(index.map(|index| (name, index))),
                Err(Failure::Repository(why)) => lost.push((name.to_string(), why)),
                Err(other) => return Err(other.into()),
            }
        }
        Ok((contents, lost))
    }

    /// See that there is a `Release` to go by: if it isn't the one of `InRelease`, then one whose own signature holds, since
    /// the end of a text that is cut off is not missed.
    pub(super) fn release_is_left(&self, suite: &str, aside: &Findings) -> Result<(), RepositoryError> {
        let existing = Existing::read(&self.transaction, suite)?;
        let path = existing.path("InRelease");
        let is_set_aside = aside.iter().any(|(other, _)| *other == path);
        let is_missing = existing.records.is_some() && !existing.has("InRelease")?;
        let detached = existing.path("Release.gpg");
        let problems = self.check_signatures(suite, &existing)?;
        let is_at_fault = |file: &str| problems.iter().any(|(path, _)| path == file);
        // Whatever nobody of this suite has signed must not get its signature from here.
        let doubtful = is_set_aside || is_missing || is_at_fault(&path);
        let holds = existing.has("Release.gpg")? && !is_at_fault(&detached);
        if existing.release.is_some() && (!doubtful || holds) {
            return Ok(());
        }
        Err(RepositoryError::Lost(format!(
            "neither {path} nor a Release beside it can be read with a signature of the suite's (remove both, and distbot writes them anew with its next \
             refresh, from the indices that are there)"
        )))
    }

    fn lost(&self, suite: &str, lost: &Findings) -> RepositoryError {
        let snapshots = self.snapshots(Some(suite)).unwrap_or_default();
        let names: Vec<_> = snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
        let back = match names.as_slice() {
            [] => String::new(),
            _ => format!(
                "go back to a snapshot with foundry-host repo rollback, of which there are: {}; or ",
                names.join(", ")
            ),
        };
        let whats: Vec<_> = lost.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        RepositoryError::Lost(format!(
            "nothing is left that says which packages are in {suite}: {} ({back}bring one of the files back from a backup or a \
             mirror, under its own name or that of its digest, and repair again)",
            whats.join("; ")
        ))
    }
}
