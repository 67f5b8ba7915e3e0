//! Whose messages keys are, alone and by the farm's file.

use std::fs;

use super::*;
use crate::keys::{Binding, Duties, Groups, KeyError, Whose};

fn store(bench: &Bench, name: &str) -> KeyStore {
    KeyStore::open(bench.path(name)).unwrap()
}

fn bound(host: &str, may: &str) -> Binding {
    Binding::new(host, may.parse::<Duties>().unwrap()).unwrap()
}

/// A host's store with its own key, and the public part.
fn host(bench: &Bench, name: &str) -> (KeyStore, KeyInfo, Vec<u8>) {
    let store = store(bench, name);
    let key = store.generate(Role::Messages, &NewKey::new(name)).unwrap();
    let public = store
        .export_public(&key.fingerprint.to_string(), Encoding::Armored)
        .unwrap();
    (store, key, public)
}

fn shown(key: &KeyInfo) -> (Option<&str>, String) {
    (key.host.as_deref(), key.may.to_string())
}

fn binding(keys: &TrustedKeys, key: &KeyInfo) -> Option<Binding> {
    keys.binding(key.fingerprint).cloned()
}

#[test]
fn another_hosts_key_is_not_believed_without_saying_whose_it_is() {
    let bench = Bench::new();
    let ((ours, _, _), (_, key, public)) = (host(&bench, "head"), host(&bench, "b1"));
    let refused = ours.import(&public, &[Role::Messages]).unwrap_err();
    assert!(refused.to_string().contains("--host NAME --may DUTY"), "{refused}");
    assert_eq!(ours.list().unwrap().len(), 1, "nothing was stored");

    let build = bound("b1", "build");
    let known = ours
        .import_bound(&public, &[Role::Messages], Some(&build))
        .unwrap()
        .remove(0);
    assert_eq!(shown(&known), (Some("b1"), "build".to_owned()));
    assert_eq!(
        binding(&ours.trusted(Role::Messages).unwrap(), &key),
        Some(build.clone())
    );
    // The public key again, such as one that was extended: its host stays.
    ours.import(&public, &[Role::Messages]).unwrap();
    assert_eq!(binding(&ours.trusted(Role::Messages).unwrap(), &key), Some(build));

    let refused = ours
        .import_bound(&public, &[Role::Messages], Some(&bound("b2", "build")))
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains(&format!("key allow {} --host b2 --may build", key.fingerprint)),
        "{refused}"
    );
    let query = key.fingerprint.to_string();
    let changed = ours.allow(&query, &bound("b2", "build,sign")).unwrap();
    assert_eq!(shown(&changed), (Some("b2"), "build,sign".to_owned()));
}

#[test]
fn of_another_hosts_key_nothing_but_the_public_part_is_taken() {
    let bench = Bench::new();
    let ((ours, own, _), (theirs, key, _)) = (host(&bench, "head"), host(&bench, "b1"));
    let secret = std::fs::read(theirs.directory().join(format!("{}.asc", key.fingerprint))).unwrap();
    ours.import_bound(&secret, &[Role::Messages], Some(&bound("b1", "build")))
        .unwrap();
    let secrets: Vec<_> = ours.list().unwrap().into_iter().filter(|key| key.has_secret).collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(
        secrets[0].fingerprint, own.fingerprint,
        "the other one's would sign for this host"
    );
}

