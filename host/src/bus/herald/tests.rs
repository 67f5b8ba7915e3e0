use serde_json::Value;

use super::*;
use crate::keys::{KeyStore, NewKey, PassphraseSource, Role};

const TOPIC: &str = "foundry/bots/h/b";

fn herald() -> Herald {
    let directory = tempfile::tempdir().unwrap();
    let keys = KeyStore::open(directory.path().join("keys")).unwrap();
    let key = keys.generate(Role::Messages, &NewKey::new("h")).unwrap().fingerprint;
    let signer = keys
        .signer(&key.to_string(), Role::Messages, &PassphraseSource::none())
        .unwrap();
    Herald::new(Holder::starting("h", "i"), Topics::new("foundry"), signer, 100)
}

fn bot() -> Presence {
    Presence {
        host: "h".to_owned(),
        bot: "b".to_owned(),
        component: "c".to_owned(),
        status: "running".to_owned(),
        detail: None,
        group: None,
        reads: Vec::new(),
        publishes: Vec::new(),
        since: String::new(),
    }
}

/// A connection that has begun.
fn begun(herald: &Herald) -> (Card, Visit) {
    let card = herald.card(Subject::Bot(Box::new(bot())));
    let visit = card.visit().unwrap();
    card.begin(&visit);
    (card, visit)
}

fn said(payload: &[u8]) -> Value {
    serde_json::from_slice::<Value>(payload).unwrap_or_default()["data"].clone()
}

#[test]
fn what_somebody_replaced_is_said_again_once_in_a_round_however_often_he_did_it() {
    let herald = herald();
    begun(&herald);
    for number in 0..2 * MOST {
        herald.heard(TOPIC, format!("{number}").as_bytes(), None);
    }
    let [correction] = herald.corrections().try_into().unwrap();
    assert_eq!((correction.topic.as_str(), correction.retain), (TOPIC, true));
    assert_eq!(said(&correction.payload)["status"], "running");
    assert_eq!(herald.corrections().len(), 0, "not again without a reason");
}

#[test]
fn bots_that_somebody_invents_are_removed_no_more_than_some_at_a_time() {
    let herald = herald();
    for number in 0..2 * MOST {
        herald.heard(&format!("foundry/bots/h/x{number}"), b"{}", None);
    }
    let corrections = herald.corrections();
    assert_eq!(corrections.len(), MOST);
    assert!(
        corrections
            .iter()
            .all(|removal| removal.payload.is_empty() && removal.retain)
    );
}

#[test]
fn a_bot_that_was_stopped_is_said_to_be_gone_again_when_somebody_brings_its_word_back() {
    let herald = herald();
    let (card, visit) = begun(&herald);
    card.leave();
    let turn = visit.turn;
    let rank = |start: u64| {
        Some(Rank {
            began: 100,
            start,
            turn,
        })
    };
    herald.heard(TOPIC, &visit.hello, rank(herald.inner.own.start));
    let [gone, removal] = herald.corrections().try_into().unwrap();
    assert_eq!(said(&gone.payload)["status"], "gone");
    assert!(said(&gone.payload)["turn"].as_u64() > Some(turn));
    assert_eq!(removal.payload, b"");
    // A bot of an earlier start may just not be loaded yet.
    herald.heard(TOPIC, &visit.hello, rank(herald.inner.own.start ^ 1));
    assert_eq!(herald.corrections().len(), 0);
}

#[test]
fn its_own_word_and_the_will_of_its_connection_are_no_reason_to_say_anything() {
    let herald = herald();
    let (_, visit) = begun(&herald);
    for own in [&visit.hello, &visit.will] {
        herald.heard(TOPIC, b"", None);
        herald.heard(TOPIC, own, None);
        assert_eq!(herald.corrections().len(), 0);
    }
    let (_, next) = begun(&herald);
    herald.heard(TOPIC, &visit.will, None);
    let [correction] = herald.corrections().try_into().unwrap();
    assert_eq!(
        said(&correction.payload)["turn"],
        said(&next.hello)["turn"],
        "the old will is"
    );
}

