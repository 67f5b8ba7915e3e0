use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const BUILD: [&str; 2] = ["foundry.build.v1", "builds"];

fn message(group: &str, input: &str, place: Place) -> Origin {
    Origin::Message {
        group: group.to_owned(),
        input: input.to_owned(),
        attempt: ATTEMPT,
        place,
    }
}

fn key(key: &str) -> Place {
    Place::Key(key.to_owned())
}

fn given_up(group: &str, input: &str) -> Origin {
    let (group, input, attempt) = (group.to_owned(), input.to_owned(), ATTEMPT);
    Origin::GivenUp { group, input, attempt }
}

fn stock_timer(bot: &str, key: &str) -> Origin {
    let (bot, key) = (bot.to_owned(), key.to_owned());
    Origin::StockTimer { bot, key }
}

fn timer(bot: &str, key: &str) -> Origin {
    let (bot, key) = (bot.to_owned(), key.to_owned());
    Origin::Timer { bot, key }
}

fn refused(group: &str, run: &str, rule: &str, key: &str) -> Origin {
    let [group, run, rule, key] = [group, run, rule, key].map(ToOwned::to_owned);
    Origin::Refused { group, run, rule, key }
}

fn own(host: &str, key: &str) -> Origin {
    let (host, key) = (host.to_owned(), key.to_owned());
    Origin::Own { host, key }
}

/// Ids of version 0.1.0, which ledgers have on record. Computed by another program.
#[test]
fn ids_are_those_that_ledgers_have_on_record() {
    for (origin, id) in [
        (
            message("pub/buildbot_amd64", "m1", Place::Position(0)),
            "8af46f87551b2f0b224084a9705b9dec",
        ),
        (
            message("pub/buildbot_amd64", "m1", key("k")),
            "b11f2ff4234c1e64cc55a61a45f36391",
        ),
        (stock_timer("watchbot", "k"), "32e344c8730c5bcca80bfcc6222943a5"),
        (timer("watchbot", "k"), "98444ac62886ef7259bb10c4ed68e732"),
        (
            refused("pub/signbot", "r1", "unknown-key", "ab"),
            "72fb488747de0d253564011da6504689",
        ),
        (given_up("pub/buildbot_amd64", "m1"), "c9269ff07695e71355d2d5d054b741c3"),
    ] {
        assert_eq!(origin.id(&BUILD), id, "{origin:?}");
    }
}

