//! Who may connect, and what they may do.
//!
//! A client has a *role*, by its user name or because it needs none, and a role has patterns of topics to publish
//! to, to subscribe to, and to share (be a member of a group, which takes messages away from the others). In
//! patterns `%u` stands for the user name and `%c` for the client identifier.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::listen::Peer;
use crate::topic::{TopicFilter, TopicName};

/// Who may connect, and what they may do. Without any users everybody on this machine is a host.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Access {
    /// The role of clients on this machine that give no user name; without it they are refused. Clients from other
    /// machines always have to give one.
    pub anonymous: Option<String>,
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Roles by name, beside and before the ones that are always there: `host` may do everything, `bot` everything
    /// outside of `$` topics, `watcher` may only subscribe.
    pub roles: BTreeMap<String, Role>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            anonymous: Some("host".to_owned()),
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

/// A user.
#[derive(Clone, Deserialize)]
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
#[derive(Debug, Clone, Default, Deserialize)]
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
}

impl Role {
    fn built_in(name: &str) -> Option<Self> {
        let list = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        match name {
            "host" => Some(Self {
                everything: true,
                ..Self::default()
            }),
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

/// A client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No user name where one is needed.
    #[error("a user name and password are needed")]
    Anonymous,
    /// Unknown user or wrong password: which of the two is not said.
    #[error("bad user name or password")]
    BadCredentials,
}

/// What one client may do.
#[derive(Debug, Clone)]
pub struct Permissions {
    /// The user, if it gave a name.
    pub user: Option<String>,
    everything: bool,
    publish: Vec<TopicFilter>,
    subscribe: Vec<TopicFilter>,
    share: Vec<TopicFilter>,
}

impl Permissions {
    fn new(role: &Role, user: Option<&str>, client: &str) -> Self {
        // A name with a wildcard or level in it must not widen a pattern.
        let plain = |name: &str| !name.is_empty() && !name.contains(['+', '#', '/']);
        let compile = |patterns: &[String]| {
            let usable = |pattern: &&String| {
                (!pattern.contains("%u") || user.is_some_and(plain)) && (!pattern.contains("%c") || plain(client))
            };
            let fill = |pattern: &String| pattern.replace("%u", user.unwrap_or_default()).replace("%c", client);
            patterns
                .iter()
                .filter(usable)
                .filter_map(|pattern| TopicFilter::new(&fill(pattern)).ok())
                .collect()
        };
        Self {
            user: user.map(ToOwned::to_owned),
            everything: role.everything,
            publish: compile(&role.publish),
            subscribe: compile(&role.subscribe),
            share: compile(&role.share),
        }
    }

    /// May it publish there?
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        self.everything || self.publish.iter().any(|pattern| pattern.matches(topic))
    }

    /// May it subscribe to that?
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        self.everything || self.subscribe.iter().any(|pattern| pattern.covers(filter))
    }

    /// May it be a member of a group with that filter?
    pub fn may_share(&self, filter: &TopicFilter) -> bool {
        self.everything || self.share.iter().any(|pattern| pattern.covers(filter))
    }
}

/// What a client shows.
#[derive(Debug)]
pub struct Credentials<'a> {
    /// Where it comes from, and its certificate.
    pub peer: &'a Peer,
    /// User name.
    pub user: Option<&'a str>,
    /// Password.
    pub password: Option<Vec<u8>>,
}

/// Checks clients against the configuration.
#[derive(Debug)]
pub struct Gate {
    access: Access,
    /// Hashing a password takes time and memory on purpose: not too many at once.
    hashing: Arc<Semaphore>,
}

/// Unknown users cost as much time as known ones, so that names cannot be guessed by the clock.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_password("nobody").ok());

impl Gate {
    /// Checks the configuration: roles exist, hashes and patterns can be read.
    pub fn new(access: Access) -> Result<Self, Error> {
        let known = |role: &str| access.roles.contains_key(role) || Role::built_in(role).is_some();
        for (name, user) in &access.users {
            if !known(&user.role) {
                return Err(Error::Access(format!(
                    "user {name} has the role {}, which does not exist",
                    user.role
                )));
            }
            if user
                .password
                .as_ref()
                .is_some_and(|hash| PasswordHash::new(hash).is_err())
            {
                return Err(Error::Access(format!(
                    "the password of user {name} is not an argon2 hash"
                )));
            }
        }
        if let Some(role) = access.anonymous.as_ref().filter(|role| !known(role)) {
            return Err(Error::Access(format!(
                "anonymous clients have the role {role}, which does not exist"
            )));
        }
        for (name, role) in &access.roles {
            for pattern in role.publish.iter().chain(&role.subscribe).chain(&role.share) {
                if let Err(error) = TopicFilter::new(pattern) {
                    return Err(Error::Access(format!("pattern {pattern:?} of role {name} {error}")));
                }
            }
        }
        Ok(Self {
            access,
            hashing: Arc::new(Semaphore::new(2)),
        })
    }

    /// Is there any user that could connect from another machine?
    pub fn has_users(&self) -> bool {
        !self.access.users.is_empty()
    }

    fn permissions(&self, role: &str, user: Option<&str>, client: &str) -> Permissions {
        let role = self
            .access
            .roles
            .get(role)
            .cloned()
            .or_else(|| Role::built_in(role))
            .unwrap_or_default();
        Permissions::new(&role, user, client)
    }

