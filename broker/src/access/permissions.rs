//! What one client may do.

use super::Role;
use crate::topic::{TopicFilter, TopicName};

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
    pub(super) fn new(role: &Role, user: Option<&str>, client: &str) -> Self {
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
