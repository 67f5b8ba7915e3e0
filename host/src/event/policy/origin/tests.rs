use std::sync::Arc;

use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::super::super::{OutgoingEvent, Place, Topics};
use super::super::{Upgraded, decide};
use super::*;
use crate::keys::{Claims, Duties, Fingerprint, Groups};

const UPGRADED: Upgraded = Upgraded {
    topics: time::macros::datetime!(2026-11-01 12:00 UTC),
    origins: time::macros::datetime!(2026-12-01 12:00 UTC),
    announcements: OffsetDateTime::UNIX_EPOCH,
};

fn key() -> Fingerprint {
    "00112233445566778899aabbccddeeff00112233".parse().unwrap()
}

fn message(group: &str, input: &str) -> Origin {
    Origin::Message {
        group: group.to_owned(),
        input: input.to_owned(),
        attempt: 0,
        place: Place::Position(0),
    }
}

fn given_up(group: &str, input: &str) -> Origin {
    let (group, input, attempt) = (group.to_owned(), input.to_owned(), 0);
    Origin::GivenUp { group, input, attempt }
}

fn refused(group: &str) -> Origin {
    let [group, run, rule, key] = [group, "r1", "id", "ab"].map(ToOwned::to_owned);
    Origin::Refused { group, run, rule, key }
}

fn own(host: &str) -> Origin {
    let (host, key) = (host.to_owned(), "k".to_owned());
    Origin::Own { host, key }
}

fn timer() -> Origin {
    let [bot, key] = ["bot", "k"].map(ToOwned::to_owned);
    Origin::Timer { bot, key }
}

/// An event of host b1 that has the id of its origin, and the cause `c1`.
fn event(event_type: &str, topic: &str, origin: Origin) -> Event {
    let outgoing = OutgoingEvent {
        id: origin.id(&[event_type, topic]),
        topic: topic.to_owned(),
        event_type: event_type.to_owned(),
        subject: None,
        run: "r1".to_owned(),
        cause: Some("c1".to_owned()),
        origin,
        data: json!({ "stage": "build" }).as_object().unwrap().clone(),
    };
    Event::of(outgoing, "b1/build", &Topics::new("foundry"))
}

fn build(origin: Origin) -> Event {
    event("foundry.build.v1", "builds", origin)
}

fn failure(origin: Origin) -> Event {
    event(FAILURE, FAILURES, origin)
}

fn bound_to(host: &str, groups: &[&str]) -> Binding {
    let groups = Groups::of(groups.iter().map(|group| (*group).to_owned())).unwrap();
    let may = "build,operate".parse::<Duties>().unwrap();
    Binding::new(host, may).unwrap().in_groups(groups)
}

fn bound(groups: &[&str]) -> Speaker {
    Speaker {
        key: key(),
        binding: Some(bound_to("b1", groups)),
        is_own: false,
        claims: Arc::default(),
    }
}

fn decision(speaker: &Speaker, event: &Event) -> Result<(), Rule> {
    let topics = Topics::new("foundry");
    decide(speaker, event, event.topic.as_deref().unwrap(), &topics, UPGRADED)
}

fn broken(speaker: &Speaker, event: &Event) -> &'static str {
    decision(speaker, event).map_or_else(|rule| rule.name(), |()| "none")
}

#[test]
fn an_event_has_the_id_of_its_work_and_no_other() {
    let speaker = bound(&[]);
    let honest = [
        build(message("pub/a", "c1")),
        build(timer()),
        failure(message("pub/a", "c1")),
        failure(given_up("pub/a", "c1")),
        failure(refused("pub/a")),
        event("foundry.peer-answer.v1", "peers/head", own("b1")),
        event("foundry.job.v1", "jobs", own("b1")),
        event("foundry.job.v1", "jobs", message("pub/a", "c1")),
    ];
    for event in &honest {
        assert_eq!(decision(&speaker, event), Ok(()), "{event:?}");
    }
    for event in &honest {
        for other in honest.iter().filter(|other| other.id != event.id) {
            let mut taken = event.clone();
            taken.id.clone_from(&other.id);
            assert_eq!(broken(&speaker, &taken), "id", "{taken:?}");
        }
    }
}

#[test]
fn whatever_an_id_derives_from_cannot_be_another() {
    let speaker = bound(&[]);
    type Change = fn(&mut Event);
    let changes: [(&str, Change); 4] = [
        ("cause", |event| event.cause = Some("c2".to_owned())),
        ("no cause", |event| event.cause = None),
        ("group", |event| event.derivation = message("pub/b", "c1").into()),
        ("work", |event| event.derivation = given_up("pub/a", "c1").into()),
    ];
    for (what, change) in changes {
        let mut event = build(message("pub/a", "c1"));
        change(&mut event);
        assert_eq!(broken(&speaker, &event), "id", "{what}");
    }
    let mut of_another_run = failure(refused("pub/a"));
    of_another_run.run = "r2".to_owned();
    assert_eq!(broken(&speaker, &of_another_run), "id");
    // The id of an event of another type, or on another topic.
    for (event_type, topic) in [("foundry.commit.v1", "commits"), ("foundry.build.v1", "builds-2")] {
        let mut taken = build(message("pub/a", "c1"));
        taken.id = message("pub/a", "c1").id(&[event_type, topic]);
        assert_eq!(broken(&speaker, &taken), "id", "{event_type} on {topic}");
    }
}

