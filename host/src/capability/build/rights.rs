//! Takes rights away from trees that sandboxes have written: layers and roots lie on the machine's own file system.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::lremovexattr;
use rustix::io::Errno;

/// Where the kernel keeps a program's capabilities.
const CAPABILITIES: &str = "security.capability";

/// Takes from programs in a tree what lets who runs them become somebody else, or do what he may not. No sandbox heeds
/// it. Nobody else changes the tree meanwhile. For root's host; an ordinary user's has [`super::keeper`].
pub(super) fn without_rights(top: &Path) -> io::Result<()> {
    let mut pending = vec![top.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.metadata()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                strip(&entry.path(), kind.permissions().mode())?;
            }
        }
    }
    Ok(())
}

/// Takes the rights of one file away, as far as it is ours.
fn strip(path: &Path, mode: u32) -> io::Result<()> {
    match lremovexattr(path, CAPABILITIES) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
        Err(error) => return Err(error.into()),
    }
    if mode & 0o6000 == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o1777)) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};

    use super::*;

    /// Version 2, effective, permitted: all of the first 32.
    const ALL: [u8; 20] = [1, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn no_program_keeps_capabilities_or_the_rights_of_its_owner() {
        if !rustix::process::getuid().is_root() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::create_dir(top.path().join("bin")).unwrap();
        let program = top.path().join("bin/program");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink(outside.path(), top.path().join("bin/link")).unwrap();
        for path in [program.as_path(), outside.path()] {
            lsetxattr(path, CAPABILITIES, &ALL, XattrFlags::empty()).unwrap();
        }

        without_rights(top.path()).unwrap();
        let capabilities = |path: &Path| lgetxattr(path, CAPABILITIES, &mut [0_u8; 32]);
        assert_eq!(capabilities(&program), Err(Errno::NODATA));
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(
            capabilities(outside.path()),
            Ok(ALL.len()),
            "what a link leads to is not the tree's"
        );
    }
}
