use proptest::prelude::*;
use serde_json::json;
use time::Duration;
use time::format_description::well_known::Rfc3339;

use super::super::{Origin, OutgoingEvent};
use super::*;
use crate::keys::Groups;

const UPGRADED: Upgraded = Upgraded {
    topics: time::macros::datetime!(2026-12-01 12:00 UTC),
    origins: time::macros::datetime!(2026-12-11 12:00 UTC),
    announcements: OffsetDateTime::UNIX_EPOCH,
};

fn key() -> Fingerprint {
    "00112233445566778899aabbccddeeff00112233".parse().unwrap()
}

fn topics() -> Topics {
    Topics::new("foundry")
}

fn event(host: &str, event_type: &str, topic: &str) -> Event {
    let data = json!({ "stage": "lintbot", "reason": "r" });
    let origin = Origin::Timer {
        bot: "bot".to_owned(),
        key: "k".to_owned(),
    };
    let outgoing = OutgoingEvent {
        id: origin.id(&[event_type, topic]),
        topic: topic.to_owned(),
        event_type: event_type.to_owned(),
        subject: None,
        run: "r1".to_owned(),
        cause: None,
        origin,
        data: data.as_object().unwrap().clone(),
    };
    Event::of(outgoing, &format!("{host}/bot"), &topics())
}

