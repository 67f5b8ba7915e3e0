//! Checks clients against the configuration.

use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordVerifier};
use tokio::sync::Semaphore;

use super::{Access, HOSTS_CLIENT_IDS, OWNER, Owner, Permissions, Role, hash_password};
use crate::error::Error;
use crate::listen::Peer;
use crate::topic::TopicFilter;

/// A client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No user name where one is needed.
    #[error("a user name and password are needed")]
    Anonymous,
    /// Unknown user or wrong password: which of the two is not said.
    #[error("bad user name or password")]
    BadCredentials,
    /// The client identifier is one of hosts, or of another host.
    #[error(
        "client identifiers that begin with {HOSTS_CLIENT_IDS} are for hosts (set `host = true` for the role, and call the \
         user like the host)"
    )]
    ReservedClientId,
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
    owner: Owner,
    /// Hashing a password takes time and memory on purpose: not too many at once.
    hashing: Arc<Semaphore>,
}

/// Unknown users cost as much time as known ones, so that names cannot be guessed by the clock.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_password("nobody").ok());

impl Gate {
    /// Checks the configuration: roles exist, hashes and patterns can be read.
    pub fn new(access: Access, owner: Owner) -> Result<Self, Error> {
        if access.users.contains_key(OWNER) {
            return Err(Error::Access(format!(
                "the user name {OWNER} is the broker's own: use another one"
            )));
        }
        let known = |role: &str| access.role(role).is_some();
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
            owner,
            hashing: Arc::new(Semaphore::new(2)),
        })
    }

    fn permissions(&self, role: &str, user: Option<&str>, client: &str) -> Permissions {
        Permissions::new(&self.access.role(role).unwrap_or_default(), user, client)
    }

    /// Lets a client in, or not, under the client identifier that it wants. A certificate counts more than a name and
    /// password.
    pub async fn admit(&self, credentials: Credentials<'_>, client: &str) -> Result<Permissions, Denied> {
        let permissions = self.identify(credentials, client).await?;
        match permissions.may_be(client) {
            true => Ok(permissions),
            false => Err(Denied::ReservedClientId),
        }
    }

    async fn identify(&self, credentials: Credentials<'_>, client: &str) -> Result<Permissions, Denied> {
        let Credentials { peer, user, password } = credentials;
        if let Some(name) = &peer.certificate {
            let user = self.access.users.get(name).ok_or(Denied::BadCredentials)?;
            return Ok(self.permissions(&user.role, Some(name), client));
        }
        // The owner's file is on this machine, so the password of one who comes from another was stolen.
        if user == Some(OWNER) && peer.local {
            return match password.is_some_and(|password| self.owner.has(&password)) {
                true => Ok(Permissions::new(&Role::of_hosts(), user, client)),
                false => Err(Denied::BadCredentials),
            };
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::access::User;
    use crate::topic::TopicName;

    fn topic(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn owner() -> Owner {
        Owner::of(tempfile::tempdir().unwrap().path()).unwrap()
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
            let access = Access {
                users,
                ..Access::default()
            };
            Gate::new(access, owner()).unwrap_err().to_string()
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
        let access = Access {
            anonymous: Some("watcher".to_owned()),
            users: [("alice".to_owned(), alice), ("carl".to_owned(), user(None, "bot"))].into(),
            ..Access::default()
        };
        let gate = Gate::new(access, owner()).unwrap();
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

    #[tokio::test]
    async fn owner_is_let_in_on_this_machine_only() {
        let owner = owner();
        let gate = Gate::new(Access::default(), owner.clone()).unwrap();
        let may_publish = async |local, password: &str| {
            let peer = Peer {
                local,
                certificate: None,
            };
            let credentials = Credentials {
                peer: &peer,
                user: Some(OWNER),
                password: Some(password.as_bytes().to_vec()),
            };
            let admitted = gate.admit(credentials, "c").await;
            admitted.map(|permissions| permissions.may_publish(&topic("$SYS/x")))
        };
        assert_eq!(may_publish(true, owner.password()).await, Ok(true));
        assert_eq!(may_publish(true, "guess").await, Err(Denied::BadCredentials));
        assert_eq!(may_publish(false, owner.password()).await, Err(Denied::BadCredentials));
    }

    #[test]
    fn no_user_can_have_the_owners_name() {
        let users = BTreeMap::from([(OWNER.to_owned(), user(None, "watcher"))]);
        let access = Access {
            users,
            ..Access::default()
        };
        let error = Gate::new(access, owner()).unwrap_err().to_string();
        assert!(error.contains("user name owner is the broker's own"), "{error}");
    }
}
