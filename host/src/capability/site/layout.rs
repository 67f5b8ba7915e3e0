//! Whether a directory may be published into.

use std::path::Path;

use cap_std::fs::Dir;

use super::{PRIVATE, SiteError};

/// What an APT repository has, ours or one that another program made.
const REPOSITORY: [&str; 3] = [PRIVATE, "dists", "pool"];

/// What may lie in a directory that is to become a repository.
const HARMLESS: [&str; 12] = [
    // The original's empty repository is only reprepro's directories.
    "conf",
    "db",
    "incoming",
    "failed",
    "lists",
    "logs", //
    "index.html",
    "robots.txt",
    "favicon.ico",
    ".htaccess",
    ".well-known",
    "lost+found",
];

/// Refuse a directory that holds something else than an APT repository: a slip such as `--output /etc` changes nothing.
pub(super) fn check(root: &Dir, directory: &Path) -> Result<(), SiteError> {
    let mut foreign = Vec::new();
    // One look at everything: another writer may be making a repository of it at this moment.
    for entry in root.entries().map_err(SiteError::io("read", directory))? {
        let entry = entry.map_err(SiteError::io("read", directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if REPOSITORY.contains(&name.as_str()) && root.is_dir(&name) {
            return Ok(());
        }
        if !HARMLESS.contains(&name.as_str()) && !is_key(&name) {
            foreign.push(name);
        }
    }
    // The smallest, so that the message is the same every time.
    match foreign.into_iter().min() {
        Some(entry) => Err(SiteError::Foreign {
            directory: directory.to_owned(),
            entry,
        }),
        None => Ok(()),
    }
}

/// Whether a file is named as a published key is.
fn is_key(name: &str) -> bool {
    !name.starts_with('.') && [".asc", ".gpg", ".pgp"].iter().any(|suffix| name.ends_with(suffix))
}
