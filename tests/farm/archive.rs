//! What the archive of a farm has.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::package::run;
use crate::sources::Pushed;

/// Names of the files in its pool.
pub fn pool(archive: &Path) -> BTreeSet<String> {
    if !archive.join("pool").exists() {
        return BTreeSet::new();
    }
    let found = run(Command::new("find")
        .arg(archive.join("pool"))
        .args(["-type", "f", "-printf", "%f\n"]));
    found.lines().map(ToOwned::to_owned).collect()
}

/// What the pool has when these commits are published, and nothing else is.
pub fn of<'a>(commits: impl IntoIterator<Item = &'a Pushed>) -> BTreeSet<String> {
    let files = |pushed: &Pushed| {
        let source = &pushed.source;
        [
            format!("{source}_1.0.dsc"),
            format!("{source}_1.0.tar.xz"),
            format!("{source}_1.0_all.deb"),
        ]
    };
    commits.into_iter().flat_map(files).collect()
}
