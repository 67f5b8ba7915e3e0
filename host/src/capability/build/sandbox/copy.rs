//! Copies of what sandboxes may see of this machine's own `/etc` and `/var/lib`: a layer over the machine's root has
//! its own, so that packages can change them, and nothing else of the machine's shows through. Builds without a layer
//! share one, as a sandbox with a hundred mounts takes longer to make than all the rest of it.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::super::error::{Attempt as _, BuildError};
use super::allowed::{self, PASSWORDS, VAR_LIB};
use super::view::Purpose;

/// A directory of which something is copied.
struct Copied {
    top: &'static Path,
    /// Its name in a layer.
    part: &'static str,
    /// The names of what is copied.
    lists: &'static [&'static [&'static str]],
}

fn copied(purpose: Purpose) -> [Copied; 2] {
    [
        Copied {
            top: Path::new("/etc"),
            part: "etc",
            lists: allowed::etc(purpose),
        },
        Copied {
            top: Path::new("/var/lib"),
            part: "var-lib",
            lists: &[VAR_LIB],
        },
    ]
}

/// Copies what is allowed for a purpose into `to`, as a layer has it.
pub(in super::super) fn copy_data(purpose: Purpose, to: &Path) -> Result<(), BuildError> {
    for one in copied(purpose) {
        for path in allowed::present(one.top, one.lists) {
            copy(one.top, &to.join(one.part), &path)?;
        }
    }
    Ok(())
}

/// A digest that changes when what is copied does: of names, sizes and times, and of whose it is and who may read it.
pub(in super::super) fn data_digest(purpose: Purpose) -> Vec<u8> {
    let mut hash = Sha256::new();
    for one in copied(purpose) {
        for name in allowed::present(one.top, one.lists) {
            add(&mut hash, &one.top.join(name));
        }
    }
    hash.finalize().to_vec()
}

fn add(hash: &mut Sha256, top: &Path) {
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(kind) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !allowed::is_public(&kind) {
            continue;
        }
        hash.update(Sha256::digest(path.as_os_str().as_encoded_bytes()));
        for part in [kind.mode(), kind.uid(), kind.gid()] {
            hash.update(part.to_le_bytes());
        }
        hash.update(kind.size().to_le_bytes());
        hash.update(kind.mtime().to_le_bytes());
        hash.update(kind.mtime_nsec().to_le_bytes());
        if kind.is_dir() {
            let mut below: Vec<_> = fs::read_dir(&path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|one| one.path())
                .collect();
            below.sort();
            pending.extend(below);
        }
    }
}

/// Copies the passwords for mirrors to `to`, those that we may read; nobody but their owner can read the copies.
pub(in super::super) fn copy_passwords(to: &Path) -> Result<(), BuildError> {
    for name in PASSWORDS {
        let from = Path::new("/etc").join(name);
        let files: Vec<_> = match fs::read_dir(&from) {
            Ok(entries) => entries
                .flatten()
                .map(|entry| Path::new(name).join(entry.file_name()))
                .collect(),
            Err(_) => vec![name.into()],
        };
        for file in files {
            let Ok(text) = fs::read(Path::new("/etc").join(&file)) else {
                continue;
            };
            private_file(&to.join(file), &text)?;
        }
    }
    Ok(())
}

/// Writes a file that nobody but its owner can read.
pub(in super::super) fn private_file(path: &Path, content: &[u8]) -> Result<(), BuildError> {
    if let Some(parent) = path.parent() {
        private_dir(parent)?;
    }
    fs::write(path, content).attempt("write", path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).attempt("change", path)
}

fn private_dir(path: &Path) -> Result<(), BuildError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .attempt("create", path)
}

