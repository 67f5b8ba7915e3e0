//! Keys that are bound to no group and should be: those of builders where these work in more than one, since who takes such a builder
//! over can fail the builds of all groups that no key is bound to, and those that another host's key keeps out of a stock bots'
//! endpoint whose work they may tell of (`docs/adr/0031-narrow-defaults.md`).

use std::collections::{BTreeMap, BTreeSet};

use super::work::{ENDPOINTS, may_work_in, tells_of};
use crate::keys::{Binding, Claims, Duties, Duty, KeyInfo, Role, is_plain_group};

/// The groups in which hosts are known to work, and of these the builders'.
#[derive(Debug, Clone, Default)]
pub struct BuilderGroups {
    all: BTreeSet<String>,
    of_host: BTreeMap<String, BTreeSet<String>>,
}

/// A key that is bound to no group, and should be.
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
        if is_plain_group(group) {
            self.all.insert(group.to_owned());
        }
    }

    /// Notes that a host says that a bot of its works in a group, whatever that bot does. A name that can't be in a command is left
    /// out: the host chose it.
    pub fn add_of(&mut self, host: &str, group: &str) {
        if is_plain_group(group) {
            self.of_host
                .entry(host.to_owned())
                .or_default()
                .insert(group.to_owned());
        }
    }
}

/// The keys of other hosts that are bound to no group and should be: those that may tell of builds, if builders work in several
/// groups, or others of the keys are bound to one; and those that are kept out of a stock bots' endpoint by another host's key though
/// they may tell of that bot's work. `known` are the groups that are known besides those of the keys.
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
    let is_one_group = all.len() < 2 && claimed.is_empty();
    let all = Vec::from_iter(all).join(", ");
    let bound = Vec::from_iter(keys.iter().filter(|key| !key.revoked).filter_map(binding));
    let claims = Claims::of(&bound);
    let open = keys.iter().filter(|key| key.groups.are_any() && !key.is_own());
    let open = open.filter(|key| !key.revoked && !key.expired);
    let told = open.filter_map(|key| {
        let binding = binding(key)?;
        let closed = closed_to(&binding, &claims);
        let what = match is_builders(key) && !is_one_group {
            true => what_of_builder(key, &binding, &all),
            false if !closed.is_empty() => what_of_kept_out(key, &binding, &closed),
            false => return None,
        };
        let groups = groups_to_name(&binding, &claims, known);
        let remedy = remedy(key, &binding, &groups);
        Some(Loose { what, remedy })
    });
    told.collect()
}

/// Whether it is bound to a host that may tell of builds.
fn is_builders(key: &KeyInfo) -> bool {
    binding(key).is_some_and(|binding| tells_of(&binding.may, &Duty::Build))
}

/// The binding of a messages key that has one.
fn binding(key: &KeyInfo) -> Option<Binding> {
    let host = key.host.as_deref().filter(|_| key.roles.contains(&Role::Messages))?;
    let binding = Binding::new(host, key.may.clone()).ok()?;
    Some(binding.in_groups(key.groups.clone()))
}

/// The stock bots' endpoints that another host's key closes to this one, though its duties have work there.
fn closed_to(binding: &Binding, claims: &Claims) -> Vec<&'static str> {
    let closed = ENDPOINTS.iter().filter(|(group, duty)| {
        let has_work = tells_of(&binding.may, duty);
        has_work && claims.keep_out(binding.host(), group)
    });
    closed.map(|(group, _)| *group).collect()
}

/// The groups that the command names. Which they are, the host says itself, and it may be in wrong hands: so only groups in which
/// its key may work already, and those of signing and publishing for which its operator gave it the duty. For a group of builders
/// the duty alone is no reason: those of two owners have the same.
fn groups_to_name(binding: &Binding, claims: &Claims, known: &BuilderGroups) -> BTreeSet<String> {
    let said = known.of_host.get(binding.host()).into_iter().flatten();
    let said = said.filter(|group| may_work_in(binding, claims, group)).cloned();
    let kept_out = ENDPOINTS.iter().filter(|(group, duty)| {
        let is_meant = *duty != Duty::Build && is_named(&binding.may, duty);
        is_meant && claims.keep_out(binding.host(), group)
    });
    said.chain(kept_out.map(|(group, _)| (*group).to_owned())).collect()
}

/// Whether the duties allow it otherwise than by allowing everything.
fn is_named(may: &Duties, duty: &Duty) -> bool {
    !may.contains(&Duty::All) && tells_of(may, duty)
}

fn what_of_builder(key: &KeyInfo, binding: &Binding, all: &str) -> String {
    let host = binding.host();
    format!(
        "messages key {key} of builder {host} is bound to no group: it is believed in the name of every group that no other host's key \
         is bound to, and of no group that one is (groups of builders: {all})"
    )
}

fn what_of_kept_out(key: &KeyInfo, binding: &Binding, closed: &[&str]) -> String {
    let (host, closed) = (binding.host(), closed.join(", "));
    format!(
        "messages key {key} of host {host} is bound to no group: it is not believed in the name of {closed}, which another host's key \
         is bound to"
    )
}

