//! Taking over what another archive publishes in a local directory, whatever program made it.

use std::path::{Path, PathBuf};

use apt_repository::existing::Existing;
use apt_repository::failure::Failure;
use apt_repository::host::{Extras, Splice, Spliced, Text, Transaction};
use apt_repository::operate::{self, Contents, Selection};

use super::{Desk, Done, RepositoryError};

impl Desk {
    /// Have the packages of a suite of another archive in a suite of this one, with their files.
    ///
    /// # Errors
    /// [`RepositoryError`] if a file is missing there or not what its index says, or is here with other bytes.
    pub fn import(
        &self,
        archive: &Path,
        from: &str,
        to: &str,
        selection: &Selection,
        dry_run: bool,
    ) -> Result<Done, RepositoryError> {
        let reader = Archive(archive.to_owned());
        if !archive.join("dists").join(from).is_dir() {
            let there = operate::suites(&reader)?.join(", ");
            return Err(RepositoryError::NoSuite {
                suite: format!("{from} in {}", archive.display()),
                there,
            });
        }
        let theirs = operate::contents(&Existing::read(&reader, from)?)?;
        let ours = if self.suites()?.iter().any(|suite| suite == to) {
            self.contents(to)?
        } else {
            Contents::new()
        };
        let changes = operate::copy(&theirs, &ours, selection);
        if changes.is_empty() && operate::remove(&theirs, selection).is_empty() {
            return Err(RepositoryError::NoPackage(from.to_owned()));
        }
        if !dry_run {
            let entries = changes.values().flat_map(|edits| &edits.insert);
            for file in entries.flat_map(operate::files) {
                let added = self.transaction.add(&file.path, &archive.join(&file.path))?;
                let wrong = |digest: &str, found: &str| {
                    let why = format!("{} is not what its index says: its {digest} is {found}", file.path);
                    RepositoryError::from(Failure::Repository(why))
                };
                if file.sha256.is_some_and(|promised| promised != added.sha256) {
                    return Err(wrong("SHA-256", &added.sha256));
                }
                if let Some(promised) = &file.sha512 {
                    let found = self.transaction.sha512(std::slice::from_ref(&file.path))?;
                    let found = found.into_iter().flatten().next().unwrap_or_default();
                    if *promised != found {
                        return Err(wrong("SHA-512", &found));
                    }
                }
            }
        }
        // A suite that is new is as the others here are.
        let like = self.suites()?.into_iter().next().unwrap_or_else(|| to.to_owned());
        self.apply(to, &like, &ours, changes, dry_run)
    }
}

/// Another archive, which is only read.
struct Archive(PathBuf);

impl Archive {
    fn walk(&self, path: &str, files: &mut Vec<String>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(self.0.join(path))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("{path}/{name}");
            // Not through links: suites of other archives have aliases by links to directories.
            if entry.file_type()?.is_dir() {
                self.walk(&path, files)?;
            } else {
                files.push(path);
            }
        }
        Ok(())
    }
}

fn read_only<T>() -> Result<T, Failure> {
    Err(Failure::Repository(
        "an archive that is imported is not written to".to_owned(),
    ))
}

impl Transaction for Archive {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        match std::fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::Repository(format!(
                "cannot read {}: {error}",
                self.0.join(path).display()
            ))),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Failure> {
        let mut files = Vec::new();
        self.walk(path, &mut files)
            .map_err(|error| Failure::Repository(format!("cannot read {}: {error}", self.0.join(path).display())))?;
        files.sort_unstable();
        Ok(files)
    }

    fn text(&self, _: &str) -> Result<Option<Text>, Failure> {
        Ok(None)
    }

    fn read_piece(&self, _: &str, _: usize) -> Result<Vec<u8>, Failure> {
        read_only()
    }

    fn write(&self, _: &str, _: &[u8]) -> Result<(), Failure> {
        read_only()
    }

    fn splice(&self, _: &str, _: Extras, _: Vec<Splice>) -> Result<Spliced, Failure> {
        read_only()
    }

    fn sha512(&self, _: &[String]) -> Result<Vec<Option<String>>, Failure> {
        read_only()
    }

    fn link(&self, _: &str, _: &str) -> Result<(), Failure> {
        read_only()
    }

    fn package_files(&self, _: &str) -> Result<Vec<String>, Failure> {
        Err(Failure::Repository(
            "the files of an archive's packages are listed when they are here".to_owned(),
        ))
    }

    fn modified(&self, _: &str) -> Result<Option<u64>, Failure> {
        // What is imported is as old as its copy.
        Ok(None)
    }

    fn remove(&self, _: &str) -> Result<(), Failure> {
        read_only()
    }

    fn commit(&self, _: &[String]) -> Result<(), Failure> {
        read_only()
    }
}
