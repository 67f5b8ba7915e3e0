//! In which groups a host may work: those that its key is bound to; without any, those that nobody else's key is bound to, but
//! for the stock bots' endpoints whose duty it has not (`docs/adr/0031-narrow-defaults.md`).

use super::PIPELINE;
use super::fit::fits_type;
use crate::keys::{Binding, Claims, Duties, Duty};

/// The groups that stock bots work in unless `--endpoint` names another, and the duty of such a bot.
pub(super) const ENDPOINTS: [(&str, Duty); 3] = [
    ("pub/buildbot", Duty::Build),
    ("pub/signbot", Duty::Sign),
    ("pub/distbot", Duty::Publish),
];

/// Whether the holder of a key may work in a group, among all keys' claims.
#[must_use]
pub fn may_work_in(binding: &Binding, claims: &Claims, group: &str) -> bool {
    open_groups(binding, claims, group).is_none()
}

/// The groups in which the holder of a key may work, in words, if this group is none of them.
pub(super) fn open_groups(binding: &Binding, claims: &Claims, group: &str) -> Option<String> {
    if !binding.groups.are_any() {
        return (!binding.groups.include(group)).then(|| binding.groups.to_string());
    }
    if claims.keep_out(binding.host(), group) {
        return Some("groups that no other host's key is bound to".to_owned());
    }
    let duty = ENDPOINTS.iter().find(|(endpoint, _)| *endpoint == group)?;
    (!tells_of(&binding.may, &duty.1)).then(|| "groups of bots whose work it may tell of".to_owned())
}

/// Whether what a stock bot with this duty publishes is among what these duties allow, on whatever topic.
pub(super) fn tells_of(may: &Duties, duty: &Duty) -> bool {
    let published = PIPELINE
        .iter()
        .find(|(of, ..)| of == duty)
        .map(|(_, event_type, _)| *event_type);
    may.iter().any(|has| match has {
        Duty::All => true,
        Duty::Extra { event_type, .. } => published.is_some_and(|published| fits_type(event_type, published)),
        named => named == duty,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Groups;

    fn binding(host: &str, may: &str, groups: &[&str]) -> Binding {
        let groups = Groups::of(groups.iter().map(|group| (*group).to_owned())).unwrap();
        Binding::new(host, may.parse().unwrap()).unwrap().in_groups(groups)
    }

    fn open(may: &str, claims: &Claims) -> Vec<&'static str> {
        let unbound = binding("b1", may, &[]);
        let groups = [
            "pub/buildbot",
            "pub/signbot",
            "pub/distbot",
            "pub/buildbot_i386",
            "lint",
        ];
        groups
            .into_iter()
            .filter(|group| may_work_in(&unbound, claims, group))
            .collect()
    }

    #[test]
    fn a_host_whose_key_is_bound_to_no_group_works_where_its_duties_have_work() {
        let nobody = Claims::default();
        for (may, expected) in [
            ("build", ["pub/buildbot", "pub/buildbot_i386", "lint"].as_slice()),
            ("sign", &["pub/signbot", "pub/buildbot_i386", "lint"]),
            ("head", &["pub/signbot", "pub/distbot", "pub/buildbot_i386", "lint"]),
            ("watch", &["pub/buildbot_i386", "lint"]),
            (
                "foundry.build.v1@builds-2",
                &["pub/buildbot", "pub/buildbot_i386", "lint"],
            ),
            (
                "all",
                &[
                    "pub/buildbot",
                    "pub/signbot",
                    "pub/distbot",
                    "pub/buildbot_i386",
                    "lint",
                ],
            ),
        ] {
            assert_eq!(open(may, &nobody), expected, "{may}");
        }
    }

    #[test]
    fn a_group_that_another_hosts_key_is_bound_to_is_closed_to_a_key_that_is_bound_to_none() {
        let claims = Claims::of(&[binding("b2", "build", &["pub/buildbot_i386"])]);
        assert_eq!(open("build", &claims), ["pub/buildbot", "lint"]);
        let claims = Claims::of(&[binding("b2", "build", &["pub/buildbot"])]);
        assert_eq!(open("build", &claims), ["pub/buildbot_i386", "lint"]);
    }

    #[test]
    fn a_key_that_is_bound_to_a_group_works_there_whatever_others_are_bound_to() {
        let two = ["b1", "b2"].map(|host| binding(host, "build", &["pub/a", "pub/signbot"]));
        let claims = Claims::of(&two);
        assert!(two.iter().all(|one| may_work_in(one, &claims, "pub/a")));
        assert!(may_work_in(&two[0], &claims, "pub/signbot"), "its operator says so");
        assert!(!may_work_in(&two[0], &claims, "pub/buildbot"));
    }
}
