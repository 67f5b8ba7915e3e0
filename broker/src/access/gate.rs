//! Checks clients against the configuration.

use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordVerifier};
use tokio::sync::{Semaphore, watch};

use super::rules::{Basis, Rules};
use super::{Access, HOSTS_CLIENT_IDS, OWNER, Owner, Permissions, hash_password};
use crate::error::Error;
use crate::listen::Peer;

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
    rules: Rules,
    owner: Owner,
    /// Hashing a password takes time and memory on purpose: not too many at once.
    hashing: Arc<Semaphore>,
}

/// Unknown users cost as much time as known ones, so that names cannot be guessed by the clock.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_password("nobody").ok());

impl Gate {
    /// Checks the configuration: roles exist, hashes and patterns can be read.
    pub fn new(access: Access, owner: Owner) -> Result<Self, Error> {
        Ok(Self {
            rules: Rules::new(access)?,
            owner,
            hashing: Arc::new(Semaphore::new(2)),
        })
    }

    /// Occupies all places for checking passwords.
    #[cfg(test)]
    pub(crate) async fn occupy(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.hashing).acquire_many_owned(2).await.unwrap()
    }

    /// Puts other rules in the place of those in force. Clients that they do not let in as the ones before did have to go.
    pub fn replace(&self, access: Access) -> Result<(), Error> {
        self.rules.replace(access)
    }

    /// Tells of each replacement of the rules.
    pub fn changes(&self) -> watch::Receiver<Arc<Access>> {
        self.rules.changes()
    }

    /// Whether the rules in force say the same of a client as those that let it in.
    pub fn still_admits(&self, permissions: &Permissions) -> bool {
        let rules = self.rules.now();
        let now = match (&permissions.basis, &permissions.user) {
            (Basis::Owner, _) => return true,
            (Basis::Anonymous(_), _) => rules.for_anonymous(),
            (Basis::User(..), user) => rules.for_user(user.as_deref().unwrap_or_default()),
        };
        now.as_ref() == Some(&permissions.basis)
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
        let rules = self.rules.now();
        if let Some(name) = &peer.certificate {
            let basis = rules.for_user(name).ok_or(Denied::BadCredentials)?;
            return Ok(Permissions::on(basis, Some(name), client));
        }
        // The owner's file is on this machine, so the password of one who comes from another was stolen.
        if user == Some(OWNER) && peer.local {
            return match password.is_some_and(|password| self.owner.has(&password)) {
                true => Ok(Permissions::on(Basis::Owner, user, client)),
                false => Err(Denied::BadCredentials),
            };
        }
        // Without any users there is nothing to check a name against: on this machine it is as good as none.
        let Some(name) = user.filter(|_| !(peer.local && rules.users.is_empty())) else {
            let basis = rules.for_anonymous().filter(|_| peer.local);
            return Ok(Permissions::on(basis.ok_or(Denied::Anonymous)?, None, client));
        };
        let user = rules.users.get(name);
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
        match (verified.await, rules.for_user(name)) {
            (Ok(true), Some(basis)) if known.is_some() => Ok(Permissions::on(basis, Some(name), client)),
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
    async fn who_was_let_in_stays_as_long_as_the_rules_say_the_same_of_him() {
        let rules = |users: &[(&str, &str)], anonymous: &str| Access {
            anonymous: Some(anonymous.to_owned()),
            users: users
                .iter()
                .map(|(name, role)| ((*name).to_owned(), user(None, role)))
                .collect(),
            ..Access::default()
        };
        let owner = owner();
        let gate = Gate::new(rules(&[("ann", "bot"), ("bob", "bot")], "watcher"), owner.clone()).unwrap();
        let admit = async |certificate: Option<&str>, user, password: Option<&str>| {
            let peer = Peer {
                local: true,
                certificate: certificate.map(ToOwned::to_owned),
            };
            let credentials = Credentials {
                peer: &peer,
                user,
                password: password.map(|password| password.as_bytes().to_vec()),
            };
            gate.admit(credentials, "c").await.unwrap()
        };
        let clients = [
            admit(Some("ann"), None, None).await,
            admit(Some("bob"), None, None).await,
            admit(None, None, None).await,
            admit(None, Some(OWNER), Some(owner.password())).await,
        ];
        let stay = || clients.each_ref().map(|client| gate.still_admits(client));
        assert_eq!(stay(), [true; 4]);
        gate.replace(rules(&[("ann", "bot"), ("bob", "watcher")], "watcher"))
            .unwrap();
        assert_eq!(stay(), [true, false, true, true], "bob has another role");
        gate.replace(rules(&[("bob", "bot")], "bot")).unwrap();
        assert_eq!(stay(), [false, true, false, true]);
        assert!(gate.replace(rules(&[("ann", "chief")], "watcher")).is_err());
        assert_eq!(stay(), [false, true, false, true], "wrong rules change nothing");
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
