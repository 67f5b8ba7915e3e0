//! Names of branches and commits, checked before anything is done with them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::GitError;

/// The longest branch name that is taken, as the events' schema has it.
const MAX_LENGTH: usize = 255;

/// A branch or tag as an event names it: `master`, or in full, `refs/tags/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Branch(String);

impl Branch {
    pub(super) fn parse(name: &str) -> Result<Self, GitError> {
        let refuse = |why: &str| Err(GitError::bad(format!("cannot use the branch {name:?}"), why));
        if name.len() > MAX_LENGTH {
            return refuse("it is longer than 255 bytes");
        }
        if name.starts_with('-') {
            return refuse("it begins with a dash, like an option");
        }
        let branch = Self(name.to_owned());
        if branch
            .full_names()
            .iter()
            .any(|full| !git2::Reference::is_valid_name(full))
        {
            return refuse("it is not a valid git ref name");
        }
        if name.starts_with("refs/") && !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
            return refuse("it is neither a branch nor a tag");
        }
        Ok(branch)
    }

    /// The refs that it may mean, in the order of preference.
    pub(super) fn full_names(&self) -> Vec<String> {
        match self.0.starts_with("refs/") {
            true => vec![self.0.clone()],
            false => vec![format!("refs/heads/{}", self.0), format!("refs/tags/{}", self.0)],
        }
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A full commit id, lower-case hex: SHA-1, or SHA-256.
pub(super) fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A commit's id for libgit2.
pub(super) fn commit_id(text: &str) -> Result<git2::Oid, GitError> {
    let refuse = |why: &str| GitError::bad(format!("cannot use the commit {text:?}"), why);
    if !is_commit_id(text) {
        return Err(refuse("it is not a full commit id in lower-case hex"));
    }
    if text.len() == 64 {
        return Err(refuse(
            "repositories with SHA-256 ids can be watched, but not checked out",
        ));
    }
    git2::Oid::from_str(text).map_err(|error| refuse(error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_a_branch_before_it_is_a_tag() {
        assert_eq!(
            Branch::parse("debian/sid").unwrap().full_names(),
            ["refs/heads/debian/sid", "refs/tags/debian/sid"]
        );
        assert_eq!(Branch::parse("refs/tags/v1").unwrap().full_names(), ["refs/tags/v1"]);
    }

    #[test]
    fn names_that_are_paths_options_or_patterns_are_refused() {
        for name in [
            "",
            "../../etc",
            "-f",
            "a..b",
            "a\nb",
            "a b",
            "a:b",
            "a*",
            "x.lock",
            "/x",
            "x/",
            "@{u}",
            "refs/notes/x",
            "a\0b",
        ] {
            assert!(Branch::parse(name).is_err(), "{name:?}");
        }
        assert!(Branch::parse(&"x".repeat(256)).is_err());
    }

    #[test]
    fn only_full_lower_case_ids_are_commits() {
        assert!(commit_id(&"a".repeat(40)).is_ok());
        for id in [
            String::new(),
            "HEAD".into(),
            "a".repeat(39),
            "A".repeat(40),
            "g".repeat(40),
            "a".repeat(64),
        ] {
            assert!(commit_id(&id).is_err(), "{id:?}");
        }
    }
}
