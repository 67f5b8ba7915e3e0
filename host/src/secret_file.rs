//! Files that hold a password or something like it, and that nobody but their owner can read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Why a secret can't be taken from a file. It quotes nothing of the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("{path} can be read by others, its mode is {mode:03o} (make it its owner's alone: chmod 600 {path})", path = path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// What a file says that only its owner can read.
///
/// # Errors
/// [`SecretFileError`].
pub fn read(path: &Path) -> Result<String, SecretFileError> {
    let failed = |source| SecretFileError::Read {
        path: path.to_owned(),
        source,
    };
    // What is looked at is what is read: another file may get this name in between.
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Permissions {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// The first line of such a file, where people put a password.
///
/// # Errors
/// [`SecretFileError`].
pub fn first_line(path: &Path) -> Result<String, SecretFileError> {
    Ok(read(path)?.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_only_from_a_file_of_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        assert!(matches!(first_line(&path), Err(SecretFileError::Read { .. })));
        std::fs::write(&path, "hush\nand more\n").unwrap();
        for (mode, others) in [(0o640, true), (0o604, true), (0o600, false), (0o400, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match first_line(&path) {
                Ok(password) => assert!(password == "hush" && !others, "{mode:o}"),
                Err(error) => {
                    let message = error.to_string();
                    assert!(others && message.contains("chmod 600 /"), "{message}");
                    assert!(!message.contains("hush"), "{message}");
                }
            }
        }
    }
}
