//! What an operator does to a repository: look, move packages between suites, take them out, go back.
//!
//! Nothing here writes: each operation is a set of [`Edits`] per index, which a suite's [`Update`](crate::suite::Update)
//! carries out like any publication.

use std::collections::{BTreeMap, BTreeSet};

use crate::existing::Existing;
use crate::failure::Failure;
use crate::host::Transaction;
use crate::index::{Entry, Index, IndexName};
use crate::pieces::Edits;
use crate::retention::Retention;
use crate::syntax::{is_sha512, named_source};
use crate::version;

/// What is to happen to the indices of a suite.
pub type Changes = BTreeMap<IndexName, Edits>;

/// All indices of a suite.
pub type Contents = BTreeMap<IndexName, Index>;

/// The suites that a repository has, sorted.
///
/// # Errors
/// The host's.
pub fn suites(transaction: &dyn Transaction) -> Result<Vec<String>, Failure> {
    let files = transaction.list("dists")?;
    let suite = |file: &String| {
        let path = file.strip_prefix("dists/")?;
        let suite = path
            .strip_suffix("/InRelease")
            .or_else(|| path.strip_suffix("/Release"))?;
        // A `Release` is in each index's directory too.
        (!suite.contains('/')).then(|| suite.to_owned())
    };
    let suites: BTreeSet<_> = files.iter().filter_map(suite).collect();
    Ok(suites.into_iter().collect())
}

/// The suites that a repository has, and those of which the `Release` is lost and records are left.
///
/// # Errors
/// The host's.
pub fn suites_and_remains(transaction: &dyn Transaction) -> Result<BTreeSet<String>, Failure> {
    let records = transaction.list(".foundry/suites")?;
    let remains = records.iter().filter_map(|path| {
        let name = path.strip_prefix(".foundry/suites/")?.strip_suffix(".json")?;
        Some(name.to_owned())
    });
    Ok(remains.chain(suites(transaction)?).collect())
}

/// All packages of a suite, with their whole descriptions.
///
/// # Errors
/// [`Failure`] if an index can't be read.
pub fn contents(existing: &Existing<'_>) -> Result<Contents, Failure> {
    let mut contents = Contents::new();
    for name in existing.names() {
        if let Some(index) = existing.whole(&name)? {
            contents.insert(name, index);
        }
    }
    Ok(contents)
}

/// Which packages are meant. What isn't said doesn't matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names, of binary packages, or of source packages for all that was built from them.
    pub packages: Vec<String>,
    /// A version.
    pub version: Option<String>,
    /// An architecture; `source` for source packages.
    pub architecture: Option<String>,
    /// A component.
    pub component: Option<String>,
}

impl Selection {
    /// Whether a package is meant.
    #[must_use]
    pub fn has(&self, name: &IndexName, entry: &Entry) -> bool {
        let source = source(entry);
        let named = self.packages.is_empty()
            || self
                .packages
                .iter()
                .any(|package| *package == entry.package || package == source);
        named
            && self.version.as_ref().is_none_or(|version| *version == entry.version)
            && self
                .architecture
                .as_ref()
                .is_none_or(|architecture| *architecture == entry.architecture)
            && self
                .component
                .as_deref()
                .is_none_or(|component| component == name.component())
    }

    fn of<'a>(&'a self, contents: &'a Contents) -> impl Iterator<Item = (&'a IndexName, &'a Entry)> {
        contents.iter().flat_map(|(name, index)| {
            let entries = index.entries().iter().map(move |entry| (name, entry));
            entries.filter(|(name, entry)| self.has(name, entry))
        })
    }
}

/// The name of the source package that a package was built from.
#[must_use]
pub fn source(entry: &Entry) -> &str {
    entry
        .field("Source")
        .map_or(&entry.package, |source| named_source(source).0)
}

/// Take packages out of a suite.
#[must_use]
pub fn remove(from: &Contents, selection: &Selection) -> Changes {
    let mut changes = Changes::new();
    for (name, entry) in selection.of(from) {
        changes.entry(name.clone()).or_default().remove.push(entry.key());
    }
    changes
}

/// Have packages of one suite in another as well.
#[must_use]
pub fn copy(from: &Contents, to: &Contents, selection: &Selection) -> Changes {
    let mut changes = Changes::new();
    for (name, entry) in selection.of(from) {
        let there = to.get(name).is_some_and(|index| index.has(&entry.key()));
        // One that is there with other bytes is a conflict, which the insertion finds.
        if !there || to.get(name).is_some_and(|index| !index.entries().contains(entry)) {
            changes.entry(name.clone()).or_default().insert.push(entry.clone());
        }
    }
    changes
}

