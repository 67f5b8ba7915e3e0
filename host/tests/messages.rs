//! Messages: whose are handled, how often, and what becomes of the rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

#[path = "messages/refusals.rs"]
mod refusals;
mod support;

use std::process::{Command, Output};
use std::time::Duration;

use foundry_host::event::Attributes;
use foundry_host::keys::{KeyStore, NewKey, PassphraseSource, Role};
use foundry_host::ledger::EventRow;
use foundry_host::supervisor::Host;
use serde_json::{Value, json};
use support::{TestHost, changed, config, event, eventually, introduce, signed, signed_as, signer, spec};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

async fn refused(host: &TestHost, payload: Vec<u8>) -> String {
    let before = host.dead_letters().await.len();
    host.publish("relay-in", payload).await;
    let reason = eventually("the message is refused", async || {
        host.dead_letters().await.get(before).map(|dead| dead.reason.clone())
    })
    .await;
    let events = host.events().await;
    assert!(
        events.iter().all(|event| event.topic == "failures"),
        "nothing was handled"
    );
    reason
}

/// What is on record of a run, by topics.
async fn of_run(host: &TestHost, run: &str, topic: &str) -> Vec<EventRow> {
    let events = host.events().await.into_iter();
    events
        .filter(|event| event.run == run && event.topic == topic)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_nobody_trusted_signed_are_refused() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let unsigned = serde_json::to_vec(&event("relay-in", "u1", "test.x.v1", json!({}))).unwrap();
    let reason = refused(&host, unsigned).await;
    assert!(reason.contains("sign"), "{reason}");

    let other = tempfile::tempdir().unwrap();
    KeyStore::open(other.path().join("keys"))
        .unwrap()
        .generate(Role::Messages, &NewKey::new("Mallory <mallory@example.org>"))
        .unwrap();
    let forged = signed(other.path(), "relay-in", "f1", "test.x.v1", json!({}));
    refused(&host, forged).await;

    let mut changed: Value =
        serde_json::from_slice(&host.signed("relay-in", "c1", "test.x.v1", json!({"n": 1}))).unwrap();
    changed["data"]["n"] = json!(2);
    refused(&host, changed.to_string().into_bytes()).await;

    refused(&host, b"{".to_vec()).await;
    refused(&host, vec![0xff; 100]).await;
    refused(&host, vec![b' '; 600 * 1024]).await;
    let path = host.signed("relay-in", "../../etc", "test.x.v1", json!({}));
    let reason = refused(&host, path).await;
    assert!(reason.contains("letters and digits"), "{reason}");
}

