//! Copies a source tree that nobody vouches for into the place where it is built.
//!
//! Symbolic links are copied as they are and never followed, so that `debian -> /etc` shows the build the
//! sandbox's `/etc` and shows the host nothing. What is neither file, directory nor link is refused.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::error::{Attempt as _, BuildError};
use super::package::SourcePackage;
use super::request::OverlayFile;

/// The longest `debian/control` or `debian/changelog` that is read; the largest in Debian are below 3 MiB.
const LONGEST_TEXT: u64 = 16 << 20;

/// Copies `from` to the new directory `to`. Ends early when `stop` says so or more than `most` bytes come together.
pub(super) fn copy(from: &Path, to: &Path, most: u64, stop: &dyn Fn() -> bool) -> Result<(), BuildError> {
    let kind = fs::symlink_metadata(from).attempt("read", from)?;
    if !kind.is_dir() {
        return Err(bad(format!("{} is not a directory", from.display())));
    }
    let mut copied = 0_u64;
    let mut pending: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = pending.pop() {
        fs::create_dir(&to).attempt("create", &to)?;
        for entry in fs::read_dir(&from).attempt("read", &from)? {
            if stop() {
                return Err(BuildError::Cancelled);
            }
            let entry = entry.attempt("read", &from)?;
            // A repository inside the tree is no part of the package, and dpkg-source would ship it.
            if entry.file_name() == ".git" {
                continue;
            }
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type().attempt("read", &source)?;
            if kind.is_dir() {
                pending.push((source, target));
            } else if kind.is_symlink() {
                let link = fs::read_link(&source).attempt("read", &source)?;
                symlink(link, &target).attempt("create", &target)?;
            } else if kind.is_file() {
                copied = copied.saturating_add(fs::copy(&source, &target).attempt("copy", &source)?);
                if copied > most {
                    return Err(bad(format!("it is larger than the limit on disk, {most} bytes")));
                }
                settle(&source, &target)?;
            } else {
                return Err(bad(format!(
                    "{} is neither a file, a directory nor a symbolic link",
                    source.display()
                )));
            }
        }
    }
    Ok(())
}

/// Keeps of a mode what git keeps, whether the file is executable; and the time, by which make decides what is stale.
fn settle(from: &Path, to: &Path) -> Result<(), BuildError> {
    let kind = fs::metadata(from).attempt("read", from)?;
    let mode = if kind.permissions().mode() & 0o100 == 0 {
        0o644
    } else {
        0o755
    };
    let file = fs::File::options().read(true).open(to).attempt("open", to)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
        .attempt("change", to)?;
    file.set_modified(kind.modified().attempt("read", from)?)
        .attempt("change", to)
}

/// Puts files into the copied tree. A link that stands in a file's place is replaced, never followed; a
/// directory on the way that is a link out of the tree is an error.
pub(super) fn overlay(tree: &Path, files: &[OverlayFile]) -> Result<(), BuildError> {
    let dir = open(tree)?;
    for file in files {
        let shown = tree.join(&file.path);
        let write = || -> io::Result<()> {
            if let Some(parent) = file.path.parent() {
                dir.create_dir_all(parent)?;
            }
            let mode = dir.symlink_metadata(&file.path).ok().filter(|old| old.is_file());
            match dir.remove_file(&file.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut out = dir.open_with(&file.path, OpenOptions::new().write(true).create_new(true))?;
            out.write_all(&file.content)?;
            if let Some(old) = mode {
                out.set_permissions(old.permissions())?;
            }
            Ok(())
        };
        write().attempt("write", shown)?;
    }
    Ok(())
}

/// Reads what the tree says about itself.
pub(super) fn describe(tree: &Path) -> Result<SourcePackage, BuildError> {
    let dir = open(tree)?;
    match dir.symlink_metadata("debian") {
        Ok(kind) if kind.is_dir() => {}
        Ok(_) => return Err(bad("debian is not a directory".to_owned())),
        Err(_) => {
            return Err(bad(
                "it has no debian directory (expected debian/control, debian/changelog and debian/rules)".to_owned(),
            ));
        }
    }
    for required in ["debian/control", "debian/changelog", "debian/rules"] {
        match dir.metadata(required) {
            Ok(kind) if kind.is_file() => {}
            Ok(_) => return Err(bad(format!("{required} is not a file"))),
            Err(error) => return Err(bad(format!("{required}: {error}"))),
        }
    }
    let control = text(&dir, "debian/control")?;
    let changelog = text(&dir, "debian/changelog")?;
    let format = match dir.metadata("debian/source/format") {
        Ok(_) => Some(text(&dir, "debian/source/format")?),
        Err(_) => None,
    };
    SourcePackage::parse(&control, &changelog, format.as_deref()).map_err(bad)
}

/// A file's text. cap-std resolves links inside the tree and refuses those that lead out of it.
fn text(dir: &Dir, path: &str) -> Result<String, BuildError> {
    let mut bytes = Vec::new();
    dir.open(path)
        .and_then(|file| file.take(LONGEST_TEXT.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| bad(format!("{path}: {error}")))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST_TEXT {
        return Err(bad(format!("{path} is longer than {LONGEST_TEXT} bytes")));
    }
    // A changelog's old entries may be in any encoding; what matters is checked to be ASCII.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(tree: &Path) -> Result<Dir, BuildError> {
    Dir::open_ambient_dir(tree, ambient_authority()).attempt("open", tree)
}

fn bad(why: String) -> BuildError {
    BuildError::BadSource { why }
}
