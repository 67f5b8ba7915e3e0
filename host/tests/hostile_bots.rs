//! Bots that misbehave: the host goes on, and says what happened.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

#[path = "hostile/grants.rs"]
mod grants;
mod support;

use foundry_host::capability::Grants;
use foundry_host::runtime::wit::types::Message;
use foundry_host::runtime::{ComponentCache, Engine, Fault};
use foundry_host::supervisor::{Condition, LoadFailure};
use support::{TestHost, eventually, id_of, spec};

/// The reason of the dead letter that an order to the hostile bot ends in.
async fn reason_of(host: &TestHost, id: &str, what: &str) -> String {
    host.tell(id, what).await;
    let id = id_of("hostile-in", id, "test.order.v1");
    eventually(what, async || {
        let letters = host.dead_letters().await;
        letters
            .into_iter()
            .find(|dead| dead.id.as_ref() == Some(&id))
            .map(|dead| dead.reason)
    })
    .await
}

async fn hostile() -> TestHost {
    let host = TestHost::start().await;
    host.load("hostile").await;
    host
}

/// The bot still does what it is told, and what it publishes arrives.
async fn still_works(host: &TestHost, id: &str) {
    host.tell(id, "done").await;
    eventually("the next message is handled", async || {
        let run = format!("run-{id}");
        host.events()
            .await
            .into_iter()
            .find(|event| event.run == run && event.event_type == "test.hostile.v1")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_panics_says_why_and_harms_nobody() {
    let host = hostile().await;
    let reason = reason_of(&host, "p1", "panic").await;
    assert!(
        reason.contains("trapped") && reason.contains("after 3 attempts"),
        "{reason}"
    );
    let log = host.host.services().logs.of_run("run-p1").unwrap();
    assert!(log.iter().any(|line| line.line.contains("told to panic")), "{log:?}");
    let failure = eventually("a failure event", async || {
        host.events()
            .await
            .into_iter()
            .find(|event| event.event_type == "foundry.failure.v1")
    })
    .await;
    assert_eq!(failure.data["stage"], "hostile");
    still_works(&host, "p2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_eats_memory_is_stopped_at_its_limit() {
    let host = hostile().await;
    let reason = reason_of(&host, "m1", "memory").await;
    assert!(reason.contains("wanted more than 256 MiB of memory"), "{reason}");
    still_works(&host, "m2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_has_the_host_hold_no_more_than_one_message_may() {
    let host = hostile().await;
    for (order, answer) in [
        ("delete for ever", "TooLarge(33554432)"),
        ("read for ever", "10000 events, writes and reads of state"),
        ("publish for ever", "10000 events, writes and reads of state"),
        ("store for ever", "store and send 512 MiB"),
    ] {
        let id = order.replace(' ', "-");
        let reason = reason_of(&host, &id, order).await;
        assert!(reason.contains("the host said") && reason.contains(answer), "{reason}");
    }
    still_works(&host, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_recurses_without_end_overflows_its_own_stack() {
    let host = hostile().await;
    let reason = reason_of(&host, "r1", "recurse").await;
    assert!(
        reason.contains("stack") || reason.contains("out of bounds") || reason.contains("trapped"),
        "{reason}"
    );
    still_works(&host, "r2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_for_which_the_host_has_no_room_now_is_not_at_fault() {
    let host = TestHost::start().await;
    let engine = Engine::with_room(1).unwrap();
    let cache = ComponentCache::new(host.directory.path().join("compiled"));
    let component = cache.load_file(&engine, &foundry_test_guests::path("hostile")).unwrap();
    let grants = Grants {
        artifacts: true,
        ..Grants::default()
    };
    let admitted = component.admit(&engine, &grants).unwrap();
    let instances = support::instances(&host, engine, admitted);
    let order = |what: &str| Message {
        id: "1".into(),
        topic: "hostile-in".into(),
        event_type: "test.hostile.v1".into(),
        source: "test/test".into(),
        subject: None,
        time: String::new(),
        run: "1".into(),
        attempt: 0,
        data: serde_json::json!({ "do": what }).to_string(),
    };
    let order = order("loop");
    let (one, other) = (instances.handle(&order), instances.handle(&order));
    let fault = tokio::select! {
        ended = one => ended.err(),
        ended = other => ended.err(),
    };
    assert!(matches!(fault, Some(Fault::NoRoom(_))), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_loops_is_stopped_by_time_and_others_go_on_meanwhile() {
    let host = TestHost::start().await;
    let looping = foundry_host::supervisor::BotSpec {
        timeout: Some(std::time::Duration::from_secs(2)),
        ..spec("hostile").named("looping")
    };
    host.host.load(looping).await.unwrap();
    host.load("relay").await;
    host.tell("l1", "loop").await;
    let event = host.signed("relay-in", "other", "test.other.v1", serde_json::json!({}));
    host.publish("relay-in", event).await;
    eventually("another bot works beside the loop", async || {
        host.events()
            .await
            .into_iter()
            .find(|event| event.run == "run-other" && event.topic == "relay-out")
    })
    .await;
    let id = id_of("hostile-in", "l1", "test.order.v1");
    let reason = eventually("the loop is given up", async || {
        host.dead_letters()
            .await
            .into_iter()
            .find(|dead| dead.id.as_ref() == Some(&id))
            .map(|dead| dead.reason)
    })
    .await;
    assert!(reason.contains("took more than 2 s"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_floods_its_log_is_cut_off() {
    let host = hostile().await;
    host.tell("f1", "flood").await;
    still_works(&host, "f2").await;
    let log = host.host.services().logs.of_run("run-f1").unwrap();
    assert!(log.len() <= 10_000, "{} lines", log.len());
    assert!(log.last().unwrap().line.contains("too many log lines"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_publishes_to_its_own_topics_only() {
    let host = TestHost::start().await;
    let mut bot = spec("hostile");
    bot.grants.publish.push("hostile-out:foundry.build.v1".parse().unwrap());
    host.host.load(bot).await.unwrap();
    let reason = reason_of(&host, "t1", "other topic").await;
    assert_eq!(reason, "the host said: may not publish to builds");
    let reason = reason_of(&host, "t2", "bad build").await;
    assert!(reason.contains("does not fit foundry.build.v1"), "{reason}");
    let reason = reason_of(&host, "t3", "big event").await;
    assert!(reason.contains("larger than"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_artifacts_have_their_bounds() {
    let host = hostile().await;
    let reason = reason_of(&host, "s1", "big state").await;
    assert!(reason.contains("TooLarge"), "{reason}");
    let reason = reason_of(&host, "s2", "artifact name").await;
    assert!(reason.contains("BadName"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bot_did_before_it_trapped_never_happened() {
    let host = hostile().await;
    reason_of(&host, "w1", "write, then panic").await;
    assert_eq!(host.host.ledger().state("hostile", "half").await.unwrap(), None);
    assert!(
        !host
            .events()
            .await
            .iter()
            .any(|event| event.event_type == "test.hostile.v1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_repeats_the_message_and_not_its_effects() {
    let host = hostile().await;
    host.tell("y1", "write, then retry").await;
    eventually("the second attempt publishes", async || {
        host.events()
            .await
            .into_iter()
            .find(|event| event.event_type == "test.hostile.v1")
    })
    .await;
    let published = host
        .events()
        .await
        .into_iter()
        .filter(|event| event.event_type == "test.hostile.v1")
        .count();
    assert_eq!(published, 1);
    assert_eq!(host.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_fails_again_and_again_is_quarantined() {
    let host = hostile().await;
    for n in 0..3 {
        host.tell(&format!("q{n}"), "panic").await;
    }
    eventually("quarantine", async || {
        let status = host.host.status("hostile").unwrap();
        (status.condition == Condition::Quarantined).then_some(())
    })
    .await;
    host.host.stop("hostile").await.unwrap();
    assert!(matches!(host.host.status("hostile"), Err(LoadFailure::NoSuchBot(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_imports_what_is_not_granted_is_refused() {
    let host = TestHost::start().await;
    let error = host.host.load(spec("greedy")).await.unwrap_err().to_string();
    assert!(
        error.contains("it imports foundry:bot/signing@0.1.1, which is not granted"),
        "{error}"
    );
    assert!(error.contains("--allow-sign KEYID"), "{error}");
    assert_eq!(host.host.list(), []);
}

/// A component that was built for another version of the contract: its imports say so.
fn of_version(version: &str) -> Vec<u8> {
    const CURRENT: &[u8] = b"@0.1.1";
    let mut component = std::fs::read(foundry_test_guests::path("noop")).unwrap();
    let other = format!("@{version}");
    assert_eq!(other.len(), CURRENT.len());
    let mut replaced = 0;
    for at in 0..component.len() - CURRENT.len() {
        if &component[at..at + CURRENT.len()] == CURRENT {
            component[at..at + CURRENT.len()].copy_from_slice(other.as_bytes());
            replaced += 1;
        }
    }
    assert!(replaced > 0);
    component
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_another_version_of_the_contract_is_refused() {
    let host = TestHost::start().await;
    let path = host.directory.path().join("other.wasm");
    for version in ["0.1.2", "0.9.0", "1.0.0"] {
        std::fs::write(&path, of_version(version)).unwrap();
        let source = foundry_host::supervisor::BotSource::File(path.clone());
        let spec = foundry_host::supervisor::BotSpec::new(source);
        let error = host.host.load(spec).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!(
                "it was built for foundry:bot {version}, and this host has 0.1.0 and 0.1.1"
            )),
            "{error}"
        );
    }
    assert_eq!(host.host.list(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_another_world_is_refused() {
    let host = TestHost::start().await;
    let path = host.directory.path().join("other.wasm");
    std::fs::write(&path, b"\0asm\x0d\0\x01\0").unwrap();
    let source = foundry_host::supervisor::BotSource::File(path.clone());
    let error = host
        .host
        .load(foundry_host::supervisor::BotSpec::new(source.clone()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not export `describe`"), "{error}");
    for bytes in [
        &b"\0asm\x01\0\0\0"[..],
        b"",
        b"not wasm",
        &std::fs::read(foundry_test_guests::path("noop")).unwrap()[..1000],
    ] {
        std::fs::write(&path, bytes).unwrap();
        let spec = foundry_host::supervisor::BotSpec::new(source.clone());
        let error = host.host.load(spec).await.unwrap_err().to_string();
        assert!(error.contains("other.wasm is not a WebAssembly component"), "{error}");
    }
}
