//! Which groups are taken: a key that is bound to a group closes it to keys that are bound to none
//! (`docs/adr/0031-narrow-defaults.md`).

use std::collections::{BTreeMap, BTreeSet};

use super::binding::Binding;

/// For each group that some key is bound to: the hosts of these keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims(BTreeMap<String, BTreeSet<String>>);

impl Claims {
    /// The claims of these keys.
    pub fn of<'a>(bindings: impl IntoIterator<Item = &'a Binding>) -> Self {
        let mut claims = Self::default();
        for binding in bindings {
            for group in binding.groups.names() {
                let hosts = claims.0.entry(group.to_owned()).or_default();
                hosts.insert(binding.host().to_owned());
            }
        }
        claims
    }

    /// Whether a group is for other hosts: some key is bound to it, and none of this host's. A host that changes from one key to
    /// another may have bound one of them only.
    #[must_use]
    pub fn keep_out(&self, host: &str, group: &str) -> bool {
        self.0.get(group).is_some_and(|hosts| !hosts.contains(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Duties, Groups};

    fn binding(host: &str, groups: &[&str]) -> Binding {
        let groups = Groups::of(groups.iter().map(|group| (*group).to_owned())).unwrap();
        Binding::new(host, Duties::default()).unwrap().in_groups(groups)
    }

    #[test]
    fn a_group_that_a_key_is_bound_to_is_closed_to_hosts_without_such_a_key() {
        let keys = [
            binding("b1", &["pub/a", "pub/b"]),
            binding("b2", &["pub/b"]),
            binding("b3", &[]),
        ];
        let claims = Claims::of(&keys);
        for (host, closed) in [
            ("b1", [false, false, false]),
            ("b2", [true, false, false]),
            ("b3", [true, true, false]),
        ] {
            let found = ["pub/a", "pub/b", "pub/c"].map(|group| claims.keep_out(host, group));
            assert_eq!(found, closed, "{host}");
        }
    }

    #[test]
    fn a_host_whose_new_key_is_bound_may_use_its_old_one_as_well() {
        let claims = Claims::of(&[binding("b1", &["pub/a"]), binding("b1", &[])]);
        assert!(!claims.keep_out("b1", "pub/a"));
    }
}
