//! What a suite has promised of files in the pool: by this one that was changed behind our back is known.

use std::collections::BTreeSet;

use crate::existing::Existing;
use crate::failure::Failure;
use crate::operate::{self, PoolFile};
use crate::suite::Update;

impl Update<'_> {
    /// The files of packages with these names, as the suite lists them.
    ///
    /// # Errors
    /// [`Failure`] if the suite can't be read.
    pub fn promised(&self, packages: &BTreeSet<&str>) -> Result<BTreeSet<PoolFile>, Failure> {
        let existing = Existing::read(self.transaction, self.codename)?;
        let mut files = BTreeSet::new();
        for name in existing.names() {
            let index = self.packages(&existing, &name, packages)?;
            files.extend(index.entries().iter().flat_map(operate::files));
        }
        Ok(files)
    }
}
