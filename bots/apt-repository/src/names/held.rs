//! What an archive holds: the memory of names from before there were records, and of packages that came otherwise than by a
//! publication.

use std::collections::BTreeSet;

use super::claim;
use crate::existing::Existing;
use crate::failure::Failure;
use crate::index::{Entry, IndexName};
use crate::operate;
use crate::suite::Update;

/// A binary package in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub package: String,
    /// The source package that it names.
    pub source: String,
    /// Whether clients install it unasked, or refuse to remove it.
    pub is_essential: bool,
}

impl Held {
    /// What an index says of a package; none of a source package.
    #[must_use]
    pub fn of(index: &IndexName, entry: &Entry) -> Option<Self> {
        matches!(index, IndexName::Binary { .. }).then(|| Self {
            package: entry.package.clone(),
            source: operate::source(entry).to_owned(),
            is_essential: claim::mark(|field| entry.field(field)).is_some(),
        })
    }
}

impl Update<'_> {
    /// The binary packages of some names that the suite has. Only the pieces of indices that can have them are read.
    ///
    /// # Errors
    /// [`Failure`] if the suite can't be read, or not all of it: what it lacks then would be anybody's.
    pub fn held(&self, packages: &BTreeSet<&str>) -> Result<Vec<Held>, Failure> {
        let existing = Existing::read(self.transaction, self.codename)?;
        existing.require_release()?;
        let mut held = Vec::new();
        for name in existing.names() {
            if self.pieces(&existing, &name)?.is_none() {
                existing.require_whole(&name)?;
            }
            let index = self.packages(&existing, &name, packages)?;
            held.extend(index.entries().iter().filter_map(|entry| Held::of(&name, entry)));
        }
        Ok(held)
    }
}