fn remedy(key: &KeyInfo, binding: &Binding, groups: &BTreeSet<String>) -> String {
    let (host, may) = (binding.host(), &binding.may);
    let command = format!("foundry-host key allow {} --host {host} --may {may}", key.fingerprint);
    if groups.is_empty() {
        return format!(
            "run `{command} --group GROUP`, with the endpoint of its bots for GROUP, and --group for each of them"
        );
    }
    let flags: String = groups.iter().map(|group| format!(" --group {group}")).collect();
    format!(
        "run `{command}{flags}`, with --group for each other group of its bots; check that they work there, since the host itself \
         says so"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Encoding, Groups, KeyStore, NewKey};

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
            known.add(group);
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
                "--host b3 --may build --group GROUP`, with the endpoint of its bots for GROUP",
            ),
        ] {
            let expected = format!("run `foundry-host key allow {} {command}", key_of(host).fingerprint);
            let remedies: Vec<_> = told.iter().map(|loose| loose.remedy.as_str()).collect();
            let is_told = remedies.iter().any(|remedy| remedy.starts_with(&expected));
            assert!(is_told, "{expected}: {remedies:?}");
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

    /// The remedies for the key of a host.
    fn remedy_of(host: &str, keys: &[KeyInfo], known: &BuilderGroups) -> Option<String> {
        let flag = format!(" --host {host} ");
        let told = loose(keys, known).into_iter().map(|loose| loose.remedy);
        told.into_iter().find(|remedy| remedy.contains(&flag))
    }

    #[test]
    fn the_command_names_no_group_in_which_the_key_may_not_work_already() {
        let keys = keys(&[
            ("b1", "build", &[]),
            ("b2", "build", &[]),
            ("b3", "build", &["pub/buildbot_i386"]),
        ]);
        let asked = [
            ("b1", "pub/signbot"),
            ("b1", "pub/distbot"),
            ("b1", "pub/buildbot_i386"),
            ("b2", "pub/buildbot"),
        ];
        let known = of_hosts(&asked);
        let b1 = remedy_of("b1", &keys, &known).unwrap();
        assert!(b1.contains("--may build --group GROUP`"), "{b1}");
        let b2 = remedy_of("b2", &keys, &known).unwrap();
        assert!(b2.contains("--may build --group pub/buildbot`"), "{b2}");
        assert!(b2.contains("the host itself says so"), "{b2}");
    }

    #[test]
    fn the_command_names_the_groups_of_the_hosts_other_bots_as_well() {
        let keys = keys(&[("b1", "build", &[]), ("b2", "build", &[])]);
        let mut known = of_hosts(&[("b1", "pub/a"), ("b2", "pub/b")]);
        known.add_of("b1", "lint");
        let b1 = remedy_of("b1", &keys, &known).unwrap();
        assert!(b1.contains("--may build --group lint --group pub/a`"), "{b1}");
        let what = &loose(&keys, &known)[0].what;
        assert!(what.contains("(groups of builders: pub/a, pub/b)"), "{what}");
    }

    #[test]
    fn a_head_that_is_kept_out_of_its_endpoint_by_a_second_distbots_key_is_told_of() {
        let keys = keys(&[("head", "head", &[]), ("d2", "publish", &["pub/distbot"])]);
        let told = loose(&keys, &BuilderGroups::default());
        assert!(
            told.len() == 1 && told[0].what.contains("in the name of pub/distbot, "),
            "{told:?}"
        );
        let head = remedy_of(
            "head",
            &keys,
            &of_hosts(&[("head", "pub/signbot"), ("head", "pub/distbot")]),
        )
        .unwrap();
        assert!(
            head.contains("--may watch,sign,publish --group pub/distbot --group pub/signbot`"),
            "{head}"
        );
    }

    #[test]
    fn a_key_that_is_bound_or_has_no_work_there_or_meets_a_revoked_one_alone_is_not_told_of() {
        let quiet = [
            keys(&[("head", "head", &["pub/distbot"]), ("d2", "publish", &["pub/distbot"])]),
            keys(&[("head", "watch", &[]), ("d2", "publish", &["pub/distbot"])]),
            keys(&[("head", "head", &[]), ("d2", "publish", &[])]),
        ];
        for keys in quiet {
            assert_eq!(loose(&keys, &BuilderGroups::default()), []);
        }
        let mut gone = keys(&[("head", "head", &[]), ("d2", "publish", &["pub/distbot"])]);
        for key in gone.iter_mut().filter(|key| key.host.as_deref() == Some("d2")) {
            key.revoked = true;
        }
        assert_eq!(loose(&gone, &BuilderGroups::default()), []);
    }

    #[test]
    fn a_key_that_may_tell_of_builds_on_another_topic_is_a_builders() {
        let keys = keys(&[("b1", "foundry.build.v1@builds-2", &[]), ("b2", "build", &["pub/a"])]);
        let told = loose(&keys, &BuilderGroups::default());
        assert!(told.len() == 1 && told[0].what.contains("of builder b1"), "{told:?}");
    }
}
