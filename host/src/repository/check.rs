//! Whether a repository is what it promises, from the signature down to each package's file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::Arc;

use apt_repository::existing::{Existing, records_path};
use apt_repository::expiry;
use apt_repository::failure::Failure;
use apt_repository::generations::Records;
use apt_repository::host::{Host as _, Transaction as _};
use apt_repository::index::{Index, IndexName};
use apt_repository::operate::{self, PoolFile};
use apt_repository::release::Listed;
use serde::Serialize;

use super::describe::undescribed;
use super::{Desk, RepositoryError};
use crate::capability::site::{Digest, sha512_of};
use crate::keys::{Fingerprint, Role, TrustedKeys, VerifyError};

/// Where the tables of texts in pieces are.
const TEXTS: &str = ".foundry/texts";

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

/// Files, and what is wrong with each.
pub(super) type Findings = Vec<(String, String)>;

impl Desk {
    /// Look for problems in a suite, or in all. `deep` reads all packages, and not only their sizes; and superseded indices.
    ///
    /// # Errors
    /// [`RepositoryError`] if there is no such suite.
    pub fn check(&self, suite: Option<&str>, deep: bool) -> Result<Vec<Problem>, RepositoryError> {
        let suites = match suite {
            Some(suite) => vec![suite.to_owned()],
            None => self.suites_and_remains()?.into_iter().collect(),
        };
        let mut problems = Vec::new();
        for suite in suites {
            let found = self.check_suite(&suite, deep)?;
            problems.extend(found.into_iter().map(|(path, what)| Problem {
                suite: suite.clone(),
                path,
                what,
            }));
        }
        Ok(problems)
    }

    /// The suites that there are, and those of which the `Release` is lost.
    pub(super) fn suites_and_remains(&self) -> Result<BTreeSet<String>, RepositoryError> {
        Ok(operate::suites_and_remains(&self.transaction)?)
    }

    fn check_suite(&self, suite: &str, deep: bool) -> Result<Findings, RepositoryError> {
        self.known_suite(suite)?;
        // Without what can't be read the rest is looked at all the same. Nothing of this is committed.
        let mut found = self.set_aside(suite)?;
        let existing = Existing::read(&self.transaction, suite)?;
        for problem in self.check_signatures(suite, &existing)? {
            // What is set aside is not missing.
            if !found.iter().any(|(path, _)| *path == problem.0) {
                found.push(problem);
            }
        }
        if let Some(records) = &existing.records {
            // Whether the key is here at all is for the signature to show.
            let expires = self.native.expires(&records.key).ok().flatten();
            let problems = expiry::problems(records, expires, self.native.now());
            found.extend(problems.into_iter().map(|what| (existing.path("InRelease"), what)));
        }
        found.extend(self.check_listed_files(&existing));
        found.extend(self.check_tables(&existing)?);
        if deep {
            found.extend(self.check_superseded(&existing)?);
        }
        let (mut files, mut lacking) = (BTreeSet::new(), BTreeSet::new());
        for name in existing.names() {
            match existing.whole(&name) {
                Ok(index) => {
                    let index = index.unwrap_or_default();
                    lacking.extend(undescribed(&existing, &name, &index));
                    files.extend(index.entries().iter().flat_map(operate::files));
                }
                Err(Failure::Repository(why)) => found.push((existing.path(&name.to_string()), why)),
                Err(other) => return Err(other.into()),
            }
        }
        found.extend(lacking);
        let packages = files.into_iter();
        found.extend(packages.filter_map(|file| self.check_file(&file, deep).map(|what| (file.path, what))));
        Ok(found)
    }

