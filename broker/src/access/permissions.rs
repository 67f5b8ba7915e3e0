//! What one client may do.

use super::rules::Basis;
use super::{HOSTS_CLIENT_IDS, Role};
use crate::topic::{TopicFilter, TopicName};

/// What one client may do.
#[derive(Debug, Clone)]
pub struct Permissions {
    /// The user, if it gave a name.
    pub user: Option<String>,
    /// What of the rules let it in.
    pub(super) basis: Basis,
    everything: bool,
    host: bool,
    publish: Vec<TopicFilter>,
    subscribe: Vec<TopicFilter>,
    share: Vec<TopicFilter>,
}

impl Permissions {
    /// Those of a client that was let in on this basis.
    pub(super) fn on(basis: Basis, user: Option<&str>, client: &str) -> Self {
        let permissions = match &basis {
            Basis::Owner => Self::new(&Role::of_hosts(), user, client),
            Basis::Anonymous(role) | Basis::User(_, role) => Self::new(role, user, client),
        };
        Self { basis, ..permissions }
    }

    pub(super) fn new(role: &Role, user: Option<&str>, client: &str) -> Self {
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
            basis: Basis::Owner,
            everything: role.everything,
            host: role.host,
            publish: compile(&role.publish),
            subscribe: compile(&role.subscribe),
            share: compile(&role.share),
        }
    }

    /// May it have that client identifier? Those of hosts decide whose session it takes over, so that a user who may
    /// not do everything has those of the host alone that it is called like.
    pub fn may_be(&self, client: &str) -> bool {
        let Some(of_host) = client.strip_prefix(HOSTS_CLIENT_IDS) else {
            return true;
        };
        let own = |user: &String| {
            let rest = of_host.strip_prefix(user.as_str());
            plain(user) && rest.is_some_and(|rest| rest.starts_with('/'))
        };
        self.host && (self.everything || self.user.as_ref().is_some_and(own))
    }

    /// May its session outlive its connection? One that nobody gave a name to may have one only where its role lets it do
    /// more than watch: what waits for a session that nobody comes back to takes room.
    pub fn may_last(&self) -> bool {
        let is_watcher = !self.everything && self.publish.is_empty() && self.share.is_empty();
        self.user.is_some() || !is_watcher
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

/// Whether a name has neither wildcard nor level in it, which would widen a pattern.
fn plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['+', '#', '/'])
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
        let watcher = Permissions::new(&Role::built_in("watcher", "foundry").unwrap(), None, "x");
        assert!(watcher.may_subscribe(&filter("#")));
        assert!(watcher.may_subscribe(&filter("a/+")));
        assert!(!watcher.may_publish(&topic("a")));
        assert!(!watcher.may_share(&filter("a")));
    }

    #[test]
    fn client_ids_of_a_host_are_for_its_own_user_and_for_roles_that_may_do_everything() {
        let some = Role {
            publish: vec!["#".to_owned()],
            host: true,
            ..Role::default()
        };
        let ids = [
            "foundry/a/b",
            "foundry/a//peers",
            "foundry/a-b/c",
            "foundry/",
            "foundry/a",
            "foundry-a-b",
        ];
        let of = |role: &Role, user| {
            let permissions = Permissions::new(role, user, "x");
            ids.map(|id| permissions.may_be(id))
        };
        assert_eq!(of(&Role::of_hosts(), None), [true; 6]);
        assert_eq!(of(&some, Some("a")), [true, true, false, false, false, true]);
        assert_eq!(of(&some, Some("a/b")), [false, false, false, false, false, true]);
        let nobodys = [false, false, false, false, false, true];
        assert_eq!(of(&some, None), nobodys);
        assert_eq!(of(&some, Some("")), nobodys);
        assert_eq!(of(&Role::built_in("bot", "foundry").unwrap(), Some("a")), nobodys);
        assert_eq!(of(&Role::built_in("watcher", "foundry").unwrap(), None), nobodys);
    }

    #[test]
    fn sessions_last_for_users_and_for_anonymous_roles_that_do_more_than_watch() {
        let lasts = |role: &Role, user| Permissions::new(role, user, "x").may_last();
        let watcher = Role::built_in("watcher", "foundry").unwrap();
        assert!(!lasts(&watcher, None));
        assert!(lasts(&watcher, Some("ann")));
        for role in ["host", "bot"] {
            assert!(lasts(&Role::built_in(role, "foundry").unwrap(), None), "{role}");
        }
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
}
