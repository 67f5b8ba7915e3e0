//! Snapshots: a suite's indices under a name, to which it can go back. They cost no space but the indices', and keep the
//! files of their packages from being collected.

use std::collections::BTreeSet;

use apt_repository::deb::decompress;
use apt_repository::descriptions::{Descriptions, TranslationName};
use apt_repository::existing::Existing;
use apt_repository::host::Transaction as _;
use apt_repository::index::{Index, IndexName};
use apt_repository::operate::{self, Contents};
use apt_repository::syntax::is_suite_name;
use serde::Serialize;

use super::{Desk, Done, RepositoryError, below};

const SNAPSHOTS: &str = ".foundry/snapshots";

/// A suite as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Snapshot {
    /// The suite.
    pub suite: String,
    /// What it is called.
    pub name: String,
}

impl Desk {
    /// The snapshots of a suite, or of all.
    ///
    /// # Errors
    /// [`RepositoryError`] if they can't be read.
    pub fn snapshots(&self, suite: Option<&str>) -> Result<Vec<Snapshot>, RepositoryError> {
        let files = self.transaction.list(SNAPSHOTS)?;
        let snapshots = files.iter().filter_map(|file| {
            let mut names = file.strip_prefix(SNAPSHOTS)?.split('/').skip(1);
            let (suite, name) = (names.next()?.to_owned(), names.next()?.to_owned());
            Some(Snapshot { suite, name })
        });
        let wanted = |snapshot: &Snapshot| suite.is_none_or(|suite| suite == snapshot.suite);
        let snapshots: BTreeSet<_> = snapshots.filter(wanted).collect();
        Ok(snapshots.into_iter().collect())
    }

    /// Keep a suite as it is under a name.
    ///
    /// # Errors
    /// [`RepositoryError`] if the name isn't one, or is taken.
    pub fn snapshot(&self, suite: &str, name: &str) -> Result<Snapshot, RepositoryError> {
        let snapshot = Snapshot {
            suite: suite.to_owned(),
            name: name.to_owned(),
        };
        if !is_suite_name(name) {
            let why = format!("{name:?} can't be a snapshot's name (use letters, digits, and . _ ~ + -)");
            return Err(RepositoryError::Snapshot(why));
        }
        if self.snapshots(Some(suite))?.contains(&snapshot) {
            let why = format!("{suite} has a snapshot {name} already (choose another name)");
            return Err(RepositoryError::Snapshot(why));
        }
        let contents = self.contents(suite)?;
        let existing = Existing::read(&self.transaction, suite)?;
        for (index, packages) in contents {
            let target = format!("{}/{index}", snapshot.directory());
            let mut texts = vec![index.to_string()];
            if existing.splits(&index) {
                texts.extend(TranslationName::of(&index).map(|name| name.to_string()));
            }
            let mut ours = existing.lists(&index);
            for text in &texts {
                ours = ours && self.transaction.text(&existing.path(text))?.is_some();
            }
            // Ours are never written to, so that the same files will do.
            if ours {
                for text in texts {
                    let packed = existing.path(&format!("{text}.zst"));
                    let target = format!("{}/{text}.zst", snapshot.directory());
                    self.transaction.link(&packed, &target)?;
                }
            } else {
                self.transaction.write(&target, packages.to_string().as_bytes())?;
            }
        }
        self.transaction.commit(&[])?;
        Ok(snapshot)
    }

    /// Have a suite as it was.
    ///
    /// # Errors
    /// [`RepositoryError`] if there is no such snapshot, or files of its packages are gone.
    pub fn rollback(&self, suite: &str, name: &str, dry_run: bool) -> Result<Done, RepositoryError> {
        let snapshots = self.snapshots(Some(suite))?;
        let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.name == name) else {
            let there: Vec<_> = snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
            let why = format!("{suite} has no snapshot {name} (it has: {})", there.join(", "));
            return Err(RepositoryError::Snapshot(why));
        };
        // Also if the suite is damaged now.
        self.known_suite(suite)?;
        let aside = self.set_aside(suite)?;
        self.release_is_left(suite, &aside)?;
        let (now, lost) = self.contents_left(&Existing::read(&self.transaction, suite)?)?;
        let then = self.snapshot_contents(snapshot)?;
        let mut changes = operate::restore(&now, &then);
        for name in lost.iter().filter_map(|(name, _)| IndexName::from_path(name)) {
            changes.entry(name).or_default().rewrite = true;
        }
        let entries = changes.values().flat_map(|edits| &edits.insert);
        let gone = entries
            .flat_map(operate::files)
            .find(|file| !self.directory.join(&file.path).is_file());
        if let Some(file) = gone {
            let why = format!(
                "{} is gone; the snapshot {name} can't be restored",
                below(&self.directory, &file.path)
            );
            return Err(RepositoryError::Snapshot(why));
        }
        self.apply(suite, suite, &now, changes, dry_run)
    }

    pub(super) fn snapshot_contents(&self, snapshot: &Snapshot) -> Result<Contents, RepositoryError> {
        let directory = format!("{}/", snapshot.directory());
        let mut contents = Contents::new();
        for file in self.transaction.list(&snapshot.directory())? {
            let path = file.strip_prefix(&directory).unwrap_or_default();
            let Some(name) = IndexName::from_path(path.strip_suffix(".zst").unwrap_or(path)) else {
                continue;
            };
            let index = Index::parse(&self.snapshot_text(&file)?);
            let index = index.map_err(|error| RepositoryError::Snapshot(format!("cannot read {file}: {error}")))?;
            contents.insert(name, index);
        }
        for (name, index) in &mut contents {
            let apart = TranslationName::of(name).map(|name| format!("{directory}{name}.zst"));
            let apart = apart.filter(|file| self.directory.join(file).is_file());
            if let Some(file) = apart {
                let descriptions = Descriptions::parse(&self.snapshot_text(&file)?);
                *index = descriptions.join(std::mem::take(index));
            }
        }
        Ok(contents)
    }

    fn snapshot_text(&self, file: &str) -> Result<String, RepositoryError> {
        let unreadable = |why: String| RepositoryError::Snapshot(format!("cannot read {file}: {why}"));
        let bytes = self.transaction.read(file)?;
        let bytes = bytes.ok_or_else(|| unreadable("it is missing".to_owned()))?;
        let suffix = if file.ends_with(".zst") { ".zst" } else { "" };
        decompress(suffix, &bytes)
            .and_then(|reader| std::io::read_to_string(reader).map_err(|error| error.to_string()))
            .map_err(unreadable)
    }
}

impl Snapshot {
    fn directory(&self) -> String {
        format!("{SNAPSHOTS}/{}/{}", self.suite, self.name)
    }
}
