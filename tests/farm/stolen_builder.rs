//! Head, builder, and a builder that somebody else runs: his key can fail its own builds, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::archive;
use crate::attempts::{self, Attempt, End, Way};
use crate::farm::{FAILURE, Farm};
use crate::loot::Loot;
use crate::network::Network;
use crate::sources::Pushed;
use crate::thief::{NOT_AUTHORIZED, Thief};

const HONEST: &str = "builder";
const STOLEN: &str = "builder-2";

#[test]
fn a_stolen_builder_can_fail_its_own_builds_and_nothing_else() {
    let Some(network) = Network::new() else { return };
    let farm = Farm::with_builders(network, &[HONEST, STOLEN]);
    for builder in [HONEST, STOLEN] {
        farm.introduce(builder, "builder");
    }
    farm.tell(HONEST);
    farm.head.start();
    farm.machine(HONEST).start();
    let machine = farm.machine(STOLEN);
    let thief = Thief::at(&farm, machine);
    let before = farm.sources.push("before");
    farm.await_published(&before);
    let loot = Loot::of(&thief, HONEST, &farm.artifacts_directory(), &machine.file("."));

    let meanwhile = farm.sources.push("meanwhile");
    let list = attempts::all(&thief, &loot, HONEST);
    for attempt in &list {
        assert_eq!(
            denied(&thief, attempt),
            matches!(attempt.end, End::Denied),
            "he {}",
            attempt.what
        );
    }
    nobody_lets_him_in_without_his_certificate(&farm, &thief);
    let after = farm.sources.push("after");

    let honest = [before.clone(), meanwhile, after];
    for pushed in &honest {
        farm.await_published(pushed);
    }
    for (number, attempt) in list.iter().enumerate() {
        let (why, words) = match attempt.end {
            End::Refused(words) => (refusal(&farm, attempt, number), words),
            End::Unpublished(words) => (refused_by_distbot(&farm), words),
            End::Denied | End::Nothing => continue,
        };
        assert!(why.contains(words), "he {}: {why}", attempt.what);
    }
    assert_eq!(farm.pool(), archive::of(&honest));
    each_was_done_once_by_the_honest(&farm, &honest);
    the_run_shows_what_he_did(&farm, &before);
    println!("a thief tried {} things; the archive has what it should", list.len());
}

/// Whether the broker denies it.
fn denied(thief: &Thief<'_>, attempt: &Attempt) -> bool {
    let full = |topic: &str| format!("foundry/{topic}");
    let code = match &attempt.way {
        Way::Publish(topic, payload) => thief.publish(&full(topic), payload, false).err(),
        Way::Retain(topic, payload) => thief.publish(&full(topic), payload, true).err(),
        Way::Subscribe(filter) => Some(thief.subscribe(filter)).filter(|code| *code > 2),
        Way::Will(topic) => Some(thief.connect(&["--will-topic", &full(topic)])).filter(|code| *code > 0),
        Way::Connect(client) => Some(thief.connect(&["-i", client])).filter(|code| *code > 0),
    };
    assert!(
        code.is_none_or(|code| code == NOT_AUTHORIZED),
        "he {}: {code:?}",
        attempt.what
    );
    code.is_some()
}

fn nobody_lets_him_in_without_his_certificate(farm: &Farm, thief: &Thief<'_>) {
    let certificate = [
        "--cafile",
        "ca.pem",
        "--cert",
        "builder-2.pem",
        "--key",
        "builder-2.key",
    ];
    assert!(thief.gets_in("8883", &certificate), "with it he is let in");
    assert!(!thief.gets_in("8883", &["--cafile", "ca.pem"]), "without a certificate");
    let plain = farm.head.json(&["status"])["broker"].as_str().unwrap().to_owned();
    let port = plain.rsplit(':').next().unwrap();
    assert!(!thief.gets_in(port, &[]), "at the port for the head's own machine");
}

