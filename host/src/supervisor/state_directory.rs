//! The directory that all of a host is in: its own, and for one host at a time.

use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use super::error::HostError;

/// Bits of a mode by which the group and others may write.
const OTHERS_WRITE: u32 = 0o022;

/// Make the state directory, and make sure that nobody else may write to it, and that no other host uses it. Links are followed, so that
/// it may be elsewhere.
///
/// # Errors
/// [`HostError`], with what helps.
pub(super) fn lock(state: &Path) -> Result<File, HostError> {
    let failed = |source| HostError::StateDirectory {
        path: state.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(failed)?;
    let about = std::fs::metadata(state).map_err(failed)?;
    check(state, &about, rustix::process::geteuid().as_raw())?;
    let file = open(&state.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HostError::StateInUse(state.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// Whoever may write to it could put keys, bots and compiled code there.
fn check(state: &Path, about: &Metadata, user: u32) -> Result<(), HostError> {
    // The machine's root may do everything in any case.
    if about.uid() != user && about.uid() != 0 {
        return Err(HostError::StateOfAnother {
            path: state.to_owned(),
            owner: about.uid(),
            user,
        });
    }
    match about.mode() & OTHERS_WRITE {
        0 => Ok(()),
        _ => Err(HostError::StateOpen(state.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_the_command_that_helps() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        std::fs::create_dir(&state).unwrap();
        for (mode, is_fine) in [
            (0o700, true),
            (0o755, true),
            (0o775, false),
            (0o702, false),
            (0o1777, false),
        ] {
            std::fs::set_permissions(&state, Permissions::from_mode(mode)).unwrap();
            let locked = lock(&state).map(drop).map_err(|error| error.to_string());
            match locked {
                Ok(()) => assert!(is_fine, "{mode:o}"),
                Err(error) => {
                    assert!(
                        !is_fine && error.contains(&format!("chmod go-w {}", state.display())),
                        "{mode:o}: {error}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused_unless_that_is_root() {
        let directory = tempfile::tempdir().unwrap();
        let about = std::fs::metadata(directory.path()).unwrap();
        assert!(check(directory.path(), &about, about.uid()).is_ok());
        let error = check(directory.path(), &about, about.uid() + 1).map_err(|error| error.to_string());
        // The tests may run as root.
        assert_eq!(error.is_ok(), about.uid() == 0);
    }

    #[test]
    fn what_is_not_there_is_made_for_the_host_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("a/state");
        let _lock = lock(&state).unwrap();
        assert_eq!(std::fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(lock(&state), Err(HostError::StateInUse(_))));
    }
}