/// An event that differs in something.
fn changed(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

fn failure(stage: &str) -> Event {
    let mut event = event("b1", FAILURE, FAILURES);
    event.data.insert("stage".to_owned(), json!(stage));
    event
}

fn bound(may: &str) -> Speaker {
    let may = match may {
        "" => Duties::default(),
        may => may.parse().unwrap(),
    };
    Speaker {
        key: key(),
        binding: Some(Binding::new("b1", may).unwrap()),
        is_own: false,
        claims: Arc::default(),
    }
}

fn decision(speaker: &Speaker, event: &Event, topic: &str) -> Result<(), Rule> {
    decide(speaker, event, &topics().full(topic), &topics(), UPGRADED)
}

/// Whether a host with these duties may say the type on the topic.
fn may(duties: &str, event_type: &str, topic: &str) -> bool {
    decision(&bound(duties), &event("b1", event_type, topic), topic).is_ok()
}

#[test]
fn each_duty_allows_its_type_on_its_topic_and_no_other() {
    let said = [
        ("watch", "foundry.commit.v1", "commits"),
        ("build", "foundry.build.v1", "builds"),
        ("sign", "foundry.sign.v1", "signs"),
        ("publish", "foundry.dist.v1", "dists"),
        ("operate", "foundry.job.v1", "jobs"),
        ("operate", "foundry.control.v1", "control"),
    ];
    let topics_of_all = [
        "commits", "builds", "signs", "dists", "jobs", "control", "builds-2", "logs/r/b",
    ];
    for (_, event_type, home) in said {
        for (duty, ..) in said {
            for topic in topics_of_all {
                let is_control = topic == "jobs" || topic == "control";
                let of_operate = duty == "operate" && is_control && ["jobs", "control"].contains(&home);
                let expected = of_operate || said.contains(&(duty, event_type, topic));
                assert_eq!(
                    may(duty, event_type, topic),
                    expected,
                    "{duty}: {event_type} on {topic}"
                );
            }
        }
    }
}

#[test]
fn whoever_has_a_duty_may_ask_and_answer_and_who_has_none_may_not() {
    for event_type in ["foundry.peer-question.v1", "foundry.peer-answer.v1"] {
        for duty in ["watch", "build", "operate", "x@y"] {
            assert!(may(duty, event_type, "peers/head"), "{duty}");
            assert!(!may(duty, event_type, "builds"), "{duty}");
        }
        assert!(!may("", event_type, "peers/head"));
    }
    assert!(!may("build", "foundry.sign.v1", "peers/head"));
}

#[test]
fn a_failure_of_a_stock_bot_needs_that_bots_duty() {
    let may = |duties: &str, stage: &str| decision(&bound(duties), &failure(stage), FAILURES).is_ok();
    for (duty, stages) in STAGES {
        for stage in stages {
            for other in ["watch", "build", "sign", "publish"] {
                assert_eq!(may(other, stage), other == duty.to_string(), "{other}: {stage}");
            }
            assert!(!may("operate", &stage.to_uppercase()), "{stage}");
        }
    }
    assert!(may("operate", "lintbot"));
    assert!(!may("", "lintbot"));
}

#[test]
fn a_key_speaks_for_its_own_host_alone_and_an_unbound_one_for_none() {
    let other = event("head", "foundry.build.v1", "builds");
    let rule = decision(&bound("build"), &other, "builds").unwrap_err();
    assert_eq!(rule.name(), "other-host");
    for source in ["b1", "", "/", "b1x/bot", "B1/bot"] {
        let mut event = event("b1", "foundry.build.v1", "builds");
        source.clone_into(&mut event.source);
        assert!(decision(&bound("build"), &event, "builds").is_err(), "{source:?}");
    }
    let nobody = Speaker {
        binding: None,
        ..bound("all")
    };
    let rule = decision(&nobody, &event("b1", "foundry.build.v1", "builds"), "builds").unwrap_err();
    assert_eq!(rule.name(), "unbound-key");
    assert!(
        rule.to_string()
            .contains(&format!("key allow {} --host b1 --may DUTY", key())),
        "{rule}"
    );
}

#[test]
fn the_remedy_of_a_missing_duty_is_the_command_that_gives_it() {
    let rule = |event_type: &str, topic: &str| {
        let event = event("b1", event_type, topic);
        decision(&bound("build"), &event, topic).unwrap_err().to_string()
    };
    let begin = format!("foundry-host key allow {} --host b1 --may build,", key());
    for (event_type, topic, needs) in [
        ("foundry.sign.v1", "signs", "sign"),
        ("foundry.build.v1", "builds-2", "foundry.build.v1@builds-2"),
        ("foundry.sign.v1", "builds", "foundry.sign.v1@builds"),
        ("foundry.job.v1", "jobs", "operate"),
    ] {
        let rule = rule(event_type, topic);
        assert!(rule.contains(&format!("{begin}{needs}`")), "{rule}");
        assert!(
            may(&format!("build,{needs}"), event_type, topic),
            "the remedy helps: {rule}"
        );
    }
}

#[test]
fn a_remedy_leaves_the_groups_as_they_are() {
    let mut speaker = bound("build");
    let groups = Groups::of(["pub/b".to_owned(), "pub/a".to_owned()]).unwrap();
    speaker.binding = speaker.binding.map(|binding| binding.in_groups(groups));
    let [undutiful, moved] = [("b1", "foundry.sign.v1", "signs"), ("b2", "foundry.build.v1", "builds")];
    for ((host, event_type, topic), may) in [(undutiful, "build,sign"), (moved, "build")] {
        let rule = decision(&speaker, &event(host, event_type, topic), topic).unwrap_err();
        let remedy = format!("--may {may} --group pub/a --group pub/b`");
        assert!(rule.to_string().contains(&remedy), "{rule}");
    }
}

#[test]
fn an_event_counts_on_the_topic_that_it_names_alone() {
    let event = event("b1", "foundry.build.v1", "builds");
    for came_on in ["signs", "builds-2", "builds/x"] {
        let rule = decision(&bound("all"), &event, came_on).unwrap_err();
        assert_eq!(rule.name(), "other-topic", "{came_on}");
    }
    let elsewhere = decide(&bound("all"), &event, "other/builds", &Topics::new("other"), UPGRADED);
    assert_eq!(
        elsewhere.unwrap_err().name(),
        "other-topic",
        "another installation on the broker"
    );
}

/// What hosts signed before events named their topic: `git show 6238c70:host/src/bus/event.rs`.
const OLD: &str = r#"{"specversion":"1.0","id":"1f","source":"b1/build","type":"foundry.build.v1","time":"2026-12-01T11:59:59Z","datacontenttype":"application/json","run":"r1","cause":"c1","data":{}}"#;

#[test]
fn an_event_from_before_the_upgrade_counts_on_a_single_machine() {
    let old: Event = serde_json::from_str(OLD).unwrap();
    let own = Speaker {
        binding: Some(Binding::own("b1")),
        is_own: true,
        ..bound("all")
    };
    assert_eq!(decision(&own, &old, "builds"), Ok(()));
    assert_eq!(decision(&own, &old, "signs").unwrap_err().name(), "no-topic");
    assert_eq!(decision(&own, &old, "builds-2").unwrap_err().name(), "no-topic");
    assert_eq!(
        decision(&bound("all"), &old, "builds").unwrap_err().name(),
        "no-topic",
        "another host's"
    );
    let late = changed(old.clone(), |event| {
        event.time = (UPGRADED.topics + Duration::SECOND).format(&Rfc3339).unwrap();
    });
    assert_eq!(
        decision(&own, &late, "builds").unwrap_err().name(),
        "no-topic",
        "made after the upgrade"
    );
    let of_a_bot = changed(old, |event| {
        event.event_type = "lint.report.v1".to_owned();
    });
    assert_eq!(decision(&own, &of_a_bot, "reports"), Ok(()));
    for taken in [
        "commits", "builds", "signs", "dists", "failures", "control", "jobs", "peers/b1",
    ] {
        assert!(decision(&own, &of_a_bot, taken).is_err(), "{taken}");
    }
}

#[test]
fn wildcards_are_those_of_mqtt() {
    for (filter, topic, fits) in [
        ("a/+", "a/b", true),
        ("a/+", "a/b/c", false),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("#", "signs", true),
        ("+", "a/b", false),
        ("a", "a/b", false),
        ("a/b", "a", false),
    ] {
        assert_eq!(fits_topic(filter, topic), fits, "{filter} {topic}");
    }
}

fn any_duty() -> impl Strategy<Value = Duty> {
    prop_oneof![
        Just(Duty::Watch),
        Just(Duty::Build),
        Just(Duty::Sign),
        Just(Duty::Publish),
        Just(Duty::Operate),
        ("[a-z.]{0,4}\\*?", "[a-z]{1,3}(/[a-z+]{1,1}){0,2}").prop_map(|(event_type, topic)| Duty::Extra {
            event_type: format!("x{event_type}"),
            topic,
        }),
    ]
}

fn any_topic() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "commits", "builds", "signs", "dists", "failures", "jobs", "control", "peers/b1"
        ])
        .prop_map(ToOwned::to_owned),
        "[a-z]{1,3}(/[a-z]{1,2}){0,2}",
    ]
}