    /// Take those of a suite's own records out of the transaction that can't be read, so that the rest can; and an
    /// `InRelease` that was altered, if there is a `Release` that was not.
    pub(super) fn set_aside(&self, suite: &str) -> Result<Findings, RepositoryError> {
        let mut damaged = Existing::damaged(&self.transaction, suite)?;
        for (path, _) in &damaged {
            self.transaction.remove(path)?;
        }
        let [signed, release, detached] = signed_files(suite);
        let read = |path: &str| self.transaction.read(path);
        if let (Some(signed_text), Some(plain), Some(signature)) = (read(&signed)?, read(&release)?, read(&detached)?) {
            let trusted = self.trusted(suite)?;
            let sound = || trusted.verify_detached(&plain, &signature).is_ok();
            if let Err(why) = trusted
                .verify_clear_signed(&signed_text)
                .map_err(|why| not_signed(&why))
                && sound()
            {
                self.transaction.remove(&signed)?;
                damaged.push((signed, why));
            }
        }
        Ok(damaged)
    }

    /// Whose signatures count for a suite: those of its keys in the store, and of keys of the GnuPG ring only of those that its
    /// own record or the operator names. What another key of the user has signed would get the repository's own signature
    /// from a repair.
    fn trusted(&self, suite: &str) -> Result<Arc<TrustedKeys>, Failure> {
        let records = self.transaction.read(&records_path(suite))?;
        let records: Option<Records> = records.and_then(|json| serde_json::from_slice(&json).ok());
        let recorded = records
            .iter()
            .flat_map(|records| records.older_keys.iter().chain([&records.key]));
        let mut of_ring: Vec<Fingerprint> = recorded.filter_map(|key| key.parse().ok()).collect();
        if let Some(key) = &self.key {
            // Whether that is one key is for signing with it to say.
            of_ring.extend(self.native.keys.find_any(key).ok().map(|key| key.fingerprint));
        }
        let believed = self.native.keys.trusted_with_gnupg(Role::Repository, &of_ring);
        let believed = believed.map_err(|error| Failure::Signing(error.to_string()))?;
        for why in believed.unknown {
            tracing::warn!("a key of the GnuPG ring may be missing where the signatures of {suite} are checked: {why}");
        }
        Ok(believed.keys)
    }

    /// What is wrong with the signed files of a suite.
    pub(super) fn check_signatures(&self, suite: &str, existing: &Existing<'_>) -> Result<Findings, RepositoryError> {
        let mut found = Findings::new();
        let trusted = self.trusted(suite)?;
        let [signed, release, detached] = signed_files(suite);
        let mut text = None;
        match self.transaction.read(&signed)? {
            None => found.push((signed, "it is missing".to_owned())),
            Some(bytes) => match trusted.verify_clear_signed(&bytes) {
                Ok(verified) => text = Some(verified.text),
                Err(why) => found.push((signed, not_signed(&why))),
            },
        }
        // Others need not have them.
        let needed = existing.records.is_some();
        let (plain, signature) = (self.transaction.read(&release)?, self.transaction.read(&detached)?);
        match (&plain, &signature) {
            (Some(plain), Some(signature)) => {
                if let Err(why) = trusted.verify_detached(plain, signature) {
                    found.push((detached, format!("it is not the signature of Release: {why}")));
                }
            }
            (Some(_), None) if needed => found.push((detached, "it is missing".to_owned())),
            _ => {}
        }
        match (plain, text) {
            (Some(plain), Some(text)) if !is_same_text(&plain, &text) => {
                found.push((release, "it says something else than InRelease".to_owned()));
            }
            (None, _) if needed => found.push((release, "it is missing".to_owned())),
            _ => {}
        }
        Ok(found)
    }

