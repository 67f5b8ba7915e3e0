//! How long superseded versions stay in a suite: one rule for what a publication takes out, and for what an operator does.

use std::collections::{BTreeMap, BTreeSet};

use crate::addition::Addition;
use crate::existing::Existing;
use crate::failure::Failure;
use crate::host::{Host, Transaction};
use crate::index::{Entry, Index, IndexName, Key};
use crate::operate;
use crate::pieces::Edits;
use crate::suite::Update;

/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Which versions of a package stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// So many of the newest for each architecture, in any case.
    pub versions: usize,
    /// Others until their files are so many days old.
    pub days: u64,
}

impl Retention {
    /// Whether a package that newer ones have superseded has been there for long enough.
    ///
    /// # Errors
    /// The host's.
    pub fn is_over(&self, entry: &Entry, host: &dyn Host, transaction: &dyn Transaction) -> Result<bool, Failure> {
        if self.days == 0 {
            return Ok(true);
        }
        let Some(file) = operate::files(entry).into_iter().next() else {
            return Ok(false);
        };
        // What is missing is for `repair`.
        let made = transaction.modified(&file.path)?;
        Ok(made.is_some_and(|made| made.saturating_add(self.days.saturating_mul(DAY)) <= host.now()))
    }

    /// The packages of an index that are to go; `is_over` says of superseded ones whether they have been there for long enough.
    ///
    /// # Errors
    /// Those of `is_over`.
    pub fn superseded<'a>(
        &self,
        index: &'a Index,
        mut is_over: impl FnMut(&Entry) -> Result<bool, Failure>,
    ) -> Result<Vec<&'a Entry>, Failure> {
        let mut superseded = Vec::new();
        for entry in beyond(index, self.versions) {
            if is_over(entry)? {
                superseded.push(entry);
            }
        }
        Ok(superseded)
    }
}

/// All but the newest versions of each package, for each architecture.
fn beyond(index: &Index, versions: usize) -> impl Iterator<Item = &Entry> {
    let mut newer: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    // From the end, where the newest versions are.
    index.entries().iter().rev().filter(move |entry| {
        let newer = newer.entry((&entry.package, &entry.architecture)).or_default();
        *newer += 1;
        *newer > versions
    })
}

impl Update<'_> {
    /// Have edits take out what their packages supersede.
    pub(crate) fn retire(&self, existing: &Existing<'_>, name: &IndexName, edits: &mut Edits) -> Result<(), Failure> {
        let Some(retention) = self.settings.keep.filter(|_| !edits.insert.is_empty()) else {
            return Ok(());
        };
        let packages: BTreeSet<&str> = edits.insert.iter().map(|entry| entry.package.as_str()).collect();
        let mut index = self.packages(existing, name, &packages)?;
        index.merge(edits.insert.clone())?;
        let is_over = |entry: &Entry| retention.is_over(entry, self.host, self.transaction);
        let superseded = retention.superseded(&index, is_over)?;
        let gone: BTreeSet<_> = superseded.into_iter().map(Entry::key).collect();
        // One that comes too late doesn't come at all.
        edits.insert.retain(|entry| !gone.contains(&entry.key()));
        edits.remove.extend(gone);
        Ok(())
    }

    /// Those of some packages that the suite doesn't have, once they were added: newer ones have superseded them.
    ///
    /// # Errors
    /// [`Failure`] if the suite can't be read.
    pub fn superseded(&self, additions: &[Addition]) -> Result<BTreeSet<Key>, Failure> {
        let mut keys: BTreeSet<_> = additions.iter().map(Addition::key).collect();
        if self.settings.keep.is_none() {
            return Ok(BTreeSet::new());
        }
        let packages = keys.iter().map(|key| key.package.clone()).collect::<Vec<_>>();
        let packages = packages.iter().map(String::as_str).collect();
        let existing = Existing::read(self.transaction, self.codename)?;
        for name in existing.names() {
            let index = self.packages(&existing, &name, &packages)?;
            keys.retain(|key| !index.has(key));
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_versions_of_each_architecture_stay() {
        let paragraph = |(package, version, architecture): (&str, &str, &str)| {
            format!("Package: {package}\nVersion: {version}\nArchitecture: {architecture}\nFilename: x\n\n")
        };
        let packages = [
            ("a", "1.9", "amd64"),
            ("a", "1.10", "amd64"),
            ("a", "1.2", "amd64"),
            ("a", "1.1", "all"),
            ("b", "1", "amd64"),
            ("b", "2", "amd64"),
        ];
        let index = Index::parse(&packages.map(paragraph).concat()).unwrap();
        let beyond = |versions| -> Vec<_> {
            let entries = beyond(&index, versions).map(|entry| format!("{}={}", entry.package, entry.version));
            entries.collect()
        };
        assert_eq!(beyond(1), ["b=1", "a=1.9", "a=1.2"]);
        assert_eq!(beyond(2), ["a=1.2"]);
        assert_eq!(beyond(3), Vec::<String>::new());
    }
}
