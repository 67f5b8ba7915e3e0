//! Whether a build is of the source that is published already under its name and version: by its source package if it
//! has one, else by its commit.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::host::Transaction;
use crate::source::Source;
use crate::syntax::{is_package_name, is_suite_name, is_version, without_epoch};

/// Where the records are: `.foundry/provenance/COMPONENT/SOURCE/VERSION.json`.
pub const DIRECTORY: &str = ".foundry/provenance";

/// Files that a record names. More would not make it truer: it is in force as long as one of them is published.
const MAX_FILES: usize = 100;

/// A source package's name and version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceKey {
    /// Name.
    pub package: String,
    /// Version, with its epoch.
    pub version: String,
}

impl From<&Source> for SourceKey {
    fn from(source: &Source) -> Self {
        Self {
            package: source.package.clone(),
            version: source.version.clone(),
        }
    }
}

/// Which commit a published version was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The commit's id.
    pub commit: String,
    /// Files of the pool that were published from it; the first ones. A record none of whose files is left says nothing: the
    /// version was taken out, and may be published anew.
    pub files: BTreeSet<String>,
    /// SHA-256 of those files as they were published. A record of an earlier release has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, String>,
}

impl Provenance {
    /// Where the record of a version is; `None` if the names can't be a path.
    #[must_use]
    pub fn path(component: &str, key: &SourceKey) -> Option<String> {
        let sound = is_suite_name(component) && is_package_name(&key.package) && is_version(&key.version);
        sound.then(|| format!("{DIRECTORY}/{component}/{}/{}.json", key.package, key.version))
    }

    /// Read a record. One that can't be read counts as lost: then only what has the same bytes is known to be the same.
    ///
    /// # Errors
    /// The host's.
    pub fn read(transaction: &dyn Transaction, path: &str) -> Result<Option<Self>, Failure> {
        let json = transaction.read(path)?;
        Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// Whether one of its files is among those that are published.
    #[must_use]
    pub fn is_in_force(&self, published: &BTreeSet<String>) -> bool {
        self.files.iter().any(|file| published.contains(file))
    }

    /// Note more files with their digests. True if that changes the record.
    pub fn note(&mut self, files: impl IntoIterator<Item = (String, String)>) -> bool {
        let mut changes = false;
        for (file, sha256) in files {
            if self.files.len() < MAX_FILES {
                changes |= self.files.insert(file.clone());
            }
            // A file that was taken out may have come again with other bytes.
            if self.files.contains(&file) && self.digests.get(&file) != Some(&sha256) {
                self.digests.insert(file, sha256);
                changes = true;
            }
        }
        changes
    }
}

/// What a build is to what is published of its source's name and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is published of them.
    New,
    /// The same source. Files that are published stay, and others are added.
    Same,
    /// A source package with other contents.
    OtherSource,
    /// Another commit, and no source package that could show it to be the same source.
    OtherCommit {
        /// The commit that is published.
        published: String,
    },
    /// Nobody knows: what is published came without a source package, and without a record of its commit.
    Unknown,
}

/// What is known of a build and of what is published.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The build's source package.
    pub own: Option<&'a Source>,
    /// The published one.
    pub published: Option<&'a Source>,
    /// The record of the published version, if it is in force.
    pub record: Option<&'a Provenance>,
    /// The build's commit; `None` if the build says nothing of this source's commit.
    pub commit: Option<&'a str>,
    /// Whether files are published that look like this version's.
    pub has_files: bool,
}

impl Evidence<'_> {
    /// What follows from it. Contents of source packages are compared without their signatures.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (self.own, self.published) {
            (Some(own), Some(published)) if own == published => return Standing::Same,
            (Some(_), Some(_)) => return Standing::OtherSource,
            _ => {}
        }
        match (self.record, self.commit) {
            (Some(record), Some(commit)) if record.commit == commit => Standing::Same,
            (Some(record), Some(_)) => Standing::OtherCommit {
                published: record.commit.clone(),
            },
            (None, _) if self.published.is_none() && !self.has_files => Standing::New,
            _ => Standing::Unknown,
        }
    }
}