/// Have the newest versions of one suite's packages in another as well, where they are newer than what that has.
#[must_use]
pub fn promote(from: &Contents, to: &Contents, selection: &Selection) -> Changes {
    let mut newest: BTreeMap<(&IndexName, &str, &str), &Entry> = BTreeMap::new();
    for (name, entry) in selection.of(from) {
        // An index is sorted by version.
        newest.insert((name, &entry.package, &entry.architecture), entry);
    }
    let mut changes = Changes::new();
    for ((name, package, architecture), entry) in newest {
        let there = to.get(name).into_iter().flat_map(Index::entries);
        let newer = there
            .filter(|there| there.package == package && there.architecture == architecture)
            .all(|there| version::compare(&there.version, &entry.version).is_lt());
        if newer {
            changes.entry(name.clone()).or_default().insert.push(entry.clone());
        }
    }
    changes
}

/// Take versions out that newer ones have superseded, if `is_over` says of one that it has been there for long enough.
///
/// # Errors
/// Those of `is_over`.
pub fn prune(
    from: &Contents,
    selection: &Selection,
    retention: Retention,
    is_over: impl Fn(&Entry) -> Result<bool, Failure>,
) -> Result<Changes, Failure> {
    let mut changes = Changes::new();
    for (name, index) in from {
        for entry in retention.superseded(index, |entry| Ok(selection.has(name, entry) && is_over(entry)?))? {
            changes.entry(name.clone()).or_default().remove.push(entry.key());
        }
    }
    Ok(changes)
}

/// What has to happen to a suite to be as it was.
#[must_use]
pub fn restore(now: &Contents, then: &Contents) -> Changes {
    let empty = Index::default();
    let names: BTreeSet<_> = now.keys().chain(then.keys()).collect();
    let mut changes = Changes::new();
    for name in names {
        let (now, then) = (now.get(name).unwrap_or(&empty), then.get(name).unwrap_or(&empty));
        let edits = Edits {
            remove: missing(now, then).map(Entry::key).collect(),
            insert: missing(then, now).cloned().collect(),
            ..Edits::default()
        };
        if !edits.is_empty() {
            changes.insert(name.clone(), edits);
        }
    }
    changes
}

/// The entries of an index that another doesn't have.
fn missing<'a>(of: &'a Index, other: &'a Index) -> impl Iterator<Item = &'a Entry> {
    let texts: BTreeSet<_> = other.entries().iter().map(|entry| entry.text.as_str()).collect();
    of.entries()
        .iter()
        .filter(move |entry| !texts.contains(entry.text.as_str()))
}

/// The files below the repository's directory that a package consists of.
#[must_use]
pub fn files(entry: &Entry) -> Vec<PoolFile> {
    if let Some(path) = entry.field("Filename") {
        let size = entry.field("Size").and_then(|size| size.parse().ok());
        return vec![PoolFile {
            path: path.trim_start_matches("./").to_owned(),
            size,
            sha256: entry.sha256.clone(),
            sha512: (entry.field("SHA512").filter(|digest| is_sha512(digest))).map(str::to_owned),
        }];
    }
    let directory = entry.field("Directory").unwrap_or_default().trim_start_matches("./");
    // `Files` and `Checksums-Sha256` list the same files; old indices have only the first.
    let with_digests = lines_of(&entry.text, "checksums-sha256:");
    let (lines, digests) = if with_digests.is_empty() {
        (lines_of(&entry.text, "files:"), false)
    } else {
        (with_digests, true)
    };
    let strong = lines_of(&entry.text, "checksums-sha512:");
    let strong: BTreeMap<_, _> = strong
        .into_iter()
        .filter_map(listed)
        .map(|(digest, _, name)| (name, digest))
        .collect();
    let file = |(digest, size, name): (&str, &str, &str)| PoolFile {
        path: format!("{directory}/{name}"),
        size: size.parse().ok(),
        sha256: digests.then(|| digest.to_owned()),
        sha512: strong.get(name).map(|digest| (*digest).to_owned()),
    };
    lines.into_iter().filter_map(listed).map(file).collect()
}

/// Digest, size and name.
fn listed(line: &str) -> Option<(&str, &str, &str)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.next()?, words.next()?))
}

/// A file that an index promises.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolFile {
    /// Its path in the repository.
    pub path: String,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its SHA-256, in lower-case hex.
    pub sha256: Option<String>,
    /// Its SHA-512, in lower-case hex, if the index has it.
    pub sha512: Option<String>,
}