#[test]
fn a_secret_messages_key_is_this_hosts_only_if_somebody_says_so() {
    let bench = Bench::new();
    let ((ours, _, _), (theirs, key, public)) = (host(&bench, "head"), host(&bench, "b1"));
    let secret = std::fs::read(theirs.directory().join(format!("{}.asc", key.fingerprint))).unwrap();
    for roles in [&[Role::Messages][..], &[Role::Packages, Role::Messages]] {
        let refused = ours.import(&secret, roles).unwrap_err();
        assert!(matches!(refused, KeyError::WhoseSecret { .. }), "{refused}");
        let said = refused.to_string();
        assert!(
            said.contains("`--own`") && said.contains(" --own FILE`") && said.contains("`--host NAME --may DUTY`"),
            "{said}"
        );
        assert_eq!(ours.list().unwrap().len(), 1, "nothing was stored");
    }
    // As another host's, nothing of the secret comes; nor later, when nobody says whose it is.
    ours.import_bound(&public, &[Role::Messages], Some(&bound("b1", "build")))
        .unwrap();
    assert!(ours.import(&secret, &[Role::Messages]).is_err());
    assert!(!ours.find_stored(&key.fingerprint.to_string()).unwrap().has_secret);

    let moved = store(&bench, "moved");
    let own = moved
        .import_as(&secret, &[Role::Messages], Whose::Own)
        .unwrap()
        .remove(0);
    assert!(own.has_secret && !own.is_unbound());
    // What is here as such may come again.
    moved.import(&secret, &[Role::Messages]).unwrap();
    // A secret key for something else is no host's.
    let packages = store(&bench, "packages");
    packages.import(&secret, &[Role::Packages]).unwrap();
    assert!(
        packages.import(&secret, &[Role::Messages]).is_err(),
        "it was not for messages"
    );
}

#[test]
fn a_secret_key_for_something_else_becomes_no_messages_key_by_its_roles() {
    let bench = Bench::new();
    let ((ours, own, _), (theirs, key, _)) = (host(&bench, "head"), host(&bench, "b1"));
    let query = key.fingerprint.to_string();
    let secret = theirs.export_secret(&query).unwrap();
    ours.import(secret.expose(), &[Role::Packages]).unwrap();
    let refused = ours.set_roles(&query, &[Role::Packages, Role::Messages]).unwrap_err();
    assert!(matches!(refused, KeyError::WhoseSecret { .. }), "{refused}");
    let said = format!("`foundry-host key export --secret {query} | foundry-host key import --role messages");
    assert!(refused.to_string().contains(&said), "{refused}");
    // Nor by being bound to its host: the secret would sign here all the same.
    let refused = ours.import_bound(secret.expose(), &[Role::Messages], Some(&bound("b1", "build")));
    assert!(matches!(refused, Err(KeyError::WhoseSecret { .. })), "{refused:?}");
    assert_eq!(ours.find_stored(&query).unwrap().roles, [Role::Packages].into());
    // The host's own may have more roles, and as its own the other one may too.
    let own = own.fingerprint.to_string();
    ours.set_roles(&own, &[Role::Messages, Role::Bots]).unwrap();
    ours.import_as(secret.expose(), &[Role::Messages], Whose::Own).unwrap();
    assert_eq!(
        ours.find_stored(&query).unwrap().roles,
        [Role::Messages, Role::Packages].into()
    );
}

