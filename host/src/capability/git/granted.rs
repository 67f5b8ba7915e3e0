//! A repository that somebody may read.

use super::error::GitError;
use super::location::Location;
use crate::reach::{Addresses, Permits};

/// A repository that was granted, with all that was granted beside it: a server may redirect to that. To have one is the only way to
/// have [`Git`](super::Git) read anything.
#[derive(Debug, Clone)]
pub struct Granted {
    pub(super) location: Location,
    /// Where its server may be.
    pub(super) addresses: Addresses,
    pub(super) permits: Permits,
}

/// Why a repository must not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The URL can't be used.
    #[error(transparent)]
    Bad(#[from] GitError),
    /// It is not granted.
    #[error("{shown} is not granted to this bot (add --allow-git {as_granted})")]
    NotGranted {
        /// The repository, without credentials.
        shown: String,
        /// How a grant names it.
        as_granted: String,
    },
}

impl Granted {
    /// Compare a URL with grants.
    ///
    /// # Errors
    /// [`Refused`], without anything that could be a password.
    pub fn check(url: &str, permits: &Permits) -> Result<Self, Refused> {
        let location = Location::parse(url)?;
        let target = location.target();
        match permits.admit(&target).or_else(|| permits.admit(&target.with_slash())) {
            Some(addresses) => Ok(Self {
                location,
                addresses,
                permits: permits.clone(),
            }),
            None => Err(Refused::NotGranted {
                shown: location.to_string(),
                as_granted: crate::capability::shell_word(&location.as_granted()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::Pattern;

    fn check(url: &str, granted: &str) -> Result<Granted, Refused> {
        let pattern: Pattern = granted.parse().unwrap();
        Granted::check(url, &Permits::from([pattern].as_slice()))
    }

    #[test]
    fn a_refusal_says_what_would_grant_it_and_holds_no_password() {
        for (url, said) in [
            (
                "https://me:secret@example.org/x.git",
                "https://example.org/x.git is not granted to this bot (add --allow-git https://example.org/x.git)",
            ),
            (
                "git@example.org:x.git",
                "ssh://git@example.org/x.git is not granted to this bot (add --allow-git git@example.org:x.git)",
            ),
        ] {
            let refused = check(url, "https://example.org/y.git").unwrap_err();
            assert_eq!(refused.to_string(), said);
        }
        assert!(matches!(check("ext::x", "*"), Err(Refused::Bad(_))));
    }

    #[test]
    fn a_slash_at_the_end_makes_no_other_repository() {
        for (url, granted) in [
            ("https://example.org/x.git/", "https://example.org/x.git"),
            ("https://example.org/x.git", "https://example.org/x.git/"),
            ("/srv/x", "/srv/x/"),
        ] {
            assert!(check(url, granted).is_ok(), "{url} {granted}");
        }
    }
}