    /// What is wrong with the files that the `Release` lists.
    pub(super) fn check_listed_files(&self, existing: &Existing<'_>) -> Findings {
        let mut found = Findings::new();
        for (path, listed, optional) in listed_files(existing) {
            if let Some(what) = self.check_listed(&path, listed, optional) {
                found.push((path, what));
            }
        }
        found
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

    /// Which tables of texts say what isn't so. One that is lost, or is of other files, is made anew when it is needed.
    pub(super) fn check_tables(&self, existing: &Existing<'_>) -> Result<Findings, RepositoryError> {
        let mut found = Findings::new();
        let Some(release) = &existing.release else {
            return Ok(found);
        };
        for path in release.files.keys().filter(|path| release.is_only_unpacked(path)) {
            let path = existing.path(path);
            let lie = match self.transaction.examine(&path)? {
                None => self.misplaced(existing, &path)?,
                lie => lie,
            };
            if let Some(lie) = lie {
                let what = format!("it does not say how the files of {path} came to be: {lie}");
                found.push((format!("{TEXTS}/{path}.json"), what));
            }
        }
        Ok(found)
    }

    /// A piece of an index that doesn't begin with the package that it is known by.
    fn misplaced(&self, existing: &Existing<'_>, path: &str) -> Result<Option<String>, RepositoryError> {
        let below = path.strip_prefix(&existing.path("")).unwrap_or_default();
        let (Some(_), Some(text)) = (IndexName::from_path(below), self.transaction.text(path)?) else {
            return Ok(None);
        };
        for (number, piece) in text.pieces.iter().enumerate() {
            let bytes = self.transaction.read_piece(path, number)?;
            let index = Index::parse(&String::from_utf8_lossy(&bytes)).unwrap_or_default();
            let first = index.entries().first().map_or("", |entry| &entry.package);
            if piece.label.trim_start() != first {
                return Ok(Some(format!(
                    "piece {number} begins with {first:?}, not with {:?}",
                    piece.label
                )));
            }
        }
        Ok(None)
    }

    /// Which superseded indices have other bytes than their names say.
    pub(super) fn check_superseded(&self, existing: &Existing<'_>) -> Result<Findings, RepositoryError> {
        let current: BTreeSet<_> = listed_files(existing).into_iter().map(|(path, ..)| path).collect();
        let mut found = Findings::new();
        for path in self.transaction.list(existing.path("").trim_end_matches('/'))? {
            let digest = |kind: &str| {
                let (_, digest) = path.rsplit_once(&format!("/by-hash/{kind}/"))?;
                Some(digest.to_owned())
            };
            let file = PoolFile {
                path: path.clone(),
                size: None,
                sha256: digest("SHA256"),
                sha512: digest("SHA512"),
            };
            if let Some(what) = self.check_file(&file, true).filter(|_| !current.contains(&path)) {
                found.push((path, what));
            }
        }
        Ok(found)
    }

    pub(super) fn check_file(&self, file: &PoolFile, deep: bool) -> Option<String> {
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
}

/// The files that a suite's `Release` lists, by their own names and by those of their digests; and whether each need not
/// be there.
fn listed_files<'a>(existing: &'a Existing<'_>) -> Vec<(String, &'a Listed, bool)> {
    let mut files = Vec::new();
    let Some(release) = &existing.release else {
        return files;
    };
    for (path, listed) in &release.files {
        // What only unpacking makes need not be there; others publish it, or not.
        let optional = release.is_only_unpacked(path) || IndexName::from_path(path).is_some();
        files.push((existing.path(path), listed, optional));
        let optional = optional || existing.records.is_none();
        let names = listed.by_hash(path);
        files.extend(names.map(|name| (existing.path(&name), listed, optional)));
    }
    files
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

/// What of a suite is signed: with its signature, without it, and the signature.
fn signed_files(suite: &str) -> [String; 3] {
    ["InRelease", "Release", "Release.gpg"].map(|file| format!("dists/{suite}/{file}"))
}

fn not_signed(why: &VerifyError) -> String {
    format!("its signature does not hold: {why}")
}

/// Whether a text is what was signed, of which neither trailing blanks nor the last line's end are a part.
fn is_same_text(plain: &[u8], signed: &[u8]) -> bool {
    let lines = |text: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(text).into_owned();
        text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    };
    lines(plain) == lines(signed)
}
