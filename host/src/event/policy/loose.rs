//! Builders' keys that are bound to no group where builders work in more than one: who takes such a builder over can fail the
//! builds of all groups that no key is bound to (`docs/adr/0031-narrow-defaults.md`).

use std::collections::{BTreeMap, BTreeSet};

use super::duty::Duty;
use super::groups::is_plain;
use super::info::KeyInfo;
use super::role::Role;

/// The groups in which builders are known to work.
#[derive(Debug, Clone, Default)]
pub struct BuilderGroups {
    all: BTreeSet<String>,
    of_host: BTreeMap<String, BTreeSet<String>>,
}

/// A builder's key that is bound to no group, and should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loose {
    /// What is wrong, in words.
    pub what: String,
    /// The command that binds it. `GROUP` stands in it for a group that is not known.
    pub remedy: String,
}

impl BuilderGroups {
    /// Notes that somebody builds in a group. A name that can't be in a command is left out.
    pub fn add(&mut self, group: &str) {
        if is_plain(group) {
            self.all.insert(group.to_owned());
        }
    }

    /// Notes that a host builds in a group. A name that can't be in a command is left out: the host chose it.
    pub fn add_of(&mut self, host: &str, group: &str) {
        if is_plain(group) {
            self.add(group);
            self.of_host
                .entry(host.to_owned())
                .or_default()
                .insert(group.to_owned());
        }
    }
}

/// The keys of other hosts that may tell of builds and are bound to no group, if builders work in several groups, or others of the
/// keys are bound to one. `known` are the groups that are known besides those of the keys.
#[must_use]
pub fn loose(keys: &[KeyInfo], known: &BuilderGroups) -> Vec<Loose> {
    let builders = || keys.iter().filter(|key| is_builders(key));
    let claimed: BTreeSet<&str> = builders().flat_map(|key| key.groups.names()).collect();
    let all: BTreeSet<&str> = known
        .all
        .iter()
        .map(String::as_str)
        .chain(claimed.iter().copied())
        .collect();
    if all.len() < 2 && claimed.is_empty() {
        return Vec::new();
    }
    let all = Vec::from_iter(all).join(", ");
    let open = builders().filter(|key| key.groups.are_any() && !key.is_own());
    let open = open.filter(|key| !key.revoked && !key.expired);
    open.map(|key| told(key, &all, known)).collect()
}

/// Whether it is bound to a host that may tell of builds.
fn is_builders(key: &KeyInfo) -> bool {
    let builds = key.may.iter().any(|duty| matches!(duty, Duty::Build | Duty::All));
    builds && key.host.is_some() && key.roles.contains(&Role::Messages)
}

fn told(key: &KeyInfo, all: &str, known: &BuilderGroups) -> Loose {
    let host = key.host.as_deref().unwrap_or_default();
    let own: Vec<_> = known.of_host.get(host).into_iter().flatten().collect();
    let flags: String = match own.is_empty() {
        true => " --group GROUP".to_owned(),
        false => own.iter().map(|group| format!(" --group {group}")).collect(),
    };
    let command = format!(
        "foundry-host key allow {} --host {host} --may {}{flags}",
        key.fingerprint, key.may
    );
    let endpoint = match own.is_empty() {
        true => ", with the endpoint of its builders for GROUP",
        false => "",
    };
    Loose {
        what: format!(
            "messages key {key} of builder {host} is bound to no group: it is believed in the name of every group that no other \
             host's key is bound to, and of no group that one is (groups of builders: {all})"
        ),
        remedy: format!("run `{command}`{endpoint}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Binding, Encoding, Groups, KeyStore, NewKey};

    /// A store with keys of other hosts: name, duties, groups.
    fn keys(of: &[(&str, &str, &[&str])]) -> Vec<KeyInfo> {
        let directory = tempfile::tempdir().unwrap();
        let store = |name: &str| KeyStore::open(directory.path().join(name)).unwrap();
        let ours = store("ours");
        ours.generate(Role::Messages, &NewKey::new("ours")).unwrap();
        for (host, may, groups) in of {
            let theirs = store(host);
            let key = theirs.generate(Role::Messages, &NewKey::new(*host)).unwrap();
            let public = theirs
                .export_public(&key.fingerprint.to_string(), Encoding::Binary)
                .unwrap();
            let groups = Groups::of(groups.iter().map(|group| (*group).to_owned())).unwrap();
            let binding = Binding::new(host, may.parse().unwrap()).unwrap().in_groups(groups);
            ours.import_bound(&public, &[Role::Messages], Some(&binding)).unwrap();
        }
        ours.list().unwrap()
    }

    fn of_hosts(works: &[(&str, &str)]) -> BuilderGroups {
        let mut known = BuilderGroups::default();
        for (host, group) in works {
            known.add_of(host, group);
        }
        known
    }

    #[test]
    fn nobody_is_told_where_all_builders_share_one_group() {
        let keys = keys(&[("b1", "build", &[]), ("b2", "build", &[]), ("head", "head", &[])]);
        for works in [[].as_slice(), &[("b1", "pub/buildbot"), ("b2", "pub/buildbot")]] {
            assert_eq!(loose(&keys, &of_hosts(works)), []);
        }
    }

    #[test]
    fn where_builders_work_in_two_groups_each_key_that_is_bound_to_none_is_named_with_the_command() {
        let keys = keys(&[
            ("b1", "build", &[]),
            ("b2", "all", &[]),
            ("b3", "build", &[]),
            ("head", "head", &[]),
        ]);
        let known = of_hosts(&[("b1", "pub/a"), ("b1", "pub/b"), ("b2", "pub/b")]);
        let told = loose(&keys, &known);
        let key_of = |host: &str| keys.iter().find(|key| key.host.as_deref() == Some(host)).unwrap();
        for (host, command) in [
            ("b1", "--host b1 --may build --group pub/a --group pub/b`"),
            ("b2", "--host b2 --may all --group pub/b`"),
            (
                "b3",
                "--host b3 --may build --group GROUP`, with the endpoint of its builders for GROUP",
            ),
        ] {
            let expected = format!("run `foundry-host key allow {} {command}", key_of(host).fingerprint);
            let remedies: Vec<_> = told.iter().map(|loose| loose.remedy.as_str()).collect();
            assert!(remedies.contains(&expected.as_str()), "{expected}: {remedies:?}");
        }
        assert_eq!(told.len(), 3);
        assert!(told[0].what.contains("(groups of builders: pub/a, pub/b)"), "{told:?}");
    }

    #[test]
    fn no_group_that_means_something_to_a_shell_gets_into_the_command() {
        let keys = keys(&[("b1", "build", &[])]);
        let told = loose(&keys, &of_hosts(&[("b1", "$(id)"), ("b2", "pub/a"), ("b3", "pub/b")]));
        assert!(told.len() == 1 && told[0].remedy.contains("--group GROUP`"), "{told:?}");
    }

    #[test]
    fn a_key_beside_one_that_is_bound_is_told_of_since_it_is_kept_out_there() {
        let keys = keys(&[("b1", "build", &["pub/buildbot"]), ("b2", "build", &[])]);
        let told = loose(&keys, &BuilderGroups::default());
        assert!(told.len() == 1 && told[0].what.contains("of builder b2"), "{told:?}");
    }
}