proptest! {
    /// However many other duties a host has: what a duty of the pipeline allows comes of that duty alone.
    #[test]
    fn no_other_duties_add_up_to_one(duties in prop::collection::vec(any_duty(), 0..6)) {
        for (needed, event_type, topic) in PIPELINE {
            let may: Duties = duties.iter().cloned().collect();
            let speaker = Speaker { binding: Some(Binding::new("b1", may).unwrap()), ..bound("all") };
            let decided = decision(&speaker, &event("b1", event_type, topic), topic);
            prop_assert_eq!(decided.is_ok(), duties.contains(&needed), "{:?} {:?}", needed, duties);
        }
    }

    /// Types of the pipeline are on their own topics, or nowhere, unless `TYPE@TOPIC` says so.
    #[test]
    fn types_of_the_pipeline_stay_at_home(duties in prop::collection::vec(any_duty(), 0..6), topic in any_topic()) {
        for (_, event_type, home) in PIPELINE {
            let may: Duties = duties.iter().cloned().collect();
            let speaker = Speaker { binding: Some(Binding::new("b1", may).unwrap()), ..bound("all") };
            let decided = decision(&speaker, &event("b1", event_type, &topic), &topic);
            prop_assert!(decided.is_err() || topic == home, "{} on {} by {:?}", event_type, topic, duties);
        }
    }

    /// More duties never forbid what fewer allow.
    #[test]
    fn duties_only_add(
        fewer in prop::collection::vec(any_duty(), 0..4), more in prop::collection::vec(any_duty(), 0..4),
        event_type in "(x[a-z.]{0,3}|foundry\\.(commit|build|sign|dist|job|peer-answer|failure)\\.v1)", topic in any_topic(),
    ) {
        let speaker = |duties: &[Duty]| Speaker {
            binding: Some(Binding::new("b1", duties.iter().cloned().collect()).unwrap()), ..bound("all")
        };
        let all: Vec<_> = fewer.iter().chain(&more).cloned().collect();
        let event = event("b1", &event_type, &topic);
        let (before, after) = (decision(&speaker(&fewer), &event, &topic), decision(&speaker(&all), &event, &topic));
        prop_assert!(before.is_err() || after.is_ok(), "{:?}", after);
    }
}

#[test]
fn whoever_has_a_duty_presents_itself_and_its_bots_and_nobody_else() {
    for duties in ["build", "all", "x@y", "foundry.*@#"] {
        assert!(may(duties, HOST_PRESENCE, "hosts/b1"), "{duties}");
        assert!(may(duties, BOT_PRESENCE, "bots/b1/build"), "{duties}");
        for (event_type, topic) in [
            (HOST_PRESENCE, "hosts/b2"),
            (BOT_PRESENCE, "bots/b2/build"),
            (BOT_PRESENCE, "hosts/b1"),
            (HOST_PRESENCE, "bots/b1/build"),
            ("foundry.build.v1", "bots/b1/build"),
        ] {
            let refused = decision(&bound(duties), &event("b1", event_type, topic), topic);
            assert!(
                matches!(refused, Err(Rule::Presence { .. })),
                "{duties}: {event_type} on {topic}: {refused:?}"
            );
        }
    }
    for (event_type, topic) in [(HOST_PRESENCE, "hosts/b1"), (BOT_PRESENCE, "bots/b1/build")] {
        assert!(!may("", event_type, topic), "one that may say nothing");
        let of_another = event("b2", event_type, topic);
        let refused = decision(&bound("all"), &of_another, topic);
        assert!(matches!(refused, Err(Rule::OtherHost { .. })), "{refused:?}");
        assert!(!may("build", event_type, "builds"), "{event_type}");
    }
}

#[test]
fn topics_of_presence_name_their_host() {
    for (topic, host) in [
        ("hosts/b1", Some("b1")),
        ("bots/b1/build", Some("b1")),
        ("hosts/b1/x", None),
        ("bots/b1", None),
        ("bots/b1/build/x", None),
        ("peers/b1", None),
        ("builds", None),
    ] {
        assert_eq!(presented_on(topic), host, "{topic}");
    }
}
