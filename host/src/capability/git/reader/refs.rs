//! The branches and tags of a repository of this machine.

use super::objects::Objects;
use crate::capability::git::advertisement::MAX_REFS;
use crate::capability::git::{Failure, GitError, Ref};

/// List them, sorted by name, each with its commit.
pub(super) fn list(objects: &Objects<'_>) -> Result<Vec<Ref>, Failure> {
    let mut refs = Vec::new();
    for reference in objects.repository().references()? {
        // A ref that vanishes while the others are read, or that is damaged, is none.
        let Ok(reference) = reference else { continue };
        let Ok(name) = reference.name() else { continue };
        if !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
            continue;
        }
        objects.check_deadline()?;
        let commit = match objects.tip(&reference) {
            Ok(commit) => commit,
            Err(Failure::Memory) => return Err(Failure::Memory),
            Err(_) => continue,
        };
        if refs.len() == MAX_REFS {
            let why = format!("it has more than {MAX_REFS} branches and tags");
            return Err(GitError::bad(objects.shown(), why).into());
        }
        refs.push(Ref {
            name: name.to_owned(),
            commit: commit.to_string(),
        });
    }
    refs.sort();
    Ok(refs)
}