#[test]
fn each_connection_has_a_turn_of_its_own_and_its_will_the_same() {
    let herald = herald();
    let ((_, first), (card, second)) = (begun(&herald), begun(&herald));
    let turn = |payload: &[u8]| said(payload)["turn"].as_u64().unwrap();
    assert_eq!(turn(&first.hello), turn(&first.will));
    assert!(turn(&second.hello) > turn(&first.hello));
    let goodbye = card.leave();
    assert!(
        turn(&goodbye[0].1) > turn(&second.will),
        "a will that comes after it is late"
    );
    assert_eq!(goodbye[1].1, b"");
    assert_eq!(said(&second.will)["status"], "offline");
}

#[test]
fn a_start_that_another_one_outdid_says_everything_again_with_the_same_turns() {
    let herald = herald();
    let (_, visit) = begun(&herald);
    let turn = said(&visit.hello)["turn"].clone();
    let rank = |began: u64, start: u64| Some(Rank { began, start, turn: 1 });
    let own = herald.inner.own.start;
    assert_eq!(herald.heard(TOPIC, b"x", rank(99, own ^ 1)), None, "an earlier start");
    assert_eq!(herald.heard(TOPIC, b"x", rank(100, own)), None, "itself");
    assert_eq!(herald.heard(TOPIC, b"x", rank(150, own ^ 1)), Some(151));
    herald.begin_at(151);
    let [correction] = herald.corrections().try_into().unwrap();
    let again = said(&correction.payload);
    assert_eq!((again["began"].as_u64(), &again["turn"]), (Some(151), &turn));
    herald.heard(TOPIC, &correction.payload, None);
    assert_eq!(herald.corrections().len(), 0);
}

#[test]
fn a_bot_whose_connection_has_ended_is_defended_as_what_its_will_says() {
    let herald = herald();
    let (_, visit) = begun(&herald);
    herald.heard(TOPIC, &visit.will, None);
    herald.heard(TOPIC, &visit.hello, None);
    let [correction] = herald.corrections().try_into().unwrap();
    let word = said(&correction.payload);
    assert_eq!(
        (&word["status"], &word["turn"]),
        (&"offline".into(), &said(&visit.will)["turn"])
    );
    for own in [&correction.payload, &visit.will] {
        herald.heard(TOPIC, own, None);
        assert_eq!(herald.corrections().len(), 0);
    }
    let (_, next) = begun(&herald);
    herald.heard(TOPIC, b"x", None);
    let [correction] = herald.corrections().try_into().unwrap();
    assert_eq!(said(&correction.payload)["turn"], said(&next.hello)["turn"]);
    assert_eq!(said(&correction.payload)["status"], "running", "it is back");
}

#[test]
fn a_leave_that_no_connection_took_is_taken_in_the_hosts_name() {
    let herald = herald();
    let (card, visit) = begun(&herald);
    let [gone, removal] = card.clone().belated_leave().try_into().unwrap();
    assert_eq!(
        (&said(&gone.payload)["status"], removal.payload.len()),
        (&"gone".into(), 0)
    );
    assert!(gone.retain && removal.retain);
    // And it is not defended as running any more.
    let own = herald.inner.own.start;
    let turn = visit.turn;
    herald.heard(
        TOPIC,
        &visit.hello,
        Some(Rank {
            began: 100,
            start: own,
            turn,
        }),
    );
    assert_eq!(said(&herald.corrections()[0].payload)["status"], "gone");
    let (card, _) = begun(&herald);
    card.leave();
    card.has_left();
    assert!(card.belated_leave().is_empty(), "its connection has said it");
}

#[test]
fn only_a_word_of_a_later_start_outdoes_this_one() {
    let herald = herald();
    let own = herald.inner.own.start;
    let outdoes = |began: u64, start: u64| herald.is_outdone_by(&Rank { began, start, turn: 9 });
    assert!(outdoes(101, own ^ 1) && outdoes(100, own + 1));
    assert!(!outdoes(99, own ^ 1), "an earlier start, sent again");
    assert!(!outdoes(100, own) && !outdoes(101, own), "itself");
    herald.begin_at(150);
    assert!(!outdoes(101, own ^ 1), "what this start has outdone");
}