#[test]
fn the_secret_of_another_hosts_key_comes_by_no_role_and_not_as_this_hosts_own() {
    let bench = Bench::new();
    let ((ours, _, _), (theirs, key, public)) = (host(&bench, "head"), host(&bench, "b1"));
    let query = key.fingerprint.to_string();
    let secret = theirs.export_secret(&query).unwrap();
    ours.import_bound(&public, &[Role::Messages], Some(&bound("b1", "build")))
        .unwrap();
    for role in [Role::Commits, Role::Packages, Role::Messages] {
        let refused = ours.import(secret.expose(), &[role]).unwrap_err();
        assert!(matches!(refused, KeyError::WhoseSecret { .. }), "{role}: {refused}");
    }
    let refused = ours
        .import_as(secret.expose(), &[Role::Messages], Whose::Own)
        .unwrap_err();
    assert!(matches!(refused, KeyError::OtherHost { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains(&format!("`foundry-host key remove {query}`")),
        "{refused}"
    );
    let known = ours.find_stored(&query).unwrap();
    assert!(!known.has_secret && known.roles == [Role::Messages].into());
    // The host's own key that is bound to it may come again.
    theirs.allow(&query, &bound("b1", "build")).unwrap();
    theirs
        .import_as(secret.expose(), &[Role::Messages], Whose::Own)
        .unwrap();
    // A key of another host that is removed may be this one's.
    ours.remove(&query).unwrap();
    ours.import_as(secret.expose(), &[Role::Messages], Whose::Own).unwrap();
}

#[test]
fn a_hosts_own_key_needs_no_binding_and_other_roles_have_none() {
    let bench = Bench::new();
    let (ours, own, _) = host(&bench, "head");
    let trusted = ours.trusted(Role::Messages).unwrap();
    assert!(trusted.is_secret(own.fingerprint) && !own.is_unbound());
    assert_eq!(binding(&trusted, &own), None);
    let packages = ours.generate(Role::Packages, &NewKey::new("packages")).unwrap();
    let refused = ours
        .allow(&packages.fingerprint.to_string(), &bound("head", "head"))
        .unwrap_err();
    assert!(
        matches!(
            refused,
            KeyError::WrongRole {
                role: Role::Messages,
                ..
            }
        ),
        "{refused}"
    );
}

/// What format 1 wrote of a messages key.
const OLD: &str = "{\n  \"format\": 1,\n  \"roles\": [\n    \"messages\"\n  ]\n}";

#[test]
fn a_key_from_before_keys_had_hosts_is_read_and_believed_in_nothing() {
    let bench = Bench::new();
    let ((ours, ..), (_, key, public)) = (host(&bench, "head"), host(&bench, "b1"));
    ours.import_bound(&public, &[Role::Messages], Some(&bound("b1", "build")))
        .unwrap();
    let file = ours.directory().join(format!("{}.json", key.fingerprint));
    fs::write(&file, OLD).unwrap();
    let old = ours.find_stored(&key.fingerprint.to_string()).unwrap();
    assert!(old.is_unbound() && old.roles.contains(&Role::Messages));
    assert_eq!(binding(&ours.trusted(Role::Messages).unwrap(), &key), None);
    ours.allow(&key.fingerprint.to_string(), &bound("b1", "build,x.*@y/+"))
        .unwrap();
    let written = fs::read_to_string(&file).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    let expected = serde_json::json!({
        "format": 2, "roles": ["messages"], "host": "b1", "may": ["build", "x.*@y/+"],
    });
    assert_eq!(written, expected);
}

fn in_groups(host: &str, may: &str, groups: &[&str]) -> Binding {
    let groups = groups.iter().map(|group| (*group).to_owned());
    bound(host, may).in_groups(Groups::of(groups).unwrap())
}

/// What format 3 wrote of a key that is bound to groups. Format 2 is the same without `groups`.
const IN_GROUPS: &str = "{\n  \"format\": 3,\n  \"roles\": [\n    \"messages\"\n  ],\n  \"host\": \"b1\",\n  \"may\": [\n    \"build\"\n  ],\n  \"groups\": [\n    \"pub/a\",\n    \"pub/b\"\n  ]\n}";

#[test]
fn a_binding_to_groups_is_kept_in_a_format_that_who_knows_no_groups_refuses() {
    let bench = Bench::new();
    let ((ours, ..), (_, key, public)) = (host(&bench, "head"), host(&bench, "b1"));
    let two = in_groups("b1", "build", &["pub/b", "pub/a"]);
    ours.import_bound(&public, &[Role::Messages], Some(&two)).unwrap();
    let file = ours.directory().join(format!("{}.json", key.fingerprint));
    assert_eq!(fs::read_to_string(&file).unwrap(), IN_GROUPS);
    assert_eq!(binding(&ours.trusted(Role::Messages).unwrap(), &key), Some(two.clone()));
    // The public key again: its groups stay, and so does the way to change its host.
    ours.import(&public, &[Role::Messages]).unwrap();
    assert_eq!(ours.find_stored("b1").unwrap().groups, two.groups);
    let moved = in_groups("b2", "build", &["pub/c"]);
    let refused = ours.import_bound(&public, &[Role::Messages], Some(&moved)).unwrap_err();
    assert!(
        refused.to_string().contains("--host b2 --may build --group pub/c`"),
        "{refused}"
    );
    // Without groups the file is as it was before there were any.
    let any = ours.allow("b1", &bound("b1", "build")).unwrap();
    assert!(any.groups.are_any());
    let written: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let expected = serde_json::json!({ "format": 2, "roles": ["messages"], "host": "b1", "may": ["build"] });
    assert_eq!(written, expected);
}

#[test]
fn groups_travel_in_the_farms_file_and_one_without_groups_is_as_it_was() {
    let bench = Bench::new();
    let ((head, own, _), (b1, of_b1, public)) = (host(&bench, "head"), host(&bench, "b1"));
    let format = || {
        let farm: serde_json::Value = serde_json::from_slice(&head.export_farm().unwrap()).unwrap();
        (farm["format"].clone(), farm["keys"].clone())
    };
    head.allow(&own.fingerprint.to_string(), &bound("head", "head"))
        .unwrap();
    let (number, keys) = format();
    assert_eq!(number, 1);
    let members: Vec<_> = keys[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["host", "key", "may"]);
    let one = in_groups("b1", "build", &["pub/buildbot_i386"]);
    head.import_bound(&public, &[Role::Messages], Some(&one)).unwrap();
    let (number, keys) = format();
    assert_eq!(number, 2);
    let of = keys.as_array().unwrap().iter().find(|key| key["host"] == "b1").unwrap();
    assert_eq!(of["groups"], serde_json::json!(["pub/buildbot_i386"]));
    b1.import_farm(&head.export_farm().unwrap()).unwrap();
    assert_eq!(binding(&b1.trusted(Role::Messages).unwrap(), &of_b1), Some(one));
}

#[test]
fn a_farms_file_makes_each_host_known_to_each() {
    let bench = Bench::new();
    let ((head, own, _), (b1, of_b1, public)) = (host(&bench, "head"), host(&bench, "b1"));
    let refused = head.export_farm().unwrap_err();
    assert!(refused.to_string().contains("--host NAME --may DUTY"), "{refused}");
    head.allow(&own.fingerprint.to_string(), &bound("head", "head"))
        .unwrap();
    head.import_bound(&public, &[Role::Messages], Some(&bound("b1", "builder")))
        .unwrap();
    let farm = head.export_farm().unwrap();
    assert!(!String::from_utf8(farm.clone()).unwrap().contains("PRIVATE"));

    b1.import_farm(&farm).unwrap();
    let keys = b1.list().unwrap();
    let of = |key: &KeyInfo| keys.iter().find(|known| known.fingerprint == key.fingerprint).unwrap();
    assert_eq!(shown(of(&own)), (Some("head"), "watch,sign,publish".to_owned()));
    assert_eq!(shown(of(&of_b1)), (Some("b1"), "build".to_owned()));
    assert!(of(&of_b1).has_secret, "its own key keeps its secret");
    // What it learns is what it hands on.
    assert_eq!(b1.export_farm().unwrap(), farm);
}

#[test]
fn a_host_may_have_two_keys_and_a_key_one_host() {
    let bench = Bench::new();
    let ((head, own, _), (_, _, first), (_, other, second)) =
        (host(&bench, "head"), host(&bench, "b1"), host(&bench, "b1-new"));
    head.allow(&own.fingerprint.to_string(), &bound("head", "head"))
        .unwrap();
    for public in [&first, &second] {
        head.import_bound(public, &[Role::Messages], Some(&bound("b1", "build")))
            .unwrap();
    }
    let farm = head.export_farm().unwrap();
    let witness = store(&bench, "witness");
    assert_eq!(witness.import_farm(&farm).unwrap().len(), 3);

    head.allow(&other.fingerprint.to_string(), &bound("b2", "build"))
        .unwrap();
    let refused = witness.import_farm(&head.export_farm().unwrap()).unwrap_err();
    assert!(matches!(refused, KeyError::OtherHost { .. }), "{refused}");
    // The same within one file.
    let mut twice: serde_json::Value = serde_json::from_slice(&farm).unwrap();
    let mut again = twice["keys"][0].clone();
    again["host"] = "elsewhere".into();
    twice["keys"].as_array_mut().unwrap().push(again);
    let newcomer = store(&bench, "newcomer");
    let refused = newcomer.import_farm(twice.to_string().as_bytes()).unwrap_err();
    assert!(matches!(refused, KeyError::OtherHost { .. }), "{refused}");
    assert_eq!(newcomer.list().unwrap(), [], "all of the keys or none");
}

#[test]
fn a_farms_file_that_is_none_is_refused_whole() {
    let bench = Bench::new();
    let (head, own, _) = host(&bench, "head");
    head.allow(&own.fingerprint.to_string(), &bound("head", "head"))
        .unwrap();
    let farm: serde_json::Value = serde_json::from_slice(&head.export_farm().unwrap()).unwrap();
    let secret = head.export_secret(&own.fingerprint.to_string()).unwrap();
    let secret = String::from_utf8(secret.expose().to_vec()).unwrap();
    let newcomer = store(&bench, "newcomer");
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = farm.clone();
        change(&mut changed);
        newcomer
            .import_farm(changed.to_string().as_bytes())
            .unwrap_err()
            .to_string()
    };
    for (change, word) in [
        (
            &(|farm: &mut serde_json::Value| farm["format"] = 3.into()) as &dyn Fn(&mut serde_json::Value),
            "newer foundry-host",
        ),
        (&|farm: &mut serde_json::Value| farm["more"] = 1.into(), "more"),
        (
            &|farm: &mut serde_json::Value| farm["keys"][0]["until"] = 1.into(),
            "until",
        ),
        (
            &|farm: &mut serde_json::Value| farm["keys"][0]["host"] = "a/b".into(),
            "a/b",
        ),
        (
            &|farm: &mut serde_json::Value| farm["keys"][0]["may"] = serde_json::json!(["rule"]),
            "rule",
        ),
        (
            &|farm: &mut serde_json::Value| farm["keys"][0]["groups"] = serde_json::json!(["a b"]),
            "is not a group",
        ),
        (
            &|farm: &mut serde_json::Value| farm["keys"][0]["may"] = serde_json::json!([]),
            "nothing",
        ),
        (
            &|farm: &mut serde_json::Value| farm["keys"][0]["key"] = "x".into(),
            "head",
        ),
        (
            &|farm: &mut serde_json::Value| farm["keys"][0]["key"] = secret.clone().into(),
            "secret part",
        ),
    ] {
        let error = refused(change);
        assert!(error.contains(word), "{word}: {error}");
    }
    assert_eq!(newcomer.list().unwrap(), []);
}

#[test]
fn a_key_that_is_revoked_or_not_among_the_trusted_closes_no_group() {
    let bench = Bench::new();
    let ((ours, own, _), (_, trusted, public), (theirs, bound_key, _)) =
        (host(&bench, "head"), host(&bench, "b1"), host(&bench, "b2"));
    ours.import_bound(&public, &[Role::Messages], Some(&bound("b1", "build")))
        .unwrap();
    let export = || theirs.export_public(&bound_key.fingerprint.to_string(), Encoding::Armored);
    let groups = Groups::of(["pub/a".to_owned()]).unwrap();
    let in_group = bound("b2", "build").in_groups(groups);
    ours.import_bound(&export().unwrap(), &[Role::Messages], Some(&in_group))
        .unwrap();
    let all = ours.trusted(Role::Messages).unwrap();
    assert!(all.claims().keep_out("b1", "pub/a"));
    let some = all.restricted_to(&[own.fingerprint, trusted.fingerprint]);
    assert!(!some.claims().keep_out("b1", "pub/a"));
    let with_it = all.restricted_to(&[trusted.fingerprint, bound_key.fingerprint]);
    assert!(with_it.claims().keep_out("b1", "pub/a"));

    theirs
        .revoke(
            &bound_key.fingerprint.to_string(),
            crate::keys::RevocationReason::Compromised,
            &crate::keys::PassphraseSource::none(),
        )
        .unwrap();
    ours.import_bound(&export().unwrap(), &[Role::Messages], Some(&in_group))
        .unwrap();
    assert!(!ours.trusted(Role::Messages).unwrap().claims().keep_out("b1", "pub/a"));
}
