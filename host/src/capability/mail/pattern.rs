//! Which addresses a grant allows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::reach::{BadHost, Glob, Host, HostPattern, stored_as_text};

/// An address in which `*` stands for any text: `*@example.org`. What is before the `@` and what is after it are compared
/// one by one, so that no text of the one can pass for the other; what is after it is a pattern of hosts, as in grants of URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailPattern {
    text: String,
    user: Glob,
    domain: HostPattern,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMailPattern {
    /// It is no address.
    #[error("it must be an address, such as jo@example.org or *@example.org")]
    Form,
    /// What is behind the `@`.
    #[error(transparent)]
    Domain(#[from] BadHost),
}

impl FromStr for MailPattern {
    type Err = BadMailPattern;

    fn from_str(text: &str) -> Result<Self, BadMailPattern> {
        let (user, domain) = text.split_once('@').ok_or(BadMailPattern::Form)?;
        let fits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && b != b'@');
        if !fits(user) || !fits(domain) {
            return Err(BadMailPattern::Form);
        }
        Ok(Self {
            text: text.to_owned(),
            user: Glob::new(user),
            domain: domain.parse()?,
        })
    }
}

impl MailPattern {
    /// Whether it allows an address.
    #[must_use]
    pub fn allows(&self, address: &lettre::Address) -> bool {
        self.user.matches(address.user()) && self.domain.matches(&Host::parse(address.domain()))
    }
}

impl fmt::Display for MailPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

stored_as_text!(MailPattern => BadMailPattern);
