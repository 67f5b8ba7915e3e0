use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::capability::{Grants, MissingGrant};

/// A bot from a file, what it asks for, and what it is granted.
#[derive(Default)]
struct Case {
    name: &'static str,
    reads: Vec<(&'static str, &'static str)>,
    chosen: bool,
    publishes: Vec<&'static str>,
    grants: Grants,
}

impl Case {
    fn named(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    fn reads(mut self, topic: &'static str, endpoint: &'static str) -> Self {
        self.reads.push((endpoint, topic));
        self
    }

    fn publishes(mut self, topic: &'static str) -> Self {
        self.publishes.push(topic);
        self
    }

    fn in_a_chosen_group(mut self) -> Self {
        self.chosen = true;
        self
    }

    fn may_read(mut self, grant: &str) -> Self {
        self.grants.read.push(grant.parse().unwrap());
        self
    }

    fn may_publish(mut self, grant: &str) -> Self {
        self.grants.publish.push(grant.parse().unwrap());
        self
    }

    fn weigh(&self) -> (Routes, Vec<MissingGrant>) {
        let owned = |text: &&str| (*text).to_owned();
        let inputs: Vec<_> = self
            .reads
            .iter()
            .map(|(group, topic)| (owned(group), owned(topic)))
            .collect();
        let outputs: BTreeMap<_, _> = self
            .publishes
            .iter()
            .map(|topic| (owned(topic), owned(topic)))
            .collect();
        let bearer = Bearer::File {
            name: self.name,
            component: "component",
        };
        let request = Request {
            inputs: &inputs,
            endpoint_chosen: self.chosen,
            outputs: &outputs,
        };
        weigh(bearer, &request, &self.grants)
    }

    fn missing(&self) -> Vec<String> {
        self.weigh().1.iter().map(|grant| grant.flag(&[])).collect()
    }

    /// Why the only topic that it publishes on does not take an event.
    fn refusal(&self, event_type: &str) -> Option<String> {
        let (routes, missing) = self.weigh();
        assert_eq!(missing, []);
        let topic = self.publishes[0];
        routes
            .outlets
            .check(topic, event_type, &Map::new())
            .err()
            .map(|why| why.to_string())
    }
}

fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_bot_has_its_name_and_what_is_below_it_without_a_grant() {
    let own = Case::named("lint").reads("lint/in", "lint/workers").publishes("lint");
    assert_eq!(own.missing(), [""; 0]);
    let (routes, _) = own.weigh();
    assert_eq!(routes.inputs, [("lint/workers".to_owned(), "lint/in".to_owned())]);
    assert_eq!(own.refusal("org.example.report.v1"), None);
    let beside = Case::named("lint").reads("linting", "lint").publishes("lint-reports");
    assert_eq!(
        beside.missing(),
        ["--allow-read linting", "--allow-publish lint-reports"],
        "a name that only begins alike is another one"
    );
}

#[test]
fn everything_beyond_needs_a_grant_and_all_that_is_missing_is_named_at_once() {
    let case = Case::named("lint")
        .reads("commits", "lint")
        .reads("builds", "lint")
        .publishes("reports")
        .publishes("signs");
    assert_eq!(
        case.missing(),
        [
            "--allow-read commits",
            "--allow-read builds",
            "--allow-publish reports",
            "--allow-publish signs"
        ]
    );
    let granted = case.may_read("commits").may_read("+").may_publish("#");
    assert_eq!(granted.missing(), [""; 0]);
}

#[test]
fn pipeline_types_need_a_grant_of_their_own() {
    let plain = Case::named("evil").publishes("signs").may_publish("signs");
    assert_eq!(plain.refusal("org.example.report.v1"), None);
    assert_eq!(
        plain.refusal("foundry.sign.v1").unwrap(),
        "signs: events of the type foundry.sign.v1 need a grant (--allow-publish signs:foundry.sign.v1)"
    );
    let everything = Case::named("evil").publishes("signs").may_publish("#");
    assert!(
        everything.refusal("foundry.sign.v1").is_some(),
        "no wildcard names a type"
    );
    let own = Case::named("evil").publishes("evil/signs");
    assert!(own.refusal("foundry.sign.v1").is_some(), "on its own topics as well");

    let typed = Case::named("checker")
        .publishes("builds")
        .may_publish("builds:foundry.build.v1");
    assert_eq!(typed.refusal("foundry.build.v1"), None);
    assert!(typed.refusal("foundry.sign.v1").is_some());
    assert!(
        typed.refusal("org.example.report.v1").is_some(),
        "one type and no other"
    );
    let elsewhere = typed.publishes("dists").may_publish("dists");
    let (routes, _) = elsewhere.weigh();
    assert!(routes.outlets.check("dists", "foundry.build.v1", &Map::new()).is_err());
}

#[test]
fn a_group_of_another_bot_is_joined_only_with_a_grant_that_names_it() {
    let declared = Case::named("evil").reads("commits", "pub/buildbot").may_read("commits");
    let (routes, missing) = declared.weigh();
    assert_eq!(missing, []);
    assert_eq!(routes.inputs, [("evil".to_owned(), "commits".to_owned())]);
    assert_eq!(
        routes.moved[0].to_string(),
        "it reads commits in a group of its own, evil, since pub/buildbot is not its own: to share the messages of \
         pub/buildbot it needs --allow-read commits@pub/buildbot"
    );

    let chosen = declared.in_a_chosen_group();
    assert_eq!(
        chosen.missing(),
        ["--allow-read commits@pub/buildbot"],
        "what the operator wrote is done, or refused"
    );
    let granted = chosen.may_read("commits@pub/buildbot");
    let (routes, missing) = granted.weigh();
    assert_eq!((missing, routes.moved), (Vec::new(), Vec::new()));
    assert_eq!(routes.inputs, [("pub/buildbot".to_owned(), "commits".to_owned())]);

    let other_topic = Case::named("evil")
        .reads("builds", "pub/buildbot")
        .may_read("commits@pub/buildbot");
    assert_eq!(other_topic.missing(), ["--allow-read builds"]);
}

#[test]
fn the_pipelines_names_are_no_names_for_bots_from_files() {
    for name in ["commits", "builds", "signs", "dists", "failures", "control", "jobs"] {
        assert!(is_reserved_name(name), "{name}");
    }
    for name in ["logs", "hosts", "bots", "peers", "pub"] {
        assert!(is_reserved_name(name), "{name}");
    }
    assert!(!is_reserved_name("lint"));
    // A bot called `pub` would own the groups of all stock bots.
    let case = Case::named("pub").reads("commits", "pub/buildbot").may_read("commits");
    assert_eq!(case.weigh().0.inputs[0].0, "pub");
    assert_eq!(
        Case::named("signs").publishes("signs").missing(),
        ["--allow-publish signs"]
    );
}

#[test]
fn a_bot_tells_of_its_own_failures_and_of_nobody_elses() {
    let (routes, _) = Case::named("lint").weigh();
    let check = |outlets: &Outlets, stage: &str| {
        outlets.check("failures", "foundry.failure.v1", &object(json!({ "stage": stage })))
    };
    assert_eq!(check(&routes.outlets, "lint"), Ok(()));
    assert_eq!(check(&routes.outlets, "component"), Ok(()));
    assert_eq!(
        check(&routes.outlets, "sign").unwrap_err().to_string(),
        "failures: the failure has the stage \"sign\", which is not the bot's own (lint or component); to tell of others' \
         failures needs a grant (--allow-publish failures:foundry.failure.v1)"
    );
    let other_type = routes
        .outlets
        .check("failures", "foundry.sign.v1", &object(json!({ "stage": "lint" })));
    assert!(other_type.is_err());

    let posing = Bearer::File {
        name: "lint",
        component: "signbot",
    };
    let request = Request {
        inputs: &[],
        endpoint_chosen: false,
        outputs: &BTreeMap::new(),
    };
    let (routes, _) = weigh(posing, &request, &Grants::default());
    assert!(
        check(&routes.outlets, "signbot").is_err(),
        "whatever its component calls itself"
    );
    assert_eq!(posing.stage("signbot"), "lint");
    assert_eq!(Bearer::Stock("signbot").stage("signbot"), "signbot");

    let declared = Case::named("lint").publishes("failures");
    assert_eq!(
        declared.missing(),
        [""; 0],
        "nor does it need a grant when it declares the topic"
    );
    let granted = declared.may_publish("failures:foundry.failure.v1");
    assert_eq!(check(&granted.weigh().0.outlets, "sign"), Ok(()));
}

#[test]
fn a_stock_bot_publishes_its_own_type_where_its_options_say() {
    let outputs = [("builds".to_owned(), "builds-i386".to_owned())].into();
    let request = Request {
        inputs: &[("pub/buildbot".to_owned(), "commits".to_owned())],
        endpoint_chosen: false,
        outputs: &outputs,
    };
    let (routes, missing) = weigh(Bearer::Stock("buildbot"), &request, &Grants::default());
    assert_eq!((missing, routes.inputs.as_slice()), (Vec::new(), request.inputs));
    let outlets = &routes.outlets;
    assert_eq!(outlets.topic("builds"), Ok("builds-i386"));
    assert_eq!(outlets.check("builds-i386", "foundry.build.v1", &Map::new()), Ok(()));
    for other in ["foundry.sign.v1", "org.example.report.v1"] {
        assert!(outlets.check("builds-i386", other, &Map::new()).is_err(), "{other}");
    }
    assert!(outlets.check("builds", "foundry.build.v1", &Map::new()).is_err());
    let failure = object(json!({ "stage": "build" }));
    assert_eq!(outlets.check("failures", "foundry.failure.v1", &failure), Ok(()));
}

#[test]
fn a_topic_that_is_not_declared_takes_nothing() {
    let (routes, _) = Case::named("lint").may_publish("#").weigh();
    assert_eq!(routes.outlets.topic("reports").unwrap_err().to_string(), "reports");
    assert!(
        routes
            .outlets
            .check("reports", "org.example.report.v1", &Map::new())
            .is_err()
    );
}

#[test]
fn filters_are_those_of_mqtt() {
    let fits = |filter: &str, name: &str| filter.parse::<TopicFilter>().unwrap().fits(name);
    for (filter, name) in [
        ("a", "a"),
        ("a/+", "a/b"),
        ("a/+", "a/"),
        ("+/+", "a/b"),
        ("a/#", "a"),
        ("a/#", "a/b/c"),
        ("#", "a/b"),
        ("+", "a"),
    ] {
        assert!(fits(filter, name), "{filter} {name}");
    }
    for (filter, name) in [
        ("a", "a/b"),
        ("a/+", "a"),
        ("a/+", "a/b/c"),
        ("+", "a/b"),
        ("a/#", "ab"),
        ("a", "A"),
    ] {
        assert!(!fits(filter, name), "{filter} {name}");
    }
    for bad in ["", "a#", "#/a", "a/b+", "+a", "/a", "$SYS/#", "a\nb", &"x".repeat(201)] {
        assert!(bad.parse::<TopicFilter>().is_err(), "{bad:?}");
    }
}

#[test]
fn grants_are_read_as_they_are_written() {
    for text in ["commits", "commits@pub/buildbot", "a/+/b@#", "#"] {
        assert_eq!(text.parse::<ReadGrant>().unwrap().to_string(), text);
    }
    for text in ["reports", "builds:foundry.build.v1", "#", "a/#:org.example.report.v1"] {
        assert_eq!(text.parse::<PublishGrant>().unwrap().to_string(), text);
    }
    for bad in ["", "@x", "commits@", "logs/#", "peers", "a#@x"] {
        assert!(bad.parse::<ReadGrant>().is_err(), "{bad}");
    }
    for bad in [
        "",
        ":foundry.build.v1",
        "builds:",
        "builds:foundry.*",
        "builds:a b",
        "hosts/x",
        "bots",
    ] {
        assert!(bad.parse::<PublishGrant>().is_err(), "{bad}");
    }
    let written = serde_json::to_string(&"commits@x".parse::<ReadGrant>().unwrap()).unwrap();
    assert_eq!(written, "\"commits@x\"");
    assert!(
        serde_json::from_str::<PublishGrant>("\"logs/x\"").is_err(),
        "nor does a file grant it"
    );
}

/// A level of a topic, often one of a branch of the hosts.
fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["logs", "hosts", "bots", "peers"]).prop_map(ToOwned::to_owned),
        "[a-z]{0,3}",
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..4).prop_map(|levels| levels.join("/"))
}