/// Whether a file of a source's directory looks like one of a version: `hello_1.0-1.dsc`, `hello-doc_1.0-1_all.deb`.
#[must_use]
pub fn is_of_version(path: &str, version: &str) -> bool {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let rest = name.split_once('_').map(|(_, rest)| rest);
    let rest = rest.and_then(|rest| rest.strip_prefix(without_epoch(version)));
    rest.is_some_and(|rest| rest.starts_with('_') || rest.starts_with(".dsc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(version: &str, digest: char) -> Source {
        let digest = String::from(digest).repeat(64);
        let dsc = format!("Source: hello\nVersion: {version}\nChecksums-Sha256:\n {digest} 5 hello_{version}.tar.xz\n");
        Source::new(dsc.into_bytes(), &format!("hello_{version}.dsc")).unwrap()
    }

    fn record(commit: &str) -> Provenance {
        Provenance {
            commit: commit.to_owned(),
            files: ["pool/main/h/hello/hello_1_amd64.deb".to_owned()].into(),
            digests: BTreeMap::new(),
        }
    }

    const NOTHING: Evidence<'_> = Evidence {
        own: None,
        published: None,
        record: None,
        commit: Some("c1"),
        has_files: false,
    };

    #[test]
    fn source_packages_decide_where_there_are_two() {
        let (one, same, other) = (source("1", 'a'), source("1", 'a'), source("1", 'b'));
        let record = record("another commit");
        let evidence = Evidence {
            own: Some(&one),
            published: Some(&same),
            record: Some(&record),
            ..NOTHING
        };
        assert_eq!(evidence.standing(), Standing::Same, "whatever the commit");
        let evidence = Evidence {
            published: Some(&other),
            ..evidence
        };
        assert_eq!(evidence.standing(), Standing::OtherSource);
    }

    #[test]
    fn commits_decide_where_a_source_package_is_missing() {
        let (one, of_c1, of_c2) = (source("1", 'a'), record("c1"), record("c2"));
        for (own, published) in [(None, None), (Some(&one), None), (None, Some(&one))] {
            let evidence = |record| Evidence {
                own,
                published,
                record: Some(record),
                has_files: true,
                ..NOTHING
            };
            assert_eq!(evidence(&of_c1).standing(), Standing::Same);
            let published = "c2".to_owned();
            assert_eq!(evidence(&of_c2).standing(), Standing::OtherCommit { published });
        }
    }

    #[test]
    fn what_nothing_is_known_of_is_new_only_if_nothing_is_there() {
        let one = source("1", 'a');
        assert_eq!(NOTHING.standing(), Standing::New);
        let there = Evidence {
            has_files: true,
            ..NOTHING
        };
        assert_eq!(there.standing(), Standing::Unknown);
        let with_source = Evidence {
            published: Some(&one),
            ..NOTHING
        };
        assert_eq!(with_source.standing(), Standing::Unknown);
        // Of another source than the build's own the event's commit says nothing.
        let record = record("c1");
        let not_its_own = Evidence {
            record: Some(&record),
            commit: None,
            has_files: true,
            ..NOTHING
        };
        assert_eq!(not_its_own.standing(), Standing::Unknown);
    }

    #[test]
    fn a_record_is_in_force_as_long_as_one_of_its_files_is_published() {
        let mut record = record("c1");
        let published = BTreeSet::from(["pool/main/h/hello/hello_1_amd64.deb".to_owned()]);
        assert!(record.is_in_force(&published));
        assert!(!record.is_in_force(&BTreeSet::new()));
        let of = |file: String| (file, "a".repeat(64));
        assert!(record.note(published.clone().into_iter().map(of)), "its digest is new");
        assert!(!record.note(published.into_iter().map(of)));
        assert!(record.note((0..1000).map(|number| of(format!("pool/main/h/hello/{number}_1_all.deb")))));
        assert_eq!((record.files.len(), record.digests.len()), (MAX_FILES, MAX_FILES));
    }

    #[test]
    fn a_record_without_digests_is_read() {
        let old = r#"{"commit":"c1","files":["pool/main/h/hello/hello_1_amd64.deb"]}"#;
        assert_eq!(serde_json::from_str::<Provenance>(old).unwrap(), record("c1"));
        assert_eq!(serde_json::to_string(&record("c1")).unwrap(), old);
    }

    #[test]
    fn files_of_a_version_are_told_from_others() {
        for name in ["hello_1.0-1.dsc", "hello-doc_1.0-1_all.deb", "hello_1.0-1_amd64.udeb"] {
            assert!(is_of_version(&format!("pool/main/h/hello/{name}"), "2:1.0-1"), "{name}");
        }
        for name in [
            "hello_1.0-10.dsc",
            "hello_1.0.orig.tar.gz",
            "hello_1.0-1+b1_amd64.deb",
            "hello",
        ] {
            assert!(!is_of_version(name, "1.0-1"), "{name}");
        }
    }

    #[test]
    fn names_that_cannot_be_paths_have_no_record() {
        let key = |package: &str, version: &str| SourceKey {
            package: package.to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(
            Provenance::path("main", &key("hello", "1:1.0-1")).unwrap(),
            ".foundry/provenance/main/hello/1:1.0-1.json"
        );
        for (package, version) in [("../x", "1"), ("hello", "../1"), ("hello", ""), ("", "1")] {
            assert_eq!(Provenance::path("main", &key(package, version)), None);
        }
    }
}