#[test]
fn ids_without_a_type_and_a_topic_in_them_are_those_of_failures_alone() {
    for origin in [given_up("pub/a", "c1"), refused("pub/a")] {
        assert_eq!(broken(&bound(&[]), &build(origin)), "id");
    }
}

#[test]
fn an_id_of_its_own_is_of_its_host_and_where_nothing_derives() {
    let speaker = bound(&[]);
    assert_eq!(broken(&speaker, &build(own("b1"))), "id");
    assert_eq!(broken(&speaker, &failure(own("b1"))), "id");
    let of_another = event("foundry.peer-answer.v1", "peers/head", own("b2"));
    assert_eq!(broken(&speaker, &of_another), "id");
}

#[test]
fn a_host_works_in_its_groups_and_the_remedy_is_the_command_that_adds_one() {
    let speaker = bound(&["pub/a", "pub/b"]);
    for group in ["pub/a", "pub/b"] {
        assert_eq!(decision(&speaker, &build(message(group, "c1"))), Ok(()));
    }
    for event in [
        build(message("pub/c", "c1")),
        failure(message("pub/c", "c1")),
        failure(given_up("pub/c", "c1")),
        failure(refused("pub/c")),
    ] {
        let rule = decision(&speaker, &event).unwrap_err();
        assert_eq!(rule.name(), "group");
        assert!(rule.is_about_trust(), "a changed binding cures it");
        let remedy = format!(
            "foundry-host key allow {} --host b1 --may build,operate --group pub/a --group pub/b --group pub/c`",
            key()
        );
        assert!(rule.to_string().contains(&remedy), "{rule}");
        assert_eq!(decision(&bound(&[]), &event), Ok(()), "any group");
    }
    assert_eq!(decision(&speaker, &build(timer())), Ok(()), "a timer is of no group");
    let own_key = Speaker {
        binding: Some(Binding::own("b1")),
        is_own: true,
        ..speaker
    };
    assert_eq!(decision(&own_key, &build(message("pub/c", "c1"))), Ok(()));
}

/// Whoever is believed first in a group's name takes the ids of what the group has to say.
#[test]
fn a_key_without_groups_takes_no_id_of_a_group_that_another_key_is_bound_to_nor_of_another_stock_bot() {
    let unbound = bound(&[]);
    let taken = Speaker {
        claims: Claims::of([bound_to("b2", &["pub/a"])].iter()).into(),
        ..unbound.clone()
    };
    for origin in [message("pub/a", "c1"), given_up("pub/a", "c1"), refused("pub/a")] {
        assert_eq!(
            decision(&unbound, &failure(origin.clone())),
            Ok(()),
            "no key is bound to the group"
        );
        let rule = decision(&taken, &failure(origin)).unwrap_err();
        assert_eq!(rule.name(), "group");
        for part in [
            "host b1 may work in groups that no other host's key is bound to, and so not in pub/a",
            "with --group for each other group of its bots",
            "--host b1 --may build,operate --group pub/a`",
        ] {
            assert!(rule.to_string().contains(part), "{rule}");
        }
    }
    for (origin, expected) in [
        (given_up("pub/signbot", "c1"), "group"),
        (refused("pub/distbot"), "group"),
        (given_up("pub/buildbot", "c1"), "none"),
        (given_up("pub/b", "c1"), "none"),
    ] {
        assert_eq!(broken(&taken, &failure(origin.clone())), expected, "{origin:?}");
    }
    let own_key = Speaker {
        binding: Some(Binding::own("b1")),
        is_own: true,
        ..taken
    };
    assert_eq!(decision(&own_key, &failure(given_up("pub/a", "c1"))), Ok(()));
}

#[test]
fn no_group_of_a_strangers_making_gets_into_a_command() {
    let rule = decision(&bound(&["pub/a"]), &build(message("$(id) x", "c1"))).unwrap_err();
    assert!(!rule.to_string().contains("$(id)"), "{rule}");
    assert!(rule.to_string().contains("--group GROUP`"), "{rule}");
}

/// What hosts signed before events said what their ids derive from: `git show e7d2692:host/src/event/envelope.rs`.
const OLD: &str = r#"{"specversion":"1.0","id":"1f","source":"b1/build","type":"foundry.build.v1","topic":"foundry/builds","time":"2026-12-01T11:59:59Z","datacontenttype":"application/json","run":"r1","cause":"c1","data":{}}"#;

#[test]
fn an_event_from_before_ids_were_checked_counts_on_its_own_machine() {
    let old: Event = serde_json::from_str(OLD).unwrap();
    assert_eq!(
        serde_json::to_value(&old).unwrap(),
        serde_json::from_str::<serde_json::Value>(OLD).unwrap()
    );
    let own_key = Speaker {
        binding: Some(Binding::own("b1")),
        is_own: true,
        ..bound(&[])
    };
    assert_eq!(decision(&own_key, &old), Ok(()));
    assert_eq!(broken(&bound(&[]), &old), "no-origin", "another host's");
    let mut late = old;
    late.time = UPGRADED.origins.format(&Rfc3339).unwrap();
    let rule = decision(&own_key, &late).unwrap_err();
    assert_eq!(rule.name(), "no-origin", "made after the upgrade");
    assert!(rule.to_string().contains("upgrade host b1"), "{rule}");
}