/// A topic, or an endpoint, that is not below a branch of the hosts.
fn grantable() -> impl Strategy<Value = String> {
    ("[a-c]{1,2}", prop::option::of(topic())).prop_map(|(first, rest)| match rest {
        Some(rest) => format!("{first}/{rest}"),
        None => first,
    })
}

/// Filters, most of them good ones.
fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+".to_owned()), 1 => Just("#".to_owned())];
    prop::collection::vec(level, 1..4).prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn no_grant_ever_reaches_the_hosts_branches(
        filter in filter(),
        branch in prop::sample::select(super::filter::HOSTS_OWN.to_vec()),
        rest in prop::option::of(topic()),
        name in prop::sample::select(vec!["lint", "logs", "hosts", "bots", "peers"]),
    ) {
        let topic = rest.map_or(branch.to_owned(), |rest| format!("{branch}/{rest}"));
        let mut grants = Grants::default();
        grants.read.extend(filter.parse::<ReadGrant>());
        grants.read.extend(format!("{filter}@#").parse::<ReadGrant>());
        grants.publish.extend(filter.parse::<PublishGrant>());
        grants.publish.extend(format!("{filter}:foundry.sign.v1").parse::<PublishGrant>());
        let outputs = [(topic.clone(), topic.clone())].into();
        let request = Request {
            inputs: &[(name.to_owned(), topic.clone())],
            endpoint_chosen: false,
            outputs: &outputs,
        };
        let bearer = Bearer::File { name, component: "evil" };
        let (_, missing) = weigh(bearer, &request, &grants);
        prop_assert_eq!(missing, [MissingGrant::Read(topic.clone()), MissingGrant::Publish(topic)]);
    }

    #[test]
    fn granting_what_is_missing_makes_a_request_whole(
        name in "[a-c]",
        reads in prop::collection::vec((grantable(), grantable()), 0..3),
        publishes in prop::collection::vec(grantable(), 0..3),
        chosen in any::<bool>(),
        filters in prop::collection::vec(filter(), 0..2),
    ) {
        let inputs: Vec<_> = reads.into_iter().map(|(topic, endpoint)| (endpoint, topic)).collect();
        let outputs: BTreeMap<_, _> = publishes.into_iter().map(|topic| (topic.clone(), topic)).collect();
        let request = Request { inputs: &inputs, endpoint_chosen: chosen, outputs: &outputs };
        let bearer = Bearer::File { name: &name, component: "component" };
        let mut grants = Grants::default();
        grants.read.extend(filters.iter().filter_map(|filter| filter.parse::<ReadGrant>().ok()));
        grants.publish.extend(filters.iter().filter_map(|filter| filter.parse::<PublishGrant>().ok()));
        let (_, missing) = weigh(bearer, &request, &grants);
        for grant in &missing {
            let text = grant.value().unwrap_or_default();
            match grant {
                MissingGrant::Publish(_) => grants.publish.push(text.parse().unwrap()),
                _ => grants.read.push(text.parse().unwrap()),
            }
        }
        let (routes, missing) = weigh(bearer, &request, &grants);
        prop_assert_eq!(missing, []);
        prop_assert_eq!(routes.inputs.len(), inputs.len());
        for (group, topic) in &routes.inputs {
            let own = *group == name || group.starts_with(&format!("{name}/"));
            let shared = grants.read.iter().any(|grant| grant.allows_in(topic, group));
            prop_assert!(own || shared, "{} in {}", topic, group);
        }
    }
}