    /// Lets a client in, or not. A certificate counts more than a name and password.
    pub async fn admit(&self, credentials: Credentials<'_>, client: &str) -> Result<Permissions, Denied> {
        let Credentials { peer, user, password } = credentials;
        if let Some(name) = &peer.certificate {
            let user = self.access.users.get(name).ok_or(Denied::BadCredentials)?;
            return Ok(self.permissions(&user.role, Some(name), client));
        }
        // Without any users there is nothing to check a name against: on this machine it is as good as none.
        let Some(name) = user.filter(|_| !(peer.local && self.access.users.is_empty())) else {
            let role = self
                .access
                .anonymous
                .as_ref()
                .filter(|_| peer.local)
                .ok_or(Denied::Anonymous)?;
            return Ok(self.permissions(role, None, client));
        };
        let user = self.access.users.get(name);
        let known = user.and_then(|user| user.password.clone());
        let hash = known.clone().or_else(|| NOBODY.clone());
        let permit = Arc::clone(&self.hashing)
            .acquire_owned()
            .await
            .map_err(|_| Denied::BadCredentials)?;
        let verified = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let (hash, password) = (hash.unwrap_or_default(), password.unwrap_or_default());
            let hash = PasswordHash::new(&hash).ok();
            hash.is_some_and(|hash| Argon2::default().verify_password(&password, &hash).is_ok())
        });
        match (verified.await, user) {
            (Ok(true), Some(user)) if known.is_some() => Ok(self.permissions(&user.role, Some(name), client)),
            _ => Err(Denied::BadCredentials),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn watcher_sees_everything_and_touches_nothing() {
        let watcher = Permissions::new(&Role::built_in("watcher").unwrap(), None, "x");
        assert!(watcher.may_subscribe(&filter("#")));
        assert!(watcher.may_subscribe(&filter("a/+")));
        assert!(!watcher.may_publish(&topic("a")));
        assert!(!watcher.may_share(&filter("a")));
    }

    #[test]
    fn names_in_patterns_cannot_widen_them() {
        let role = Role {
            publish: vec!["home/%u/#".to_owned(), "c/%c".to_owned()],
            ..Role::default()
        };
        let alice = Permissions::new(&role, Some("alice"), "phone");
        assert!(alice.may_publish(&topic("home/alice/x")));
        assert!(alice.may_publish(&topic("c/phone")));
        assert!(!alice.may_publish(&topic("home/bob/x")));
        for name in ["+", "#", "a/b", ""] {
            let sly = Permissions::new(&role, Some(name), name);
            assert!(!sly.may_publish(&topic("home/bob/x")), "{name}");
            assert!(!sly.may_publish(&topic("home/a/b")), "{name}");
            assert!(!sly.may_publish(&topic("c/phone")), "{name}");
        }
        assert!(!Permissions::new(&role, None, "phone").may_publish(&topic("home//x")));
    }

    fn user(password: Option<String>, role: &str) -> User {
        User {
            password,
            role: role.to_owned(),
        }
    }

    #[test]
    fn mistakes_in_the_configuration_are_named() {
        let error = |user| {
            let users = BTreeMap::from([("a".to_owned(), user)]);
            Gate::new(Access {
                users,
                ..Access::default()
            })
            .unwrap_err()
            .to_string()
        };
        let clear = error(user(Some("secret".to_owned()), "host"));
        assert!(
            clear.contains("the password of user a is not an argon2 hash"),
            "{clear}"
        );
        let chief = error(user(None, "chief"));
        assert!(chief.contains("role chief, which does not exist"), "{chief}");
    }

    #[tokio::test]
    async fn credentials_decide_the_role() {
        let alice = user(Some(hash_password("secret").unwrap()), "bot");
        assert_eq!(format!("{alice:?}"), r#"User { password: "[redacted]", role: "bot" }"#);
        let gate = Gate::new(Access {
            anonymous: Some("watcher".to_owned()),
            users: [("alice".to_owned(), alice), ("carl".to_owned(), user(None, "bot"))].into(),
            roles: BTreeMap::new(),
        })
        .unwrap();
        let peer = |local, certificate: Option<&str>| Peer {
            local,
            certificate: certificate.map(ToOwned::to_owned),
        };
        let may_publish = async |peer: Peer, user, password: Option<&str>| {
            let password = password.map(|password| password.as_bytes().to_vec());
            let admitted = gate
                .admit(
                    Credentials {
                        peer: &peer,
                        user,
                        password,
                    },
                    "c",
                )
                .await;
            admitted.map(|permissions| permissions.may_publish(&topic("a")))
        };
        assert_eq!(
            may_publish(peer(false, None), Some("alice"), Some("secret")).await,
            Ok(true)
        );
        assert_eq!(may_publish(peer(true, None), None, None).await, Ok(false));
        assert_eq!(may_publish(peer(false, None), None, None).await, Err(Denied::Anonymous));
        for (user, password) in [
            ("alice", Some("wrong")),
            ("alice", None),
            ("bob", Some("nobody")),
            ("carl", Some("nobody")),
        ] {
            let denied = may_publish(peer(true, None), Some(user), password).await;
            assert_eq!(denied, Err(Denied::BadCredentials), "{user}");
        }
        assert_eq!(may_publish(peer(false, Some("carl")), None, None).await, Ok(true));
        assert_eq!(
            may_publish(peer(false, Some("dora")), Some("alice"), Some("secret")).await,
            Err(Denied::BadCredentials)
        );
    }
}