/// The lines of a field that has its value below its name.
fn lines_of<'a>(text: &'a str, field: &str) -> Vec<&'a str> {
    let lines = text
        .lines()
        .skip_while(|line| !line.to_ascii_lowercase().starts_with(field));
    lines.skip(1).take_while(|line| line.starts_with([' ', '\t'])).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> IndexName {
        IndexName::from_path("main/binary-amd64/Packages").unwrap()
    }

    fn index(packages: &[(&str, &str)]) -> Index {
        let paragraph = |(package, version): &(&str, &str)| {
            format!(
                "Package: {package}\nVersion: {version}\nArchitecture: amd64\nSource: src-{package}\nFilename: \
                 pool/{package}_{version}.deb\nSize: 5\nSHA256: {}\n\n",
                "a".repeat(64)
            )
        };
        Index::parse(&packages.iter().map(paragraph).collect::<String>()).unwrap()
    }

    fn contents(packages: &[(&str, &str)]) -> Contents {
        [(name(), index(packages))].into()
    }

    fn after(contents: &Contents, changes: Changes) -> Vec<String> {
        let mut index = contents[&name()].clone();
        for (_, edits) in changes {
            edits.apply(&mut index).unwrap();
        }
        index
            .entries()
            .iter()
            .map(|entry| format!("{}={}", entry.package, entry.version))
            .collect()
    }

    fn select(packages: &[&str]) -> Selection {
        Selection {
            packages: packages.iter().map(|package| (*package).to_owned()).collect(),
            ..Selection::default()
        }
    }

    #[test]
    fn packages_are_meant_by_their_name_or_that_of_their_source() {
        let suite = contents(&[("a", "1"), ("a", "2"), ("b", "1")]);
        assert_eq!(after(&suite, remove(&suite, &select(&["a"]))), ["b=1"]);
        assert_eq!(after(&suite, remove(&suite, &select(&["src-b"]))), ["a=1", "a=2"]);
        let version = Selection {
            version: Some("1".to_owned()),
            ..select(&["a"])
        };
        assert_eq!(after(&suite, remove(&suite, &version)), ["a=2", "b=1"]);
        assert!(remove(&suite, &select(&["c"])).is_empty());
    }

    #[test]
    fn a_promotion_takes_the_newest_and_never_goes_back() {
        let from = contents(&[("a", "1.9"), ("a", "1.10"), ("b", "1"), ("c", "1")]);
        let to = contents(&[("a", "1.9"), ("b", "2")]);
        assert_eq!(
            after(&to, promote(&from, &to, &Selection::default())),
            ["a=1.9", "a=1.10", "b=2", "c=1"]
        );
        assert_eq!(
            after(&to, copy(&from, &to, &select(&["b"]))),
            ["a=1.9", "b=1", "b=2"],
            "a copy does as it is told"
        );
    }

    #[test]
    fn superseded_versions_go_when_they_have_expired() {
        let suite = contents(&[("a", "1"), ("a", "2"), ("a", "10"), ("b", "1"), ("c", "1"), ("c", "2")]);
        let all = Selection::default();
        let left = |selection: &Selection, versions, is_over: &dyn Fn(&Entry) -> bool| {
            let retention = Retention { versions, days: 0 };
            let changes = prune(&suite, selection, retention, |entry| Ok(is_over(entry)));
            after(&suite, changes.unwrap())
        };
        assert_eq!(left(&all, 1, &|_| true), ["a=10", "b=1", "c=2"]);
        assert_eq!(left(&all, 2, &|_| true), ["a=2", "a=10", "b=1", "c=1", "c=2"]);
        let old = |entry: &Entry| entry.version == "1";
        assert_eq!(left(&all, 1, &old), ["a=2", "a=10", "b=1", "c=2"]);
        assert_eq!(left(&select(&["c"]), 1, &old), ["a=1", "a=2", "a=10", "b=1", "c=2"]);
    }

    #[test]
    fn what_a_package_consists_of() {
        let binary = index(&[("a", "1")]);
        let file = &files(&binary.entries()[0])[0];
        assert_eq!((file.path.as_str(), file.size), ("pool/a_1.deb", Some(5)));
        let digest = "d".repeat(64);
        let source = Index::parse(&format!(
            "Package: a\nVersion: 1\nDirectory: pool/a\nChecksums-Sha256:\n {digest} 3 a_1.dsc\n {digest} 4 a_1.tar.xz\nFiles:\n x \
             3 a_1.dsc\n"
        ))
        .unwrap();
        let paths: Vec<_> = files(&source.entries()[0]).into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["pool/a/a_1.dsc", "pool/a/a_1.tar.xz"]);
    }

    proptest! {
        #[test]
        fn a_suite_is_restored_whatever_happened(
            now in prop::collection::btree_set(("[a-c]", "[0-9]"), 0..12),
            then in prop::collection::btree_set(("[a-c]", "[0-9]"), 0..12),
        ) {
            let suite = |packages: &std::collections::BTreeSet<(String, String)>| {
                let packages: Vec<_> = packages.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
                contents(&packages)
            };
            let (now, then) = (suite(&now), suite(&then));
            let changes = restore(&now, &then);
            let mut index = now[&name()].clone();
            for (_, edits) in changes {
                edits.apply(&mut index).unwrap();
            }
            prop_assert_eq!(index.to_string(), then[&name()].to_string());
        }
    }
}
