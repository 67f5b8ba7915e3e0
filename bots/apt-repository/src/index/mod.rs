//! Indices: `Packages` and `Sources`, the lists of what a suite has.

mod entry;
mod name;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

pub use entry::{Conflict, Entry, IndexError, Key};
pub use name::IndexName;

/// A list of packages, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    entries: Vec<Entry>,
}

impl Index {
    /// An index as this or another program wrote it.
    ///
    /// # Errors
    /// [`IndexError`] if a paragraph lacks what every package has.
    pub fn parse(text: &str) -> Result<Self, IndexError> {
        Self::parse_where(text, |_| true)
    }

    /// Of an index, the packages of some names: the others' paragraphs are only looked at.
    ///
    /// # Errors
    /// [`IndexError`] if one of them lacks what every package has.
    pub fn parse_only(text: &str, names: &BTreeSet<&str>) -> Result<Self, IndexError> {
        Self::parse_where(text, |paragraph| names.contains(entry::name(paragraph)))
    }

    fn parse_where(text: &str, wanted: impl Fn(&str) -> bool) -> Result<Self, IndexError> {
        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.trim_matches('\n'));
        let paragraphs = paragraphs.filter(|paragraph| !paragraph.is_empty() && wanted(paragraph));
        let mut entries = paragraphs.map(Entry::parse).collect::<Result<Vec<_>, _>>()?;
        // Others order otherwise, or not at all. Ours is sorted already, which costs no more than a look.
        entries.sort_by(Entry::order);
        entries.dedup();
        Ok(Self { entries })
    }

    /// Its packages.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Its packages, out of it.
    #[must_use]
    pub fn take(self) -> Vec<Entry> {
        self.entries
    }

    /// The same packages with other paragraphs.
    #[must_use]
    pub fn map(self, change: impl FnMut(Entry) -> Entry) -> Self {
        Self {
            entries: self.entries.into_iter().map(change).collect(),
        }
    }

    /// The packages of some names alone.
    #[must_use]
    pub fn only(mut self, names: &BTreeSet<&str>) -> Self {
        self.entries.retain(|entry| names.contains(entry.package.as_str()));
        self
    }

    /// Add an index whose packages all come after this one's.
    pub fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// Remove a package. False if it wasn't there.
    pub fn remove(&mut self, key: &Key) -> bool {
        let place = self
            .entries
            .binary_search_by(|there| there.order_of(&key.package, &key.version, &key.architecture));
        place.map(|place| self.entries.remove(place)).is_ok()
    }

    /// Whether a package is in it.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        let order = |there: &Entry| there.order_of(&key.package, &key.version, &key.architecture);
        self.entries.binary_search_by(order).is_ok()
    }

    /// Add a package. False if it was there.
    ///
    /// # Errors
    /// [`Conflict`] if its version is there with other bytes.
    pub fn insert(&mut self, entry: Entry) -> Result<bool, Conflict> {
        match self.entries.binary_search_by(|there| there.order(&entry)) {
            Err(place) => {
                self.entries.insert(place, entry);
                Ok(true)
            }
            Ok(place) => match self.entries.get_mut(place) {
                Some(there) => there.meet(entry),
                None => Ok(false),
            },
        }
    }

    /// Add many packages. True if one of them was not there.
    ///
    /// # Errors
    /// [`Conflict`] if the version of one is there with other bytes; some may have been added then.
    pub fn merge(&mut self, mut new: Vec<Entry>) -> Result<bool, Conflict> {
        new.sort_by(Entry::order);
        let mut old = std::mem::take(&mut self.entries).into_iter().peekable();
        let mut changed = false;
        for entry in new {
            while let Some(before) = old.next_if(|there| there.order(&entry) != Ordering::Greater) {
                self.entries.push(before);
            }
            match self.entries.last_mut() {
                Some(there) if there.order(&entry) == Ordering::Equal => changed |= there.meet(entry)?,
                _ => {
                    self.entries.push(entry);
                    changed = true;
                }
            }
        }
        self.entries.extend(old);
        Ok(changed)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{}", entry.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(package: &str, version: &str, digest: char) -> Entry {
        let sha256 = String::from(digest).repeat(64);
        Entry::parse(&format!(
            "Package: {package}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{package}_{version}.deb\nSHA256: {sha256}"
        ))
        .unwrap()
    }

    fn versions(index: &Index) -> Vec<String> {
        index
            .entries()
            .iter()
            .map(|entry| format!("{}={}", entry.package, entry.version))
            .collect()
    }

    #[test]
    fn versions_stand_side_by_side_in_their_order() {
        let mut index = Index::default();
        for (package, version) in [("b", "1.10"), ("a", "2"), ("b", "1.9"), ("b", "1.9~rc1")] {
            assert!(index.insert(entry(package, version, 'a')).unwrap());
        }
        assert_eq!(versions(&index), ["a=2", "b=1.9~rc1", "b=1.9", "b=1.10"]);
        assert!(!index.insert(entry("b", "1.9", 'a')).unwrap());
    }

    #[test]
    fn the_same_version_with_other_bytes_is_a_conflict_that_names_both() {
        let mut index = Index::default();
        index.insert(entry("a", "1", 'a')).unwrap();
        let before = index.clone();
        let conflict = index.insert(entry("a", "1", 'b')).unwrap_err();
        assert_eq!(
            conflict,
            Conflict {
                what: "a 1 (amd64)".to_owned(),
                existing: "a".repeat(64),
                new: "b".repeat(64)
            }
        );
        assert_eq!(index, before);
    }

    #[test]
    fn an_entry_of_another_program_stays_as_it_is_unless_it_has_no_digest() {
        let theirs = format!(
            "Package: a\nSHA1: x\nVersion: 1\nFilename: pool/a\nArchitecture: amd64\nSHA256: {}\nDescription: theirs\n",
            "a".repeat(64)
        );
        let mut index = Index::parse(&theirs).unwrap();
        assert!(!index.insert(entry("a", "1", 'a')).unwrap());
        assert!(index.to_string().contains("theirs"));
        let mut index = Index::parse("Package: a\nVersion: 1\nFilename: pool/a\nArchitecture: amd64\n").unwrap();
        assert!(index.insert(entry("a", "1", 'a')).unwrap());
        assert_eq!(versions(&index), ["a=1"]);
    }

    #[test]
    fn source_packages_are_known_by_their_dsc() {
        let digest = "d".repeat(64);
        let index = Index::parse(&format!(
            "Package: hello\nArchitecture: any all\nVersion: 1\nDirectory: pool/main/h/hello\nChecksums-Sha256:\n {} 5 \
             hello_1.tar.xz\n {digest} 3 hello_1.dsc\nFiles:\n x 1 y\n",
            "e".repeat(64)
        ))
        .unwrap();
        assert_eq!(index.entries()[0].sha256.as_deref(), Some(digest.as_str()));
        assert_eq!(index.entries()[0].architecture, "source");
    }

    #[test]
    fn a_paragraph_that_is_no_package_is_named() {
        let error = Index::parse("Package: a\nVersion: 1\nFilename: x\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the paragraph that begins with \"Package: a\" has no Architecture"
        );
        assert!(Index::parse("<html>\n").is_err());
        assert_eq!(Index::parse("\n\n\n").unwrap(), Index::default());
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(
            packages in prop::collection::vec(("[a-c]{1,2}", "[0-9][0-9.~a]{0,3}", "[ab]"), 0..20),
        ) {
            let mut index = Index::default();
            for (package, version, digest) in packages {
                let _ = index.insert(entry(&package, &version, digest.chars().next().unwrap()));
            }
            let text = index.to_string();
            prop_assert_eq!(&Index::parse(&text).unwrap(), &index);
            prop_assert_eq!(Index::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn the_order_of_adding_does_not_matter(
            packages in prop::collection::btree_set(("[a-c]", "[0-9]([.~+][0-9a])?"), 0..10).prop_map(Vec::from_iter).prop_shuffle(),
        ) {
            let mut sorted = packages.clone();
            sorted.sort();
            let mut indices = [Index::default(), Index::default()];
            for (index, packages) in indices.iter_mut().zip([packages, sorted]) {
                for (package, version) in packages {
                    index.insert(entry(&package, &version, 'a')).unwrap();
                }
            }
            prop_assert_eq!(indices[0].to_string(), indices[1].to_string());
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "(\\PC|[\n:]){0,200}") {
            let _ = Index::parse(&text);
        }
    }
}
