//! Whether a file in the pool is still what was published. The disk, or another program, may have changed it since, and
//! whatever an index says of it gets our signature.

use std::collections::{BTreeMap, BTreeSet};

use apt_repository::failure::Failure;
use apt_repository::provenance::Provenance;
use apt_repository::settings::Settings;

use crate::guest::SiteTransaction;
use crate::suites::ask_all;

/// A file in the pool that is not the one of its name that a build has.
pub(crate) struct Doubt<'a> {
    pub(crate) path: &'a str,
    /// By what an index has it.
    pub(crate) package: &'a str,
    /// SHA-256 of what is there.
    pub(crate) found: &'a str,
    /// SHA-256 of what the build has.
    pub(crate) offered: &'a str,
}

/// Files whose digests were known before. Of those that were not, what to say if one has to be.
pub(crate) struct Vouched {
    unknown: BTreeMap<String, Failure>,
}

impl Vouched {
    /// Compare files with what the version's record says of them, and the repository's suites.
    ///
    /// # Errors
    /// [`Failure::Repository`] if one was published with other bytes.
    pub(crate) fn of(
        mut doubts: Vec<Doubt<'_>>,
        record: Option<&Provenance>,
        transaction: &SiteTransaction,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let recorded = |doubt: &Doubt<'_>| record?.digests.get(doubt.path).map(String::as_str);
        doubts.retain(|doubt| recorded(doubt) != Some(doubt.found));
        let mut unknown = BTreeMap::new();
        if doubts.is_empty() {
            return Ok(Self { unknown });
        }
        let promised = promised(&doubts, transaction, settings)?;
        for doubt in doubts {
            let listed = promised.get(doubt.path);
            if listed.is_some_and(|listed| listed.contains(doubt.found)) {
                continue;
            }
            let before = recorded(&doubt).or_else(|| listed?.first().map(String::as_str));
            let Some(before) = before else {
                unknown.insert(doubt.path.to_owned(), doubt.is_unknown());
                continue;
            };
            return Err(doubt.is_damaged(before));
        }
        Ok(Self { unknown })
    }

    /// See that a file is what was published.
    ///
    /// # Errors
    /// [`Failure::Repository`] if nobody knows.
    pub(crate) fn require(&self, path: &str) -> Result<(), Failure> {
        self.unknown.get(path).map_or(Ok(()), |failure| Err(failure.clone()))
    }
}

impl Doubt<'_> {
    fn is_damaged(&self, published: &str) -> Failure {
        Failure::Repository(format!(
            "{} is damaged: its SHA-256 is {}, and {published} was published (`foundry-host repo check DIR --deep` finds what \
             else is; put the file back, or have `repo repair DIR SUITE` take it out of each suite and `repo gc DIR` remove it, \
             and build the commit again)",
            self.path, self.found
        ))
    }

    fn is_unknown(&self) -> Failure {
        Failure::Repository(format!(
            "{} may be damaged: its SHA-256 is {}, this build's is {}, and neither a suite nor a record says which one was \
             published (`foundry-host repo check DIR --deep` finds what else is damaged; `repo repair DIR SUITE` mends it, \
             `repo gc DIR` removes files that no suite has; then build the commit again)",
            self.path, self.found, self.offered
        ))
    }
}

/// What suites say of files, whoever made them: SHA-256 by path.
fn promised(
    doubts: &[Doubt<'_>],
    transaction: &SiteTransaction,
    settings: &Settings,
) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let packages: BTreeSet<_> = doubts.iter().map(|doubt| doubt.package).collect();
    let paths: BTreeSet<_> = doubts.iter().map(|doubt| doubt.path).collect();
    let mut promised: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let files = ask_all(transaction, settings, |suite| suite.promised(&packages), |_, _| ())?;
    for file in files.into_iter().filter(|file| paths.contains(file.path.as_str())) {
        promised.entry(file.path).or_default().extend(file.sha256);
    }
    Ok(promised)
}
