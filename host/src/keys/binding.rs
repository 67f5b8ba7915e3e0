//! To which host a key with the role `messages` belongs.

use thiserror::Error;

use super::duty::Duties;
use super::groups::Groups;

/// The one host that a key belongs to, and what that host may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    host: String,
    /// What it may say.
    pub may: Duties,
    /// The groups that its bots may work in.
    pub groups: Groups,
}

/// The text is not the name of a host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not a host's name: write 1 to 64 letters, digits, dots, hyphens and underscores, as its `host.name` has them"
)]
pub struct NotAHost {
    /// What was given.
    pub text: String,
}

impl Binding {
    /// Binds to a host, which may work in any group.
    ///
    /// # Errors
    /// [`NotAHost`] if no host can be called so.
    pub fn new(host: &str, may: Duties) -> Result<Self, NotAHost> {
        let fits = (1..=64).contains(&host.len())
            && !host.starts_with('.')
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !fits {
            return Err(NotAHost { text: host.to_owned() });
        }
        Ok(Self {
            host: host.to_owned(),
            may,
            groups: Groups::any(),
        })
    }

    /// The same for a host that may work in these groups.
    #[must_use]
    pub fn in_groups(self, groups: Groups) -> Self {
        Self { groups, ..self }
    }

    /// The binding of a host's own key: nobody else has it, so it may say everything, of any group.
    #[must_use]
    pub fn own(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            may: Duties::all(),
            groups: Groups::any(),
        }
    }

    /// The host's name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Whose a key is that is imported.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// It isn't said, which does but for messages keys.
    Unsaid,
    /// This host's own.
    Own,
    /// Another host's, which may say so much.
    Host(&'a Binding),
}

impl<'a> Whose<'a> {
    /// The host's name and what it may say, if it is another's.
    pub(super) fn binding(self) -> Option<&'a Binding> {
        match self {
            Self::Host(binding) => Some(binding),
            Self::Unsaid | Self::Own => None,
        }
    }
}
