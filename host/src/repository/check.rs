//! Whether a repository is what it promises, from the signature down to each package's file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use apt_repository::existing::Existing;
use apt_repository::expiry;
use apt_repository::host::{Host as _, Transaction as _};
use apt_repository::operate::{self, Changes, PoolFile};
use apt_repository::pieces::Edits;
use apt_repository::release::Listed;
use serde::Serialize;

use super::{Desk, Done, RepositoryError};
use crate::capability::site::{Digest, sha512_of};
use crate::keys::Role;

/// Something that clients will stumble over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The suite.
    pub suite: String,
    /// The file, below the repository's directory.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

impl Desk {
    /// Look for problems in a suite, or in all. `deep` reads all packages, and not only their sizes.
    ///
    /// # Errors
    /// [`RepositoryError`] if there is no such suite.
    pub fn check(&self, suite: Option<&str>, deep: bool) -> Result<Vec<Problem>, RepositoryError> {
        let suites = match suite {
            Some(suite) => vec![suite.to_owned()],
            None => self.suites()?,
        };
        let mut problems = Vec::new();
        for suite in suites {
            let mut found = |path: String, what: String| {
                problems.push(Problem {
                    suite: suite.clone(),
                    path,
                    what,
                });
            };
            self.check_metadata(&suite, &mut found)?;
            let contents = match self.contents(&suite) {
                Ok(contents) => contents,
                Err(RepositoryError::Refused(why)) => {
                    found(format!("dists/{suite}"), why.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let entries = contents.values().flat_map(|index| index.entries());
            let files: BTreeSet<_> = entries.flat_map(operate::files).collect();
            for file in files {
                if let Some(what) = self.check_file(&file, deep) {
                    found(file.path, what);
                }
            }
        }
        Ok(problems)
    }

    fn check_metadata(&self, suite: &str, found: &mut impl FnMut(String, String)) -> Result<(), RepositoryError> {
        let existing = Existing::read(&self.transaction, suite)?;
        let signed = existing.path("InRelease");
        match self.transaction.read(&signed)? {
            None => found(signed, "it is missing".to_owned()),
            Some(bytes) => {
                let trusted = self.native.keys.trusted(Role::Repository);
                let verified = trusted.map_err(|error| error.to_string());
                let verified =
                    verified.and_then(|keys| keys.verify_clear_signed(&bytes).map_err(|error| error.to_string()));
                if let Err(why) = verified {
                    found(signed, format!("its signature does not hold: {why}"));
                }
            }
        }
        if let Some(records) = &existing.records {
            // Whether the key is here at all is for the signature to show.
            let expires = self.native.expires(&records.key).ok().flatten();
            for what in expiry::problems(records, expires, self.native.now()) {
                found(existing.path("InRelease"), what);
            }
        }
        let Some(release) = &existing.release else {
            return Ok(());
        };
        for (path, listed) in &release.files {
            let names = listed.by_hash(path).map(|name| (name, true));
            for (path, optional) in [(path.clone(), release.is_only_unpacked(path))]
                .into_iter()
                .chain(names)
            {
                let path = existing.path(&path);
                if let Some(what) = self.check_listed(&path, listed, optional) {
                    found(path, what);
                }
            }
        }
        Ok(())
    }

    fn check_listed(&self, path: &str, listed: &Listed, optional: bool) -> Option<String> {
        let file = PoolFile {
            path: path.to_owned(),
            size: Some(listed.size),
            sha256: Some(listed.sha256.clone()),
            sha512: listed.sha512.clone(),
        };
        if optional && !self.directory.join(path).exists() {
            return None;
        }
        self.check_file(&file, true)
    }

    fn check_file(&self, file: &PoolFile, deep: bool) -> Option<String> {
        let path = self.directory.join(&file.path);
        let metadata = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some("it is missing".to_owned()),
            Err(error) => return Some(format!("it can't be read: {error}")),
            Ok(metadata) => metadata,
        };
        if let Some(size) = file.size.filter(|size| *size != metadata.len()) {
            return Some(format!("it has {} bytes, and {size} are promised", metadata.len()));
        }
        if !deep {
            return None;
        }
        let sha256 = |file| Digest::of_reader(file).map(|digest| digest.sha256);
        differs("SHA-256", file.sha256.as_ref(), || File::open(&path).and_then(sha256)).or_else(|| {
            differs("SHA-512", file.sha512.as_ref(), || {
                File::open(&path).and_then(sha512_of)
            })
        })
    }

    /// Mend a suite: packages whose files are missing or damaged are taken out, damaged indices are written anew from what
    /// is left of them, and all is signed again.
    ///
    /// # Errors
    /// [`RepositoryError`] if nothing is left of an index.
    pub fn repair(&self, suite: &str, dry_run: bool) -> Result<Done, RepositoryError> {
        let existing = Existing::read(&self.transaction, suite)?;
        for (path, listed) in existing.release.iter().flat_map(|release| &release.files) {
            let path = existing.path(path);
            if self.check_listed(&path, listed, true).is_some() {
                // Its contents come from a sibling in another compression.
                self.transaction.remove(&path)?;
            }
        }
        let contents = self.contents(suite)?;
        let anew = Edits {
            rewrite: true,
            ..Edits::default()
        };
        let mut changes: Changes = contents.keys().map(|name| (name.clone(), anew.clone())).collect();
        for (name, index) in &contents {
            for entry in index.entries() {
                if operate::files(entry)
                    .iter()
                    .any(|file| self.check_file(file, true).is_some())
                {
                    changes.entry(name.clone()).or_default().remove.push(entry.key());
                }
            }
        }
        self.apply(suite, suite, &contents, changes, dry_run)
    }
}

/// How a digest is not the one that is promised; none if it is, or none is.
fn differs(name: &str, promised: Option<&String>, found: impl FnOnce() -> io::Result<String>) -> Option<String> {
    let promised = promised?;
    match found() {
        Ok(found) if found == *promised => None,
        Ok(found) => Some(format!("its {name} is {found}, and {promised} is promised")),
        Err(error) => Some(format!("it can't be read: {error}")),
    }
}
