//! The rules of access in force, which an operator may replace while clients are connected.

use std::sync::Arc;

use argon2::password_hash::PasswordHash;
use tokio::sync::watch;

use super::{Access, OWNER, Role, User};
use crate::error::Error;
use crate::topic::TopicFilter;

/// What of the rules let a client in. As long as the rules say the same of it, it may stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Basis {
    /// It has the owner's password, which no rule is about.
    Owner,
    /// It gave no name, and had the role of those.
    Anonymous(Role),
    /// It is this user.
    User(User, Role),
}

/// The rules in force.
#[derive(Debug)]
pub(super) struct Rules {
    now: watch::Sender<Arc<Access>>,
}

impl Rules {
    /// Checks the rules: roles exist, hashes and patterns can be read.
    pub(super) fn new(access: Access) -> Result<Self, Error> {
        check(&access)?;
        Ok(Self {
            now: watch::Sender::new(Arc::new(access)),
        })
    }

    /// The rules at this moment.
    pub(super) fn now(&self) -> Arc<Access> {
        Arc::clone(&self.now.borrow())
    }

    /// Puts others in their place, unless there is something wrong with those.
    pub(super) fn replace(&self, access: Access) -> Result<(), Error> {
        check(&access)?;
        let prefix = self.now().prefix.clone();
        self.now.send_replace(Arc::new(Access { prefix, ..access }));
        Ok(())
    }

    /// Tells of each replacement.
    pub(super) fn changes(&self) -> watch::Receiver<Arc<Access>> {
        self.now.subscribe()
    }
}

impl Access {
    /// What of these rules lets in a client that gives no name, if anything does.
    pub(super) fn for_anonymous(&self) -> Option<Basis> {
        self.role(self.anonymous.as_ref()?).map(Basis::Anonymous)
    }

    /// What of these rules lets in a user who has shown who he is, if anything does.
    pub(super) fn for_user(&self, name: &str) -> Option<Basis> {
        let user = self.users.get(name)?;
        Some(Basis::User(user.clone(), self.role(&user.role)?))
    }
}

fn check(access: &Access) -> Result<(), Error> {
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
        let mut hash = user.password.iter();
        if hash.any(|hash| PasswordHash::new(hash).is_err()) {
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
    Ok(())
}
