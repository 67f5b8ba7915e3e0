//! Whether the users of this machine can reach a published directory: a web server and apt's own user are other users.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory that other users may not enter, on the way to a published one.
///
/// Decided by the mode's bits alone: who is in the directory's group, or has an access control list for it, is not known
/// here. So it is worth a warning and never an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    published: PathBuf,
    /// The outermost one.
    closed: PathBuf,
    mode: u32,
}

impl Closed {
    /// The outermost directory on the way to `published`, or itself, that other users may not enter. `None` if they may
    /// enter all of them. What does not exist yet is made so that they may.
    #[must_use]
    pub fn on_the_way_to(published: &Path) -> Option<Self> {
        let absolute = std::path::absolute(published).unwrap_or_else(|_| published.to_owned());
        // Through a symbolic link clients need both ways: to the link, and from the root to what it names.
        let real = absolute.canonicalize().ok();
        let ways = std::iter::once(absolute.as_path()).chain(real.as_deref());
        for way in ways {
            let mut directories: Vec<_> = way.ancestors().collect();
            directories.reverse();
            for directory in directories {
                let Ok(metadata) = directory.metadata() else { break };
                let mode = metadata.permissions().mode() & 0o777;
                if mode & 0o001 == 0 {
                    return Some(Self {
                        published: absolute.clone(),
                        closed: directory.to_owned(),
                        mode,
                    });
                }
            }
        }
        None
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        format!(
            "chmod o+x {}, or publish into a directory elsewhere, such as /srv/apt; ignore this if it is served by a program \
             of the same user",
            self.closed.display()
        )
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "neither apt (as file:, by its user _apt) nor a web server can read {}: other users may not enter {} (mode {:04o})",
            self.published.display(),
            self.closed.display(),
            self.mode
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir_all, set_permissions};

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_closed_home_is_found_with_what_opens_it() {
        let top = tempfile::tempdir().unwrap();
        chmod(top.path(), 0o755);
        let home = top.path().join("home");
        let site = home.join("pipeline/repository");
        create_dir_all(&site).unwrap();
        for directory in [home.as_path(), &home.join("pipeline"), &site] {
            chmod(directory, 0o755);
        }
        assert_eq!(Closed::on_the_way_to(&site), None);
        assert_eq!(
            Closed::on_the_way_to(&site.join("not/yet/there")),
            None,
            "it will be made open"
        );
        chmod(&home, 0o700);
        let closed = Closed::on_the_way_to(&site).unwrap();
        let home = home.display().to_string();
        assert!(
            closed
                .to_string()
                .ends_with(&format!("may not enter {home} (mode 0700)")),
            "{closed}"
        );
        assert!(closed.remedy().starts_with(&format!("chmod o+x {home},")), "{closed:?}");
    }

    #[test]
    fn a_link_into_a_closed_directory_is_found() {
        let top = tempfile::tempdir().unwrap();
        chmod(top.path(), 0o755);
        let (home, link) = (top.path().join("home"), top.path().join("link"));
        create_dir_all(home.join("repository")).unwrap();
        std::os::unix::fs::symlink(home.join("repository"), &link).unwrap();
        chmod(&home, 0o700);
        chmod(&home.join("repository"), 0o755);
        assert!(Closed::on_the_way_to(&link).is_some());
        chmod(&home, 0o711);
        assert_eq!(Closed::on_the_way_to(&link), None);
    }
}