#[test]
fn an_id_depends_on_type_topic_group_input_attempt_and_position() {
    let first = || message("pub/buildbot_amd64", "m1", Place::Position(0));
    let mut second_attempt = first();
    if let Origin::Message { attempt, .. } = &mut second_attempt {
        *attempt = 1;
    }
    let ids = [
        first().id(&BUILD),
        second_attempt.id(&BUILD),
        message("pub/buildbot_i386", "m1", Place::Position(0)).id(&BUILD),
        message("pub/buildbot_amd64", "m2", Place::Position(0)).id(&BUILD),
        message("pub/buildbot_amd64", "m1", Place::Position(1)).id(&BUILD),
        first().id(&["foundry.build.v1", "builds-2"]),
        first().id(&["foundry.sign.v1", "builds"]),
        given_up("pub/buildbot_amd64", "m1").id(&BUILD),
        given_up("pub/buildbot_i386", "m1").id(&BUILD),
    ];
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

#[test]
fn a_key_counts_within_one_group_or_one_bot() {
    let origins = [
        stock_timer("watchbot", "k"),
        // A file that is loaded under the name of a stock bot.
        timer("watchbot", "k"),
        timer("other", "k"),
        message("watchbot", "m1", key("k")),
        message("other", "m1", key("k")),
        own("watchbot", "k"),
    ];
    let ids: BTreeSet<_> = origins.iter().map(|origin| origin.id(&BUILD)).collect();
    assert_eq!(ids.len(), origins.len());
    assert_eq!(
        message("g", "m1", key("k")).id(&BUILD),
        message("g", "m2", key("k")).id(&BUILD),
        "whatever message led to it"
    );
}

#[test]
fn attributes_that_do_not_belong_together_mean_nothing() {
    let read = |text: &str| serde_json::from_str::<Attributes>(text).unwrap();
    for (text, means) in [
        (r#"{"work":"message","owner":"g","attempt":0,"position":0}"#, true),
        (r#"{"work":"message","owner":"g","attempt":0,"key":"k"}"#, true),
        (r#"{"work":"message","owner":"g","attempt":0}"#, false),
        (r#"{"work":"message","owner":"g","position":0}"#, false),
        (r#"{"work":"message","attempt":0,"position":0}"#, false),
        (
            r#"{"work":"message","owner":"g","attempt":0,"position":0,"key":"k"}"#,
            false,
        ),
        (r#"{"work":"timer","owner":"b","key":"k"}"#, true),
        (r#"{"work":"timer","owner":"b"}"#, false),
        (r#"{"work":"timer","owner":"b","key":"k","attempt":0}"#, false),
        (r#"{"work":"given-up","owner":"g","attempt":0}"#, true),
        (r#"{"work":"given-up","owner":"g","attempt":0,"rule":"r"}"#, false),
        (r#"{"work":"refused","owner":"g","key":"k"}"#, false),
        (r#"{"work":"another","owner":"g","key":"k"}"#, false),
        (r#"{"owner":"g"}"#, false),
    ] {
        let attributes = read(text);
        assert!(!attributes.are_missing(), "{text}");
        assert_eq!(attributes.origin("r1", Some("m1")).is_some(), means, "{text}");
    }
    assert!(read("{}").are_missing());
    let of_a_message = read(r#"{"work":"message","owner":"g","attempt":0,"position":0}"#);
    assert_eq!(of_a_message.origin("r1", None), None, "there is no message");
}

fn any_origin() -> impl Strategy<Value = Origin> {
    let text = || "[ab0]{0,2}";
    prop_oneof![
        (text(), text(), 0_u32..2, 0_u32..3).prop_map(|(group, input, attempt, position)| Origin::Message {
            group,
            input,
            attempt,
            place: Place::Position(position)
        }),
        (text(), text(), 0_u32..2, text()).prop_map(|(group, input, attempt, key)| Origin::Message {
            group,
            input,
            attempt,
            place: Place::Key(key)
        }),
        (text(), text()).prop_map(|(bot, key)| Origin::StockTimer { bot, key }),
        (text(), text()).prop_map(|(bot, key)| Origin::Timer { bot, key }),
        (text(), text(), text(), text()).prop_map(|(group, run, rule, key)| Origin::Refused { group, run, rule, key }),
        (text(), text(), 0_u32..2).prop_map(|(group, input, attempt)| Origin::GivenUp { group, input, attempt }),
        (text(), text()).prop_map(|(host, key)| Origin::Own { host, key }),
    ]
}

/// What makes an event the same, in words: those of two events are equal if and only if they are one.
fn words(origin: &Origin, what: &[&str]) -> String {
    match origin {
        Origin::Message {
            group,
            attempt,
            place: Place::Key(key),
            ..
        } => format!("{:?}", ("key", what, group, attempt, key)),
        Origin::Refused { .. } | Origin::GivenUp { .. } | Origin::Own { .. } => format!("{origin:?}"),
        _ => format!("{:?}", (what, origin)),
    }
}

proptest! {
    /// However a bot chooses type, topic and key, and however its operator calls groups.
    #[test]
    fn different_work_never_shares_an_id(
        one in (any_origin(), "[ab0]{0,2}", "[ab0]{0,2}"), other in (any_origin(), "[ab0]{0,2}", "[ab0]{0,2}"),
    ) {
        let of = |(origin, event_type, topic): &(Origin, String, String)| {
            let what = [event_type.as_str(), topic.as_str()];
            (words(origin, &what), origin.id(&what))
        };
        let ((one, one_id), (other, other_id)) = (of(&one), of(&other));
        prop_assert_eq!(one == other, one_id == other_id, "{} {}", one, other);
    }

    /// What a maker says is what a receiver reads, once it has been JSON.
    #[test]
    fn an_origin_survives_the_envelope(origin in any_origin()) {
        let (run, cause) = match &origin {
            Origin::Message { input, .. } | Origin::GivenUp { input, .. } => ("r".to_owned(), Some(input.clone())),
            Origin::Refused { run, .. } => (run.clone(), None),
            _ => ("r".to_owned(), None),
        };
        let written = serde_json::to_string(&Attributes::from(origin.clone())).unwrap();
        let read: Attributes = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(read.origin(&run, cause.as_deref()), Some(origin));
    }
}
