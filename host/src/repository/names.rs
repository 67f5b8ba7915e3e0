//! Who may provide which packages, in an operator's hands.

use std::collections::BTreeSet;

use apt_repository::host::Transaction as _;
use apt_repository::names::held::Held;
use apt_repository::names::store::Records;
use apt_repository::names::{Names, recorded_name};
use serde::Serialize;

use super::{Desk, RepositoryError};

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Permission {
    /// A repository may provide a source package.
    Source {
        /// The source package.
        name: String,
        /// URL or path of the repository, as its events have it.
        from: String,
    },
    /// A source package may provide a binary package.
    Binary {
        /// The binary package.
        name: String,
        /// The source package.
        from: String,
    },
    /// A binary package may be one that clients install unasked, or refuse to remove.
    Essential {
        /// The binary package.
        name: String,
    },
}

impl Permission {
    fn binary(&self) -> Option<&str> {
        match self {
            Self::Source { .. } => None,
            Self::Binary { name, .. } | Self::Essential { name } => Some(name),
        }
    }

    /// Grant or take it. Returns whether that changes anything.
    fn apply(&self, names: &mut Names, allowed: bool) -> bool {
        match (self, allowed) {
            (Self::Source { name, from }, true) => names.allow_source(name, from),
            (Self::Source { name, from }, false) => names.forbid_source(name, from),
            (Self::Binary { name, from }, true) => names.allow_binary(name, from),
            (Self::Binary { name, from }, false) => names.forbid_binary(name, from),
            (Self::Essential { name }, allowed) => names.allow_essential(name, allowed),
        }
    }
}

impl Desk {
    /// All that is on record.
    ///
    /// # Errors
    /// [`RepositoryError`] if a record can't be read.
    pub fn permissions(&self) -> Result<Vec<Permission>, RepositoryError> {
        let records = Records::read_all(&self.transaction)?;
        let mut permissions = Vec::new();
        for (name, repositories) in records.names.sources() {
            let of = |from: &String| Permission::Source {
                name: name.clone(),
                from: from.clone(),
            };
            permissions.extend(repositories.iter().map(of));
        }
        for (name, provided) in records.names.binaries() {
            let of = |from: &String| Permission::Binary {
                name: name.clone(),
                from: from.clone(),
            };
            permissions.extend(provided.sources.iter().map(of));
            let essential = Permission::Essential { name: name.clone() };
            permissions.extend(provided.essential.then_some(essential));
        }
        Ok(permissions)
    }

    /// Grant permissions, or take them. Returns those that were not so before.
    ///
    /// # Errors
    /// [`RepositoryError`] if records or suites can't be read, or the records can't be written.
    pub fn allow(&self, permissions: &[Permission], allowed: bool) -> Result<Vec<Permission>, RepositoryError> {
        let mut records = Records::read_all(&self.transaction)?;
        let unknown: BTreeSet<_> = permissions
            .iter()
            .filter_map(Permission::binary)
            .filter(|name| records.names.is_unknown(name))
            .map(recorded_name)
            .collect();
        // A record replaces what the archive holds as its memory.
        records.names.remember(&self.held(&unknown)?);
        let mut changed = permissions.to_vec();
        changed.retain(|permission| permission.apply(&mut records.names, allowed));
        if !changed.is_empty() && records.write(&self.transaction)? {
            self.transaction.commit(&[])?;
        }
        Ok(changed)
    }

    /// What the suites have of binary packages, by the names that they are recorded by.
    fn held(&self, names: &BTreeSet<&str>) -> Result<Vec<Held>, RepositoryError> {
        let mut held = Vec::new();
        if names.is_empty() {
            return Ok(held);
        }
        for suite in self.suites()? {
            for (index, packages) in self.contents(&suite)? {
                let of = packages.entries().iter().filter_map(|entry| Held::of(&index, entry));
                held.extend(of.filter(|held| names.contains(recorded_name(&held.package))));
            }
        }
        Ok(held)
    }
}
