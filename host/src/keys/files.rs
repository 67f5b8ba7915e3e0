//! Files that hold secrets: written whole or not at all, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use zeroize::Zeroizing;

use super::error::KeyError;

/// No key file is larger.
const LONGEST: u64 = 8 << 20;

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io { what, path, source }
}

/// Makes the directory, or checks that nobody else can look into it.
pub(super) fn open_directory(path: &Path) -> Result<(), KeyError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(failed("make the key directory", path))?;
    let mode = fs::metadata(path)
        .map_err(failed("look at", path))?
        .permissions()
        .mode();
    check_mode(path, mode, 0o700)
}

fn check_mode(path: &Path, mode: u32, wanted: u32) -> Result<(), KeyError> {
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions {
            path: path.to_owned(),
            mode: mode & 0o777,
            wanted,
        });
    }
    Ok(())
}

/// Reads a file that only its owner may read. `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", path))?,
    };
    // Asked of the open file, so that it can't be exchanged in between.
    let metadata = file.metadata().map_err(failed("look at", path))?;
    check_mode(path, metadata.permissions().mode(), 0o600)?;
    if metadata.len() > LONGEST {
        return Err(KeyError::Damaged {
            path: path.to_owned(),
            reason: format!("it is larger than {LONGEST} bytes"),
        });
    }
    let mut content = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(LONGEST)
        .read_to_end(&mut content)
        .map_err(failed("read", path))?;
    Ok(Some(content))
}

/// Writes a file for its owner only: after a crash there is the old one or the new one.
pub(super) fn write(directory: &Path, name: &str, content: &[u8]) -> Result<(), KeyError> {
    let path = directory.join(name);
    // Temporary files are made with mode 600.
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(directory)
        .map_err(failed("make a temporary file in", directory))?;
    file.write_all(content).map_err(failed("write", &path))?;
    file.as_file().sync_all().map_err(failed("write", &path))?;
    file.persist(&path)
        .map_err(|error| error.error)
        .map_err(failed("write", &path))?;
    sync(directory)
}

/// Removes a file, if it is there.
pub(super) fn remove(directory: &Path, name: &str) -> Result<(), KeyError> {
    let path = directory.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.map_err(failed("remove", &path))?;
            sync(directory)
        }
    }
}

fn sync(directory: &Path) -> Result<(), KeyError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(failed("write", directory))
}

/// Held while the store is changed, so that two commands don't undo each other's work.
pub(super) struct ChangeLock {
    _file: File,
}

impl ChangeLock {
    pub(super) fn take(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(".lock");
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = opened.map_err(failed("open", &path))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(io::Error::from)
            .map_err(failed("lock", &path))?;
        Ok(Self { _file: file })
    }
}
