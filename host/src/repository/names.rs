//! Who may provide which packages, in an operator's hands.

use std::collections::BTreeSet;

use apt_repository::existing::Existing;
use apt_repository::failure::Failure;
use apt_repository::host::Transaction as _;
use apt_repository::names::claim::Unread;
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

/// What came of granting permissions, or of taking them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// Those that were not so before.
    pub changed: Vec<Permission>,
    /// Suites that can't be read: what they have of the packages is not remembered.
    pub unread: Vec<String>,
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

    /// Grant permissions, or take them.
    ///
    /// # Errors
    /// [`RepositoryError`] if records or suites can't be read, or the records can't be written. Who says which source provides a
    /// binary package decides it, also while a suite can't be read that may have that package.
    pub fn allow(&self, permissions: &[Permission], allowed: bool) -> Result<Decided, RepositoryError> {
        let mut records = Records::read_all(&self.transaction)?;
        let unknown = |permission: &&Permission| permission.binary().is_some_and(|name| records.names.is_unknown(name));
        let unknown: Vec<_> = permissions.iter().filter(unknown).collect();
        let names: BTreeSet<_> = unknown
            .iter()
            .filter_map(|permission| permission.binary())
            .map(recorded_name)
            .collect();
        // A record replaces what the archive holds as its memory.
        let (held, unread) = self.held(&names)?;
        let is_decided = |permission: &&Permission| allowed && matches!(permission, Permission::Binary { .. });
        if let (Some(suite), false) = (unread.first(), unknown.iter().all(is_decided)) {
            return Err(Failure::Repository(suite.why.clone()).into());
        }
        records.names.remember(&held);
        let mut changed = permissions.to_vec();
        changed.retain(|permission| permission.apply(&mut records.names, allowed));
        if !changed.is_empty() && records.write(&self.transaction)? {
            self.transaction.commit(&[])?;
        }
        let unread = unread.into_iter().map(|suite| suite.codename).collect();
        Ok(Decided { changed, unread })
    }

    /// What the suites have of binary packages, by the names that they are recorded by; and the suites that can't be read, each
    /// with why.
    fn held(&self, names: &BTreeSet<&str>) -> Result<(Vec<Held>, Vec<Unread>), RepositoryError> {
        let (mut held, mut unread) = (Vec::new(), Vec::new());
        if names.is_empty() {
            return Ok((held, unread));
        }
        for suite in self.suites_and_remains()? {
            match self.held_by(&suite, names) {
                Ok(of_suite) => held.extend(of_suite),
                Err(Failure::Repository(why)) => unread.push(Unread { codename: suite, why }),
                Err(other) => return Err(other.into()),
            }
        }
        Ok((held, unread))
    }

    fn held_by(&self, suite: &str, names: &BTreeSet<&str>) -> Result<Vec<Held>, Failure> {
        let existing = Existing::read(&self.transaction, suite)?;
        existing.require_release()?;
        let mut held = Vec::new();
        for index in existing.names() {
            existing.require_whole(&index)?;
            let packages = existing.index(&index)?.unwrap_or_default();
            let of = packages.entries().iter().filter_map(|entry| Held::of(&index, entry));
            held.extend(of.filter(|held| names.contains(recorded_name(&held.package))));
        }
        Ok(held)
    }
}