/// Copies a file, a link or a directory with what everyone may read in it. Where its parents are missing they are made.
fn copy(top: &Path, to: &Path, name: &Path) -> Result<(), BuildError> {
    for parent in name.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
        let target = to.join(parent);
        if !target.exists() {
            fs::create_dir(&target).attempt("create", &target)?;
            fs::set_permissions(&target, Permissions::from_mode(0o755)).attempt("change", &target)?;
        }
    }
    let mut pending = vec![name.to_owned()];
    while let Some(name) = pending.pop() {
        let from = top.join(&name);
        let kind = fs::symlink_metadata(&from).attempt("read", &from)?;
        if !allowed::is_public(&kind) {
            continue;
        }
        copy_one(&from, &to.join(&name), &kind).attempt("copy", &from)?;
        if kind.is_dir() {
            for entry in fs::read_dir(&from).attempt("read", &from)? {
                pending.push(name.join(entry.attempt("read", &from)?.file_name()));
            }
        }
    }
    Ok(())
}

fn copy_one(from: &Path, to: &Path, kind: &Metadata) -> io::Result<()> {
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if kind.is_dir() {
        fs::create_dir(to).or_else(|error| if to.is_dir() { Ok(()) } else { Err(error) })?;
    } else {
        fs::copy(from, to)?;
    }
    // Only root may give files away. For an ordinary user's builds it makes no difference whose they are.
    if rustix::process::getuid().is_root() {
        lchown(to, Some(kind.uid()), Some(kind.gid()))?;
    }
    if !kind.is_symlink() {
        // What is in a directory is still to be copied.
        let needed = if kind.is_dir() { 0o700 } else { 0 };
        fs::set_permissions(to, Permissions::from_mode(kind.mode() & 0o1777 | needed))?;
    }
    if kind.is_file() {
        fs::File::options()
            .read(true)
            .open(to)?
            .set_modified(kind.modified()?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_or_given_away_is_copied_anew() {
        let top = tempfile::tempdir().unwrap();
        let digest = || {
            let mut hash = Sha256::new();
            add(&mut hash, top.path());
            hash.finalize().to_vec()
        };
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        mode(top.path(), 0o755);
        let (dir, file) = (top.path().join("dir"), top.path().join("dir/file"));
        fs::create_dir(&dir).unwrap();
        fs::write(&file, "x").unwrap();
        mode(&dir, 0o755);
        mode(&file, 0o644);
        let mut seen = vec![digest()];
        let mut changed = || {
            let now = digest();
            let is_new = !seen.contains(&now);
            seen.push(now);
            is_new
        };
        mode(&file, 0o600);
        assert!(changed(), "a file was closed");
        fs::write(&file, "longer").unwrap();
        assert!(!changed(), "what nobody sees is not copied");
        mode(&dir, 0o711);
        assert!(changed(), "a directory was closed");
        if rustix::process::getuid().is_root() {
            mode(&dir, 0o755);
            mode(&file, 0o644);
            changed();
            lchown(&file, Some(4711), Some(4711)).unwrap();
            assert!(changed(), "a file was given away");
        }
    }

    #[test]
    fn what_not_everyone_may_read_is_not_copied() {
        let top = tempfile::tempdir().unwrap();
        let (from, to) = (top.path().join("from"), top.path().join("to"));
        fs::create_dir_all(from.join("a/b/deep")).unwrap();
        fs::create_dir_all(from.join("a/b/closed")).unwrap();
        fs::create_dir(&to).unwrap();
        for (name, mode) in [("open", 0o4755), ("closed/x", 0o644), ("deep/y", 0o600)] {
            let path = from.join("a/b").join(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(from.join("a/b/closed"), Permissions::from_mode(0o711)).unwrap();
        symlink("open", from.join("a/b/link")).unwrap();
        copy(&from, &to, Path::new("a/b")).unwrap();

        let mut names: Vec<_> = fs::read_dir(to.join("a/b"))
            .unwrap()
            .map(|one| one.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["deep", "link", "open"]);
        assert_eq!(fs::read_dir(to.join("a/b/deep")).unwrap().count(), 0);
        let mode = fs::metadata(to.join("a/b/open")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "no copy is anybody's to become somebody else");
    }
}