/// Why the head refused one of his messages.
fn refusal(farm: &Farm, attempt: &Attempt, number: usize) -> String {
    let id = attempts::id(number);
    // What he repeats has another host's id in it.
    let id = match &attempt.way {
        Way::Publish(_, payload) if !String::from_utf8_lossy(payload).contains(&id) => {
            let event: Value = serde_json::from_slice(payload).unwrap();
            event["id"].as_str().unwrap().to_owned()
        }
        _ => id,
    };
    farm.eventually(&format!("a refusal: he {}", attempt.what), || {
        let letters = farm.letters();
        let letter = letters.iter().find(|letter| {
            letter["topic"] == "foundry/builds" && is_of(letter["payload"].as_str().unwrap_or_default(), &id)
        });
        Some(letter?["reason"].as_str()?.to_owned())
    })
}

/// Why distbot refused what was signed of his packages.
fn refused_by_distbot(farm: &Farm) -> String {
    farm.eventually("his packages are signed, and refused by distbot", || {
        let letters = farm.letters();
        let is_his = |letter: &&Value| {
            letter["topic"] == "foundry/signs"
                && letter["payload"].as_str().is_some_and(|text| text.contains("sudo_99"))
        };
        Some(letters.iter().find(is_his)?["reason"].as_str()?.to_owned())
    })
}

/// Whether a message has that id, or one that derives from it, or is no event and has it somewhere.
fn is_of(payload: &str, id: &str) -> bool {
    match serde_json::from_str::<Value>(payload) {
        Ok(event) => ["id", "key"]
            .iter()
            .any(|member| event[member].as_str().is_some_and(|found| found.starts_with(id))),
        Err(_) => payload.contains(id),
    }
}

fn each_was_done_once_by_the_honest(farm: &Farm, honest: &[Pushed]) {
    for pushed in honest {
        let events = |kind: &str| farm.events(pushed, &format!("foundry.{kind}.v1"));
        let [commit] = events("commit").try_into().unwrap();
        assert_eq!(commit["source"], "head/watch");
        let of = |cause: &Value, kind: &str, source: &str| -> Value {
            let is_that = |event: &Value| event["cause"] == cause["id"] && event["source"] == source;
            let found: Vec<_> = events(kind).into_iter().filter(is_that).collect();
            assert_eq!(found.len(), 1, "{kind} by {source} of {pushed:?}: {found:?}");
            found[0].clone()
        };
        let build = of(&commit, "build", "builder/build");
        let sign = of(&build, "sign", "head/sign");
        of(&sign, "dist", "head/publish");
        assert_eq!(events("dist").len(), 1, "{pushed:?}");
    }
}

/// Who looks at the run sees the packages published, each kind of refusal, and whose failure there was.
fn the_run_shows_what_he_did(farm: &Farm, pushed: &Pushed) {
    let run = farm.run_of(pushed).unwrap();
    let chains = run["chains"].as_array().unwrap();
    assert!(chains.iter().any(|chain| chain["status"] == "published"), "{run}");
    let failures = farm.events(pushed, FAILURE);
    let told: BTreeSet<(&str, &str)> = failures
        .iter()
        .filter(|failure| failure["data"]["refused"] != true && failure["data"]["stage"] == "build")
        .map(|failure| {
            (
                failure["source"].as_str().unwrap(),
                failure["data"]["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("builder-2/build", "so he says of build")].into());
    let reasons: Vec<_> = failures
        .iter()
        .map(|failure| failure["data"]["reason"].to_string())
        .collect();
    for shown in [
        "says that it is of builder/build",
        "no foundry.sign.v1 on builds",
        "is not among the messages keys here",
        "it was published to foundry/signs",
        "events are refused after",
        "tried again when its time has come",
        "the data does not fit foundry.build.v1",
        "it carries no announcement",
    ] {
        assert!(
            reasons.iter().any(|reason| reason.contains(shown)),
            "no {shown:?} in {reasons:#?}"
        );
    }
    for invented in ["so he says of sign", "so he says of distbot"] {
        assert!(!reasons.iter().any(|reason| reason.contains(invented)), "{reasons:#?}");
    }
}