/// mosquitto_pub to the relay's topic; with a user name and password or without.
fn mosquitto_pub(host: &TestHost, login: Option<(&str, &str)>, payload: &str) -> Output {
    let port = host.host.broker().port.to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-V", "5", "-q", "1"]);
    if let Some((user, password)) = login {
        command.args(["-u", user, "-P", password]);
    }
    command
        .args(["-t", "foundry/relay-in", "-m", payload])
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_event_of_mosquitto_pub_is_refused() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let payload =
        String::from_utf8(serde_json::to_vec(&event("relay-in", "m1", "test.x.v1", json!({}))).unwrap()).unwrap();
    let password = std::fs::read_to_string(host.directory.path().join("broker/owner.password")).unwrap();
    let published = mosquitto_pub(&host, Some(("owner", password.trim_end())), &payload);
    assert!(published.status.success(), "{published:?}");
    let reason = eventually("the dead letter", async || host.dead_letters().await.pop())
        .await
        .reason;
    assert!(reason.contains("sign"), "{reason}");
    assert!(host.events().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_publishes_without_a_user_name() {
    let host = TestHost::start().await;
    host.load("relay").await;
    // Even an event that would be handled.
    let signed = String::from_utf8(host.signed("relay-in", "a1", "test.x.v1", json!({}))).unwrap();
    let refused = mosquitto_pub(&host, None, &signed);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("Not authorized"), "{refused:?}");
    let refused = mosquitto_pub(&host, Some(("owner", "guess")), &signed);
    assert!(!refused.status.success(), "{refused:?}");
    // What is published after it is handled, and it is not.
    let marker = host.signed("relay-in", "a2", "test.x.v1", json!({}));
    host.publish("relay-in", marker).await;
    eventually("the marker is handled", async || {
        let events = host.events().await;
        events.into_iter().find(|event| event.run == "run-a2")
    })
    .await;
    assert!(host.events().await.iter().all(|event| event.run != "run-a1"));
    assert!(host.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_twice_takes_effect_once() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let event = host.signed("relay-in", "d1", "test.x.v1", json!({}));
    for _ in 0..3 {
        host.publish("relay-in", event.clone()).await;
    }
    let marker = host.signed("relay-in", "d2", "test.x.v1", json!({}));
    host.publish("relay-in", marker).await;
    eventually("the marker is handled", async || {
        host.events()
            .await
            .into_iter()
            .find(|event| event.run == "run-d2" && event.topic == "relay-out")
    })
    .await;
    assert_eq!(host.host.ledger().state("relay", "seen").await.unwrap().unwrap(), b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_event_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = config(directory.path());
    settings.messages.max_age = Duration::from_secs(0);
    let host = TestHost {
        host: Host::start(settings).await.unwrap(),
        directory,
    };
    host.load("relay").await;
    let event = host.signed("relay-in", "o1", "test.x.v1", json!({}));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let reason = refused(&host, event).await;
    assert!(reason.contains("too far from now"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_while_no_bot_is_there() {
    let host = TestHost::start().await;
    host.load("relay").await;
    host.host.stop("relay").await.unwrap();
    let event = host.signed("relay-in", "w1", "test.x.v1", json!({}));
    host.publish("relay-in", event).await;
    host.load("relay").await;
    eventually("the waiting message is handled", async || {
        host.events().await.into_iter().find(|event| event.topic == "relay-out")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_is_idle_stops_without_waiting_for_messages_to_be_finished() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = config(directory.path());
    // Longer than any test may take.
    settings.drain = Duration::from_secs(24 * 60 * 60);
    let host = Host::start(settings).await.unwrap();
    let host = TestHost { host, directory };
    host.load("relay").await;
    host.host.stop("relay").await.unwrap();
    let error = host.host.stop("relay").await.unwrap_err().to_string();
    assert!(error.contains("no bot named relay"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_with_eight_instances_counts_every_message_in_its_state() {
    let host = TestHost::start().await;
    let mut counting = spec("relay");
    counting.instances = 8;
    host.host.load(counting).await.unwrap();
    let source = spec("relay")
        .named("source")
        .option("endpoint", "source")
        .option("watch", "nothing")
        .option("publish-to", "relay-in")
        .option("first", "300");
    host.host.load(source).await.unwrap();
    eventually("all three hundred are through", async || {
        let events = host.events().await.into_iter();
        (events.filter(|event| event.topic == "relay-out").count() == 300).then_some(())
    })
    .await;
    let seen = host.host.ledger().state("relay", "seen").await.unwrap().unwrap();
    assert_eq!(String::from_utf8(seen).unwrap(), "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_bots_carries_every_message() {
    let host = TestHost::start().await;
    for n in 1..4 {
        let link = spec("relay")
            .named(&format!("link{n}"))
            .option("endpoint", format!("group{n}"))
            .option("watch", format!("t{n}"))
            .option(
                "publish-to",
                if n == 3 {
                    "relay-out".to_owned()
                } else {
                    format!("t{}", n + 1)
                },
            );
        host.host.load(link).await.unwrap();
    }
    let source = spec("relay")
        .named("source")
        .option("endpoint", "source")
        .option("watch", "nothing")
        .option("publish-to", "t1")
        .option("first", "50");
    host.host.load(source).await.unwrap();
    eventually("all fifty arrive", async || {
        let arrived = host
            .events()
            .await
            .into_iter()
            .filter(|event| event.topic == "relay-out")
            .count();
        (arrived == 50).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_listed_and_gone_when_stopped() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let names = async || host.host.everyone().into_iter().map(|bot| bot.bot).collect::<Vec<_>>();
    eventually("presence", async || (names().await == ["relay"]).then_some(())).await;
    host.host.stop("relay").await.unwrap();
    eventually("absence", async || names().await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_cannot_use_one_state_directory() {
    let host = TestHost::start().await;
    let error = Host::start(config(host.directory.path()))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("another foundry-host is using"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_message_key_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = config(directory.path());
    settings.messages.key = Some("0123456789abcdef".to_owned());
    settings.passphrases = PassphraseSource::none();
    let error = Host::start(settings).await.err().unwrap().to_string().to_lowercase();
    assert!(error.contains("0123456789abcdef"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_handled_on_the_topic_that_it_was_published_to_alone() {
    let host = TestHost::start().await;
    host.load("relay").await;
    // The host itself signed it, and published it elsewhere.
    let replayed = host.signed("reports", "r1", "test.x.v1", json!({}));
    let reason = refused(&host, replayed).await;
    assert!(reason.contains("published to foundry/reports"), "{reason}");
    let since = host.host.ledger().upgraded().topics;
    let unnamed = |id: &str, time: OffsetDateTime| {
        let event = changed(event("relay-in", id, "test.x.v1", json!({})), |event| {
            event.topic = None;
            event.time = time.format(&Rfc3339).unwrap();
        });
        event.sign(&signer(host.directory.path())).unwrap()
    };
    let reason = refused(&host, unnamed("r3", since)).await;
    assert!(reason.contains("names no topic"), "{reason}");
    // It waited in the queues while the host was upgraded.
    host.publish("relay-in", unnamed("r2", since - Duration::from_secs(1)))
        .await;
    eventually("the old event is handled", async || {
        of_run(&host, "run-r2", "relay-out").await.pop()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_does_not_say_what_its_id_derives_from_is_handled_if_it_waited_during_the_upgrade() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let since = host.host.ledger().upgraded().origins;
    let silent = |name: &str, time: OffsetDateTime| {
        let event = changed(event("relay-in", name, "test.x.v1", json!({})), |event| {
            event.id = name.to_owned();
            event.derivation = Attributes::default();
            event.time = time.format(&Rfc3339).unwrap();
        });
        event.sign(&signer(host.directory.path())).unwrap()
    };
    let reason = refused(&host, silent("s1", since)).await;
    assert!(reason.contains("does not say what its id derives from"), "{reason}");
    host.publish("relay-in", silent("s2", since - Duration::from_secs(1)))
        .await;
    eventually("the old event is handled", async || {
        of_run(&host, "run-s2", "relay-out").await.pop()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_shown_in_the_run_and_its_event_is_handled_once_the_key_is_there() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let other = tempfile::tempdir().unwrap();
    let key = signer(other.path()).fingerprint();
    let said = |id: &str, run: &str| {
        let event = changed(
            event("relay-in", id, "test.x.v1", json!({ "branch": "main" })),
            |event| {
                event.source = "b1/build".to_owned();
                event.run = run.to_owned();
            },
        );
        event.sign(&signer(other.path())).unwrap()
    };
    let [first, second, again] = [("k1", "run-a"), ("k2", "run-a"), ("k1", "run-a")].map(|(id, run)| said(id, run));
    for payload in [first, second, again, said("k3", "run-b")] {
        refused(&host, payload).await;
    }
    for run in ["run-a", "run-b"] {
        let told = eventually("the failure is on record", async || {
            let failures = of_run(&host, run, "failures").await;
            (!failures.is_empty()).then_some(failures)
        })
        .await;
        let [failure] = told.as_slice() else {
            panic!("told more than once: {told:?}");
        };
        let reason = failure.data["reason"].as_str().unwrap();
        let remedy = "foundry-host key import --role messages --host b1 --may DUTY FILE";
        assert!(reason.contains(&key.to_string()) && reason.contains(remedy), "{reason}");
        assert_eq!(
            (&failure.data["refused"], &failure.data["branch"]),
            (&json!(true), &json!("main"))
        );
        assert_eq!(failure.source, "test/relay");
    }

    // Its timer's tick counts as well.
    let before = host.host.status("relay").unwrap().handled;
    introduce("b1", other.path(), "test.x.v1@relay-in", host.directory.path());
    for (run, events) in [("run-a", 2), ("run-b", 1)] {
        eventually("the events are handled", async || {
            (of_run(&host, run, "relay-out").await.len() == events).then_some(())
        })
        .await;
    }
    eventually("no dead letter is left", async || {
        host.dead_letters().await.is_empty().then_some(())
    })
    .await;
    let handled = host.host.status("relay").unwrap().handled - before;
    assert_eq!(handled, 3, "what came twice is handled once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_is_shown_in_the_run_and_its_event_is_handled_when_the_time_has_come() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let ahead = OffsetDateTime::now_utc() + Duration::from_secs(304);
    let early = changed(event("relay-in", "c1", "test.x.v1", json!({})), |event| {
        event.time = ahead.format(&Rfc3339).unwrap();
    });
    let reason = refused(&host, early.sign(&signer(host.directory.path())).unwrap()).await;
    assert!(reason.contains("set the clocks of both machines"), "{reason}");
    let failure = eventually("the failure is on record", async || {
        of_run(&host, "run-c1", "failures").await.pop()
    })
    .await;
    assert!(
        failure.data["reason"].as_str().unwrap().contains("set the clocks"),
        "{failure:?}"
    );
    eventually("the event is handled", async || {
        of_run(&host, "run-c1", "relay-out").await.pop()
    })
    .await;
    eventually("no dead letter is left", async || {
        host.dead_letters().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_not_say_something_is_told_what_would_allow_it() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let other = tempfile::tempdir().unwrap();
    introduce("b1", other.path(), "build", host.directory.path());
    let said = signed_as("b1", other.path(), "relay-in", "n1", "test.x.v1", json!({}));
    let reason = refused(&host, said).await;
    let key = signer(other.path()).fingerprint();
    let remedy = format!("foundry-host key allow {key} --host b1 --may build,test.x.v1@relay-in");
    assert!(reason.contains(&remedy), "{reason}");
    introduce("b1", other.path(), "build,test.x.v1@relay-in", host.directory.path());
    eventually("it is handled", async || {
        of_run(&host, "run-n1", "relay-out").await.pop()
    })
    .await;
}
