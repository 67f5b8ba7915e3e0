//! The owner: whoever can read the broker's data directory may do everything.
//!
//! The host that embeds the broker logs in as the owner, and so may other programs of the same user on the same
//! machine. There is nothing to configure: the password is made at the first start and kept where only the user who
//! runs the broker can read it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use argon2::password_hash::rand_core::{OsRng, RngCore};

/// The owner's user name.
pub const OWNER: &str = "owner";

/// The password's file in the data directory.
const FILE: &str = "owner.password";

/// Characters of a password: 32 bytes in hexadecimal.
const LENGTH: usize = 64;

/// The owner's credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Owner {
    password: String,
    file: PathBuf,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner")
            .field("password", &"[redacted]")
            .field("file", &self.file)
            .finish()
    }
}

impl Owner {
    /// Reads the password of the broker in `directory`. A file that is missing, incomplete, or was open to others is
    /// made anew.
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        let file = directory.join(FILE);
        let password = match read(&file)? {
            Some(password) => password,
            None => make(&file)?,
        };
        Ok(Self { password, file })
    }

    /// The user name.
    pub fn user(&self) -> &'static str {
        OWNER
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Where the password is kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Is this the password? Takes the same time for every wrong one. It is random and long, so there is no need to
    /// make guessing slow.
    pub(super) fn has(&self, password: &[u8]) -> bool {
        let differences = self.password.bytes().zip(password).fold(0, |all, (a, b)| all | (a ^ b));
        self.password.len() == password.len() && differences == 0
    }
}

/// The password in `file`, if it is whole and nobody else could read it.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "others could read the broker's password, making a new one");
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(LENGTH as u64 + 2).read_to_end(&mut bytes)?;
    let password = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    let whole = password.len() == LENGTH && password.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(whole.then_some(password))
}

/// Makes a password and keeps it. The file appears whole or not at all.
fn make(path: &Path) -> io::Result<String> {
    let mut bytes = [0; LENGTH / 2];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let new = path.with_extension("new");
    // A file that a crash left there may have other permissions.
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    writeln!(file, "{password}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_made_once_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let owner = Owner::of(directory.path()).unwrap();
        assert_eq!(Owner::of(directory.path()).unwrap(), owner);
        let mode = fs::metadata(owner.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(owner.has(owner.password().as_bytes()));
        assert!(!format!("{owner:?}").contains(owner.password()));
        let [short, long] = [&owner.password()[1..], &format!("{}0", owner.password())];
        for wrong in ["", short, long, &"0".repeat(LENGTH)] {
            assert!(!owner.has(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn password_that_others_could_read_or_that_is_cut_short_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let first = Owner::of(directory.path()).unwrap();
        fs::set_permissions(first.file(), fs::Permissions::from_mode(0o640)).unwrap();
        let second = Owner::of(directory.path()).unwrap();
        assert_ne!(second, first);
        fs::write(second.file(), &second.password()[..10]).unwrap();
        let third = Owner::of(directory.path()).unwrap();
        assert_ne!(third, second);
        assert_eq!(fs::metadata(third.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
