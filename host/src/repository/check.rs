//! Whether a repository is what it promises, from the signature down to each package's file.

use std::collections::BTreeSet;
use std::fs::File;

use apt_repository::existing::Existing;
use apt_repository::generations::Records;
use apt_repository::host::Transaction as _;
use apt_repository::index::IndexName;
use apt_repository::operate::{self, Changes, PoolFile};
use apt_repository::pieces::Edits;
use apt_repository::release::Listed;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::{Desk, Done, RepositoryError};
use crate::capability::site::Digest;
use crate::keys::Role;

/// How long before its end a key is a problem: all clients have to get it again.
const SOON: Duration = Duration::days(30);

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
            for what in self.check_times(records, OffsetDateTime::now_utc()) {
                found(existing.path("InRelease"), what);
            }
        }
        let listed = existing.release.iter().flat_map(|release| &release.files);
        for (path, listed) in listed {
            // What only unpacking makes need not be there.
            let optional = IndexName::from_path(path).is_some();
            for (path, optional) in [(path.clone(), optional), (by_hash(path, &listed.sha256), true)] {
                let path = existing.path(&path);
                if let Some(what) = self.check_listed(&path, listed, optional) {
                    found(path, what);
                }
            }
        }
        Ok(())
    }

    /// What has run out, or soon will.
    fn check_times(&self, records: &Records, now: OffsetDateTime) -> Vec<String> {
        let mut problems = Vec::new();
        let millis = now.unix_timestamp_nanos() / 1_000_000;
        let left = records.valid_until.map(|until| i128::from(until) - millis);
        match (left, records.valid_for) {
            (Some(left), _) if left <= 0 => problems.push("it is not valid any more: clients refuse it".to_owned()),
            // distbot signs anew when half of the time is over.
            (Some(left), Some(valid_for)) if left < i128::from(valid_for) / 4 => problems.push(format!(
                "clients will refuse it in {} h, and distbot should have signed it anew by now (is it running?)",
                left / (60 * 60 * 1000)
            )),
            _ => {}
        }
        let key = self.native.keys.find_any(&records.key).ok();
        match key.and_then(|key| key.expires) {
            Some(expires) if expires <= now => problems.push(format!(
                "its key {} has expired: clients refuse it (foundry-host key extend)",
                records.key
            )),
            Some(expires) if expires - now < SOON => problems.push(format!(
                "its key {} expires in {} days: extend it, and have clients get it anew (foundry-host key extend)",
                records.key,
                (expires - now).whole_days()
            )),
            _ => {}
        }
        problems
    }

    fn check_listed(&self, path: &str, listed: &Listed, optional: bool) -> Option<String> {
        let file = PoolFile {
            path: path.to_owned(),
            size: Some(listed.size),
            sha256: Some(listed.sha256.clone()),
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
        let promised = file.sha256.as_ref().filter(|_| deep)?;
        match File::open(&path).and_then(Digest::of_reader) {
            Ok(digest) if digest.sha256 == *promised => None,
            Ok(digest) => Some(format!("its SHA-256 is {}, and {promised} is promised", digest.sha256)),
            Err(error) => Some(format!("it can't be read: {error}")),
        }
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

fn by_hash(path: &str, sha256: &str) -> String {
    let directory = path
        .rsplit_once('/')
        .map_or(String::new(), |(directory, _)| format!("{directory}/"));
    format!("{directory}by-hash/SHA256/{sha256}")
}
