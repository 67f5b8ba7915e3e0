//! What is shown of a key.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use super::duty::Duties;
use super::fingerprint::{Fingerprint, KeyId};
use super::groups::Groups;
use super::role::Role;

/// Where a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// In the host's own store.
    Store,
    /// In the GnuPG ring of the host's user.
    Gnupg,
}

impl Location {
    /// The word for it in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Gnupg => "gnupg",
        }
    }
}

/// What is shown of a key. Serializes for `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// The primary key's fingerprint.
    pub fingerprint: Fingerprint,
    /// The primary key's long id.
    pub key_id: KeyId,
    /// The user ids that hold, the primary one first.
    pub user_ids: Vec<String>,
    /// Such as `ed25519` or `rsa4096`.
    pub algorithm: String,
    /// When the key was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// When the primary key stops being valid, if ever.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires: Option<OffsetDateTime>,
    /// That moment has passed.
    pub expired: bool,
    /// Its owner took the key out of use.
    pub revoked: bool,
    /// The secret part of a key that may sign is in the store.
    pub has_secret: bool,
    /// The secret part is with GnuPG, on a smartcard for instance: gpg-agent signs.
    pub kept_by_gnupg: bool,
    /// A passphrase is needed to use the secret part.
    pub protected: bool,
    /// Where it is.
    #[serde(rename = "where")]
    pub location: Location,
    /// What the key is for. A key of GnuPG has no roles: it is for whatever it is named for.
    pub roles: BTreeSet<Role>,
    /// The host whose messages it signs; none if it is bound to no host.
    pub host: Option<String>,
    /// What that host may say.
    pub may: Duties,
    /// The groups that its bots may work in; any for a key that is bound to no host as well.
    pub groups: Groups,
}

impl KeyInfo {
    /// Whether its secret is here, or with this user's gpg-agent: a messages key is this host's own then.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.has_secret || self.kept_by_gnupg
    }

    /// Whether it is another host's messages key that was not said to be whose, so that it is believed in nothing.
    #[must_use]
    pub fn is_unbound(&self) -> bool {
        self.roles.contains(&Role::Messages) && !self.is_own() && self.host.is_none()
    }
}

impl KeyInfo {
    /// The same of a key whose secret only gpg-agent has.
    pub(super) fn in_gnupg(self) -> Self {
        Self {
            has_secret: false,
            kept_by_gnupg: true,
            protected: false,
            location: Location::Gnupg,
            ..self
        }
    }

    /// When the primary key stops being valid, in milliseconds since 1970, if ever.
    #[must_use]
    pub fn expires_millis(&self) -> Option<u64> {
        let millis = self.expires?.unix_timestamp_nanos() / 1_000_000;
        Some(u64::try_from(millis).unwrap_or_default())
    }
}

/// Fingerprint and user id, as error messages name a key.
impl fmt::Display for KeyInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user_ids.first() {
            Some(user_id) => write!(f, "{} ({user_id})", self.fingerprint),
            None => write!(f, "{}", self.fingerprint),
        }
    }
}
