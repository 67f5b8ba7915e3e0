//! Repositories in an operator's hands: what `foundry-host repo` does.
//!
//! The engine is distbot's own crate, `apt-repository`, on the same transactions and with the same lock. So whatever an
//! operator does is published as safely as a package is, and bots wait for it as for each other.

mod check;
mod collect;
mod describe;
mod import;
mod names;
mod native;
#[cfg(test)]
mod published_tests;
mod repair;
mod snapshots;
#[cfg(test)]
mod trust_tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use apt_repository::existing::Existing;
use apt_repository::failure::Failure;
use apt_repository::host::{Host as _, Transaction as _};
use apt_repository::index::{Entry, IndexName};
use apt_repository::operate::{self, Changes, Contents, Selection};
use apt_repository::page::Record;
use apt_repository::pieces::Sizes;
use apt_repository::retention::Retention;
use apt_repository::settings::Settings;
use apt_repository::suite::Update;
use serde::Serialize;
use thiserror::Error;

use crate::capability::site::{Mirror, MirrorState, SiteError, Sites};
use crate::keys::{KeyStore, PassphraseSource};

use native::{Native, SiteTransaction};

pub use check::Problem;
pub use names::{Decided, Permission};
pub use snapshots::Snapshot;

/// Where users get the key.
const KEY_FILE: &str = "key.asc";

/// Why an operation failed. Nothing has happened then.
#[derive(Debug, Error)]
pub enum RepositoryError {
    /// The directory holds no repository.
    #[error("there is no APT repository in {} (it has no directory dists)", .0.display())]
    NoRepository(PathBuf),
    /// The site can't be opened.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The repository has no such suite.
    #[error("there is no suite {suite} (there are: {there})")]
    NoSuite {
        /// The name.
        suite: String,
        /// Those that there are.
        there: String,
    },
    /// Another program signed the suite, and it isn't said who does from now on.
    #[error("nothing says which key signs {0} (say with --gpg-key which one of the key store does from now on)")]
    NoKey(String),
    /// Nothing matches.
    #[error("no package of {0} is meant by that")]
    NoPackage(String),
    /// The packages that were named are in no suite that was looked at.
    #[error("no package of {place} matches {packages}{hint}")]
    NotListed {
        /// What was named.
        packages: String,
        /// The suites that were looked at.
        place: String,
        /// Empty, or what was probably meant, in parentheses.
        hint: String,
    },
    /// There is no such snapshot, or there is one of that name.
    #[error("{0}")]
    Snapshot(String),
    /// Something is damaged, and nothing is left that says the same.
    #[error("{0}")]
    Lost(String),
    /// The engine refused.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The program is ending.
    #[error("cut off, because the program is ending")]
    Stopping,
}

/// A package in a suite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// Suite.
    pub suite: String,
    /// Component.
    pub component: String,
    /// Name.
    pub package: String,
    /// Version.
    pub version: String,
    /// Architecture; `source` for source packages.
    pub architecture: String,
    /// SHA-256 of the package, or of the .dsc.
    pub sha256: Option<String>,
}

/// What was done, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Packages that a suite has got.
    pub added: Vec<Package>,
    /// Packages that a suite has lost.
    pub removed: Vec<Package>,
    /// Files that were removed.
    pub files: Vec<String>,
    /// Bytes of those.
    pub bytes: u64,
    /// Files that were damaged or missing and are written anew, or describe what is left.
    pub mended: Vec<String>,
}

/// A repository, not yet locked.
#[derive(Debug)]
pub struct Repository {
    directory: PathBuf,
    native: Native,
    /// A key other than the one that signed last.
    key: Option<String>,
}

impl Repository {
    /// The repository in a directory, signed with the keys of a store; `key` if not with the one that signed it last.
    #[must_use]
    pub fn new(directory: PathBuf, keys: KeyStore, passphrases: PassphraseSource, key: Option<String>) -> Self {
        Self {
            directory,
            native: Native { keys, passphrases },
            key,
        }
    }

    /// Do something with it while no one else writes to it. The work may wait for the disk.
    ///
    /// # Errors
    /// [`RepositoryError`] if there is no repository, or the work fails.
    pub async fn open<T: Send + 'static>(
        self,
        work: impl FnOnce(&Desk) -> Result<T, RepositoryError> + Send + 'static,
    ) -> Result<T, RepositoryError> {
        // Opening would make a repository of an empty directory.
        if !self.directory.join("dists").is_dir() {
            return Err(RepositoryError::NoRepository(self.directory));
        }
        let transaction = Sites::new().begin(&self.directory).await?;
        let runtime = tokio::runtime::Handle::current();
        let worked = tokio::task::spawn_blocking(move || {
            let desk = Desk {
                directory: self.directory,
                native: self.native,
                key: self.key,
                transaction: SiteTransaction::new(runtime, transaction),
            };
            work(&desk)
        });
        worked.await.unwrap_or(Err(RepositoryError::Stopping))
    }
}

