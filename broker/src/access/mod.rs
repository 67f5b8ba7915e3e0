//! Who may connect, and what they may do.
//!
//! A client has a *role*, by its user name or because it needs none, and a role has patterns of topics to publish
//! to, to subscribe to, and to share (be a member of a group, which takes messages away from the others). In
//! patterns `%u` stands for the user name and `%c` for the client identifier.

mod gate;
mod owner;
mod permissions;
mod pipeline;
mod rules;

use std::collections::BTreeMap;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHasher, SaltString};
use serde::Deserialize;

pub use gate::{Credentials, Denied, Gate};
pub use owner::{OWNER, Owner};
pub use permissions::Permissions;

use crate::error::Error;

/// How the client identifiers of hosts and their bots begin. They are for the owner, and for users whose role is marked
/// [`Role::host`].
pub const HOSTS_CLIENT_IDS: &str = "foundry/";

/// Who may connect, and what they may do. By default clients on this machine may watch, and nobody but the
/// [owner](Owner) may do more.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Access {
    /// The role of clients on this machine that give no user name; without it they are refused. Clients from other
    /// machines always have to give one.
    pub anonymous: Option<String>,
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Roles by name, beside and before the ones that are always there: `host` may do everything, `bot` everything
    /// outside of `$` topics, `watcher` may only subscribe, `builder` is for hosts that only build, whose names are their user
    /// names, and `operator` for programs that ask for work and look on.
    pub roles: BTreeMap<String, Role>,
    /// What the topics of `builder` and `operator` begin with, without a final slash.
    #[serde(skip)]
    pub prefix: String,
}

impl Access {
    /// Clients on this machine need no user name to have `role`; no users.
    pub fn open(role: &str) -> Self {
        Self {
            anonymous: Some(role.to_owned()),
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            prefix: "foundry".to_owned(),
        }
    }

    /// The role of a name: one of the configuration, or one that is always there.
    fn role(&self, name: &str) -> Option<Role> {
        let configured = self.roles.get(name).cloned();
        configured.or_else(|| Role::built_in(name, &self.prefix))
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::open("watcher")
    }
}

/// A user.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct User {
    /// Argon2 hash of the password, as [`hash_password`] makes it. Without it only a certificate lets the user in.
    #[serde(default)]
    pub password: Option<String>,
    /// Name of the role.
    pub role: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("password", &"[redacted]")
            .field("role", &self.role)
            .finish()
    }
}

/// What a role may do: patterns of topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Role {
    /// Everything, `$` topics included; the lists do not matter then.
    pub everything: bool,
    /// Topics to publish to.
    pub publish: Vec<String>,
    /// Filters to subscribe to: a filter is allowed when a pattern covers all that it matches.
    pub subscribe: Vec<String>,
    /// Filters of groups to be a member of.
    pub share: Vec<String>,
    /// Whether it is for hosts, which have client identifiers that begin with [`HOSTS_CLIENT_IDS`]. Unless the role may do
    /// everything, its users have those of one host: the one that is called like the user.
    pub host: bool,
}

impl Role {
    fn of_hosts() -> Self {
        Self {
            everything: true,
            host: true,
            ..Self::default()
        }
    }

    fn built_in(name: &str, prefix: &str) -> Option<Self> {
        let list = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        match name {
            "host" => Some(Self::of_hosts()),
            "bot" => {
                let all: Vec<String> = list(&["#"]);
                Some(Self {
                    publish: all.clone(),
                    subscribe: all.clone(),
                    share: all,
                    ..Self::default()
                })
            }
            "watcher" => Some(Self {
                subscribe: list(&["#", "$dead/#"]),
                ..Self::default()
            }),
            "builder" => Some(pipeline::builder(prefix)),
            "operator" => Some(pipeline::operator(prefix)),
            _ => None,
        }
    }
}

/// Hashes a password for [`User::password`].
pub fn hash_password(password: &str) -> Result<String, Error> {
    let salt = SaltString::generate(&mut OsRng);
    match Argon2::default().hash_password(password.as_bytes(), &salt) {
        Ok(hash) => Ok(hash.to_string()),
        Err(error) => Err(Error::Access(format!("cannot hash the password: {error}"))),
    }
}
