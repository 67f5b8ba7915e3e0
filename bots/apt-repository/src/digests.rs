//! By which digests clients know the files of a suite: as its `Release` lists them, and as names under `by-hash`.

use crate::existing::Existing;
use crate::failure::Failure;
use crate::generations::Files;
use crate::release::{Listed, Release};
use crate::suite::Update;

impl Listed {
    /// The names that a file has by its digests beside its own. Clients ask for that of the strongest one.
    pub fn by_hash(&self, path: &str) -> impl Iterator<Item = String> {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let slash = if directory.is_empty() { "" } else { "/" };
        let digests = [("SHA256", Some(&self.sha256)), ("SHA512", self.sha512.as_ref())];
        digests
            .into_iter()
            .filter_map(move |(kind, digest)| Some(format!("{directory}{slash}by-hash/{kind}/{}", digest?)))
    }
}

impl Release {
    /// The names by digest of all files that are published.
    #[must_use]
    pub fn by_hash(&self) -> Files {
        let published = self.files.iter().filter(|(path, _)| !self.is_only_unpacked(path));
        let names = published.flat_map(|(path, listed)| {
            // One file, whose bytes are there once.
            let sizes = [listed.size].into_iter().chain(std::iter::repeat(0));
            listed.by_hash(path).zip(sizes)
        });
        names.collect()
    }
}

impl Update<'_> {
    /// Have a `Release` list the SHA-512 of all files, or of none.
    pub(crate) fn strengthen(&self, existing: &Existing<'_>, release: &mut Release) -> Result<(), Failure> {
        if !self.settings.sha512 {
            for listed in release.files.values_mut() {
                listed.sha512 = None;
            }
            return Ok(());
        }
        let missing = release.files.iter().filter(|(_, listed)| listed.sha512.is_none());
        let missing: Vec<String> = missing.map(|(path, _)| path.clone()).collect();
        let paths: Vec<_> = missing.iter().map(|path| existing.path(path)).collect();
        for (path, sha512) in missing.into_iter().zip(self.transaction.sha512(&paths)?) {
            let is_there = !release.is_only_unpacked(&path);
            let Some(listed) = release.files.get_mut(&path).filter(|_| sha512.is_some()) else {
                continue;
            };
            listed.sha512 = sha512;
            // By its other digest it is found already.
            if let Some(name) = listed.by_hash(&path).last().filter(|_| is_there) {
                self.transaction.link(&existing.path(&path), &existing.path(&name))?;
            }
        }
        Ok(())
    }

    /// Give a file the names of its digests beside its own.
    pub(crate) fn link_by_hash(&self, existing: &Existing<'_>, path: &str, listed: &Listed) -> Result<(), Failure> {
        for name in listed.by_hash(path) {
            self.transaction.link(&existing.path(path), &existing.path(&name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_beside_itself_by_each_digest() {
        let mut listed = Listed {
            size: 1,
            sha256: "a".to_owned(),
            sha512: None,
        };
        let names = |listed: &Listed, path| listed.by_hash(path).collect::<Vec<_>>();
        assert_eq!(
            names(&listed, "main/source/Sources.gz"),
            ["main/source/by-hash/SHA256/a"]
        );
        listed.sha512 = Some("b".to_owned());
        assert_eq!(names(&listed, "x"), ["by-hash/SHA256/a", "by-hash/SHA512/b"]);
    }
}