/// A repository that no one else writes to.
#[derive(Debug)]
pub struct Desk {
    directory: PathBuf,
    native: Native,
    key: Option<String>,
    transaction: SiteTransaction,
}

impl Desk {
    /// The suites that it has.
    ///
    /// # Errors
    /// [`RepositoryError`] if it can't be read.
    pub fn suites(&self) -> Result<Vec<String>, RepositoryError> {
        Ok(operate::suites(&self.transaction)?)
    }

    /// The packages that are meant, of one suite or all.
    ///
    /// # Errors
    /// [`RepositoryError`] if a suite isn't there or can't be read, or if packages were named and there are none of them.
    pub fn list(&self, suite: Option<&str>, selection: &Selection) -> Result<Vec<Package>, RepositoryError> {
        let suites = match suite {
            Some(suite) => vec![suite.to_owned()],
            None => self.suites()?,
        };
        let mut packages = BTreeSet::new();
        for suite in suites {
            for (name, index) in self.contents(&suite)? {
                let meant = index.entries().iter().filter(|entry| selection.has(&name, entry));
                packages.extend(meant.map(|entry| package(&suite, &name, entry)));
            }
        }
        if packages.is_empty() && !selection.packages.is_empty() {
            return Err(self.not_listed(suite, &selection.packages)?);
        }
        Ok(packages.into_iter().collect())
    }

    /// Why packages that were named are not listed. A suite's name is easily taken for an argument of `list`, since it is
    /// one of `show` and `remove`.
    fn not_listed(&self, suite: Option<&str>, packages: &[String]) -> Result<RepositoryError, RepositoryError> {
        let suites = self.suites()?;
        let hint = packages.iter().find(|name| suites.contains(name));
        let place = match (suite, suites.as_slice()) {
            (Some(suite), _) => format!("suite {suite}"),
            (None, [suite]) => format!("suite {suite}"),
            (None, suites) => format!("the suites {}", suites.join(", ")),
        };
        Ok(RepositoryError::NotListed {
            packages: packages.join(", "),
            place,
            hint: hint.map_or_else(String::new, |name| {
                format!(" ({name} is a suite: list its packages with --suite {name})")
            }),
        })
    }

