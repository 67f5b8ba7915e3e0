//! Removing directories so that whoever looks sees all of one or nothing, whenever this process ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use foundry_broker::killpoint;

/// Remove a directory: first it is renamed into `trash`, which is on the same file system and made if need be, then its files go.
/// What a process leaves there that is killed meanwhile is for [`empty`].
///
/// # Errors
/// What the system said. The directory is whole then, or in the trash.
pub fn remove_aside(directory: &Path, trash: &Path) -> io::Result<()> {
    fs::create_dir_all(trash)?;
    let away = tempfile::Builder::new().prefix("gone-").tempdir_in(trash)?;
    killpoint::pass("sweep-aside");
    fs::rename(directory, away.path().join("directory"))?;
    killpoint::pass("sweep-renamed");
    away.close()
}

/// Remove what killed processes left in the trash. Only one process uses a trash at a time.
///
/// # Errors
/// What the system said.
pub fn empty(trash: &Path) -> io::Result<()> {
    match fs::remove_dir_all(trash) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether an open file is the one that has a name. A lock on a file whose name somebody removed meanwhile is worth nothing, since the next one
/// to come makes a file of its own.
#[must_use]
pub fn is_still(file: &File, path: &Path) -> bool {
    let same = || -> io::Result<bool> {
        let (open, named) = (file.metadata()?, fs::metadata(path)?);
        Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
    };
    same().unwrap_or(false)
}

/// Bytes of the files below a directory, as far as they can be looked at: links are not followed, and what goes meanwhile counts nothing.
#[must_use]
pub fn size_of_tree(directory: &Path) -> u64 {
    let mut size = 0;
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind) if kind.is_file() => size += entry.metadata().map_or(0, |about| about.len()),
                _ => {}
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_whole_and_what_was_left_half_removed_goes_with_the_trash() {
        let top = tempfile::tempdir().unwrap();
        let (one, trash) = (top.path().join("one"), top.path().join("trash"));
        fs::create_dir_all(one.join("deep")).unwrap();
        fs::write(one.join("deep/file"), "12345").unwrap();
        assert_eq!(size_of_tree(top.path()), 5);
        remove_aside(&one, &trash).unwrap();
        assert!(!one.exists());
        assert_eq!(fs::read_dir(&trash).unwrap().count(), 0);
        fs::create_dir_all(trash.join("gone-x/directory")).unwrap();
        empty(&trash).unwrap();
        empty(&trash).unwrap();
        assert!(!trash.exists());
    }
}
