//! Repositories of this machine: who may read them is looked at here, what they hold is read by a reader.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryOpenFlags};

use super::error::GitError;
use super::location::Location;

/// How long a file of alternates may be, in bytes.
const MAX_ALTERNATES: u64 = 64 * 1024;

/// How many directories one repository may lie in: itself, and those whose objects it borrows.
const MAX_DIRECTORIES: usize = 32;

/// A repository of this machine.
#[derive(Debug)]
pub(super) struct Local {
    /// Its own directory: that of a work tree's `.git`, for instance.
    pub(super) path: PathBuf,
    /// All directories that it lies in.
    pub(super) directories: Vec<PathBuf>,
}

impl Local {
    /// Look at a repository, bare or not. Of it the settings are read, which its owner wrote, whom the host's user trusts; no objects.
    ///
    /// # Errors
    /// [`GitError::NotFound`] if there is none, or if it is somebody's whom the host's user does not trust.
    pub(super) fn find(location: &Location, path: &Path) -> Result<Self, GitError> {
        let repository = open(location, path)?;
        let mut directories = vec![repository.path().to_owned(), repository.commondir().to_owned()];
        directories.dedup();
        let objects = repository.commondir().join("objects");
        add_alternates(&objects, &mut directories).map_err(|error| GitError::unavailable(location, error))?;
        Ok(Self {
            path: repository.path().to_owned(),
            directories,
        })
    }
}

fn open(location: &Location, path: &Path) -> Result<Repository, GitError> {
    let no_ceilings: [&str; 0] = [];
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, no_ceilings).map_err(|error| match error.code() {
        git2::ErrorCode::NotFound => GitError::not_found(location, "there is no repository"),
        git2::ErrorCode::Owner => GitError::not_found(
            location,
            "it belongs to another user (`git config --global --add safe.directory PATH` as the host's user trusts it)",
        ),
        _ => GitError::not_found(location, error.message()),
    })
}

/// Add the directories whose objects a repository borrows (gitrepository-layout, `objects/info/alternates`), and those that they
/// borrow from.
fn add_alternates(objects: &Path, to: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut next = vec![objects.to_owned()];
    while let Some(objects) = next.pop() {
        let file = match File::open(objects.join("info/alternates")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_ALTERNATES).read_to_end(&mut bytes)?;
        for line in bytes.split(|byte| *byte == b'\n') {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            // A relative one is joined, an absolute one is itself.
            let borrowed = objects.join(std::ffi::OsStr::from_bytes(line));
            // One that is not there is none for git either.
            if to.len() < MAX_DIRECTORIES && !to.contains(&borrowed) && borrowed.is_dir() {
                to.push(borrowed.clone());
                next.push(borrowed);
            }
        }
    }
    Ok(())
}