    /// The paragraphs of the packages that are meant, without repetition.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn show(&self, suite: &str, selection: &Selection) -> Result<Vec<String>, RepositoryError> {
        let mut texts = Vec::new();
        for (name, index) in self.contents(suite)? {
            for entry in index.entries().iter().filter(|entry| selection.has(&name, entry)) {
                if !texts.contains(&entry.text) {
                    texts.push(entry.text.clone());
                }
            }
        }
        Ok(texts)
    }

    /// Have packages of one suite in another as well: all that are meant, or the newest where they are newer.
    ///
    /// # Errors
    /// [`RepositoryError`] if nothing is meant, or the other suite has other bytes.
    pub fn copy(
        &self,
        from: &str,
        to: &str,
        selection: &Selection,
        newest: bool,
        dry_run: bool,
    ) -> Result<Done, RepositoryError> {
        let source = self.contents(from)?;
        let target = if self.suites()?.iter().any(|suite| suite == to) {
            self.contents(to)?
        } else {
            Contents::new()
        };
        if operate::remove(&source, selection).is_empty() {
            return Err(RepositoryError::NoPackage(from.to_owned()));
        }
        let changes = if newest {
            operate::promote(&source, &target, selection)
        } else {
            operate::copy(&source, &target, selection)
        };
        self.apply(to, from, &target, changes, dry_run)
    }

    /// Take packages out of a suite. Their files stay until [`Self::gc`].
    ///
    /// # Errors
    /// [`RepositoryError`] if nothing is meant.
    pub fn remove(&self, suite: &str, selection: &Selection, dry_run: bool) -> Result<Done, RepositoryError> {
        let contents = self.contents(suite)?;
        let changes = operate::remove(&contents, selection);
        if changes.is_empty() {
            return Err(RepositoryError::NoPackage(suite.to_owned()));
        }
        self.apply(suite, suite, &contents, changes, dry_run)
    }

    /// Take versions out of a suite that newer ones have superseded, as a publication by distbot does, but of all packages that
    /// are meant. Files stay until [`Self::gc`], and as long as another suite or a snapshot has them.
    ///
    /// # Errors
    /// [`RepositoryError`] if there is no such suite.
    pub fn prune(
        &self,
        suite: &str,
        selection: &Selection,
        retention: Retention,
        dry_run: bool,
    ) -> Result<Done, RepositoryError> {
        let contents = self.contents(suite)?;
        let is_over = |entry: &Entry| retention.is_over(entry, &self.native, &self.transaction);
        let changes = operate::prune(&contents, selection, retention, is_over)?;
        self.apply(suite, suite, &contents, changes, dry_run)
    }

    /// The copy that follows the repository; none if there is none.
    ///
    /// # Errors
    /// [`RepositoryError`] if it can't be read.
    pub fn mirror(&self) -> Result<Option<MirrorState>, RepositoryError> {
        Ok(self.transaction.mirror()?)
    }

    /// Have the repository copied there, now and after each change; none for nowhere.
    ///
    /// # Errors
    /// [`RepositoryError`] if not everything could be copied. All is as before then.
    pub fn set_mirror(&self, mirror: Option<Mirror>) -> Result<(), RepositoryError> {
        Ok(self.transaction.set_mirror(mirror)?)
    }

    fn contents(&self, suite: &str) -> Result<Contents, RepositoryError> {
        self.known_suite(suite)?;
        Ok(operate::contents(&Existing::read(&self.transaction, suite)?)?)
    }

    /// See that there is such a suite.
    fn known_suite(&self, suite: &str) -> Result<(), RepositoryError> {
        let suites = self.suites_and_remains()?;
        if suites.contains(suite) {
            return Ok(());
        }
        Err(RepositoryError::NoSuite {
            suite: suite.to_owned(),
            there: Vec::from_iter(suites).join(", "),
        })
    }

    /// Change a suite, which is as `like` if it is new. `before` is what it has.
    fn apply(
        &self,
        suite: &str,
        like: &str,
        before: &Contents,
        changes: Changes,
        dry_run: bool,
    ) -> Result<Done, RepositoryError> {
        let mut done = Done::default();
        for (name, edits) in &changes {
            let index = before.get(name);
            // One that is there gets its description back.
            let new = |entry: &&Entry| !index.is_some_and(|index| index.has(&entry.key()));
            let come = edits.insert.iter().filter(new);
            done.added.extend(come.map(|entry| package(suite, name, entry)));
            let gone = index.into_iter().flat_map(|index| index.entries());
            let gone = gone.filter(|entry| edits.remove.contains(&entry.key()));
            done.removed.extend(gone.map(|entry| package(suite, name, entry)));
        }
        for packages in [&mut done.added, &mut done.removed] {
            packages.sort();
            packages.dedup();
        }
        if dry_run || changes.is_empty() {
            return Ok(done);
        }
        let last = self.change(suite, like, &changes)?;
        self.transaction.commit(&last)?;
        Ok(done)
    }

    /// Write a suite's changes; the commit is the caller's.
    fn change(&self, suite: &str, like: &str, changes: &Changes) -> Result<Vec<String>, RepositoryError> {
        let settings = |suite: &str| {
            let existing = Existing::read(&self.transaction, suite)?;
            Ok::<_, Failure>(Settings::of(&existing))
        };
        let mut settings = match settings(suite)? {
            Some(settings) => settings,
            None => Settings {
                suite: None,
                ..settings(like)?.ok_or_else(|| RepositoryError::NoPackage(like.to_owned()))?
            },
        };
        if let Some(key) = &self.key {
            settings.key.clone_from(key);
            settings.older_keys.clear();
            let public = self.native.public_key(key)?;
            self.transaction.write(KEY_FILE, public.as_bytes())?;
        } else if settings.key.is_empty() {
            return Err(RepositoryError::NoKey(suite.to_owned()));
        }
        let fingerprint = self.native.fingerprint(&settings.key)?;
        let update = Update {
            host: &self.native,
            transaction: &self.transaction,
            settings: &settings,
            fingerprint: &fingerprint,
            codename: suite,
            sizes: Sizes::default(),
        };
        let needed = changes.keys().cloned().collect();
        let last = update.change(&needed, |name| changes.get(name).cloned().unwrap_or_default())?;
        if let Some(page) = Record::read(&self.transaction)? {
            page.update(&self.transaction, &fingerprint, &[suite])?;
        }
        Ok(last)
    }
}

fn package(suite: &str, name: &IndexName, entry: &Entry) -> Package {
    Package {
        suite: suite.to_owned(),
        component: name.component().to_owned(),
        package: entry.package.clone(),
        version: entry.version.clone(),
        architecture: entry.architecture.clone(),
        sha256: entry.sha256.clone(),
    }
}

/// A path below a directory, for messages.
fn below(directory: &Path, path: &str) -> String {
    directory.join(path).display().to_string()
}
