//! What a component declares is a request: bots that were not granted what they ask for.

use std::time::Duration;

use foundry_host::supervisor::{BotSource, BotSpec, LoadFailure};
use serde_json::{Value, json};

use super::support::{TestHost, eventually, id_of};

/// A test guest as its operator loads it who grants nothing.
fn ungranted(guest: &str) -> BotSpec {
    BotSpec::new(BotSource::File(foundry_test_guests::path(guest)))
}

/// A bot that publishes what it is told, on a topic that it chose itself, and may.
async fn publisher(topic: &str, grants: &[&str]) -> TestHost {
    let host = TestHost::start().await;
    let mut bot = ungranted("hostile").option("publish-to", topic);
    bot.grants.artifacts = true;
    bot.grants.read.push("hostile-in".parse().unwrap());
    bot.grants.publish = grants.iter().map(|grant| grant.parse().unwrap()).collect();
    host.host.load(bot).await.unwrap();
    host
}

/// Have it publish an event.
async fn order(host: &TestHost, id: &str, topic: &str, event_type: &str, data: Value) {
    let order = json!({ "do": "publish", "topic": topic, "type": event_type, "data": data });
    host.publish("hostile-in", host.signed("hostile-in", id, "test.order.v1", order))
        .await;
}

/// The reason why an order was given up.
async fn refusal(host: &TestHost, id: &str) -> String {
    let id = id_of("hostile-in", id, "test.order.v1");
    eventually("the event is refused", async || {
        let mut letters = host.dead_letters().await.into_iter();
        letters
            .find(|dead| dead.id.as_ref() == Some(&id))
            .map(|dead| dead.reason)
    })
    .await
}

fn sign() -> Value {
    json!({
        "repository": "https://example.org/x.git", "branch": "main", "ref": "0".repeat(40), "source": "xx", "version": "1",
        "architecture": "amd64", "key": "0".repeat(40),
        "artifacts": [{ "name": "xx_1_amd64.deb", "size": 1, "sha256": "0".repeat(64),
                        "mediaType": "application/vnd.debian.binary-package" }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_without_grants_cannot_publish_signs_that_its_description_declares() {
    let host = TestHost::start().await;
    let mut evil = ungranted("hostile").named("evil").option("publish-to", "signs");
    evil.grants.artifacts = true;
    let error = host.host.load(evil).await.unwrap_err();
    assert!(matches!(error, LoadFailure::NotGranted { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "cannot load evil: it reads hostile-in and publishes on signs, which is not granted (add --allow-read hostile-in \
         --allow-publish signs)"
    );
    assert_eq!(host.host.list(), [], "nothing of it runs on a message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_a_topic_is_none_of_the_pipelines_types() {
    let host = publisher("signs", &["signs"]).await;
    order(&host, "s1", "hostile-out", "foundry.sign.v1", sign()).await;
    let reason = refusal(&host, "s1").await;
    assert!(
        reason.contains("may not publish to signs: events of the type foundry.sign.v1 need a grant")
            && reason.contains("--allow-publish signs:foundry.sign.v1"),
        "{reason}"
    );
    order(&host, "s2", "hostile-out", "org.example.note.v1", json!({})).await;
    eventually("other types are published", async || {
        let events = host.events().await;
        events
            .into_iter()
            .find(|event| event.event_type == "org.example.note.v1")
    })
    .await;
    assert!(
        host.events()
            .await
            .iter()
            .all(|event| event.event_type != "foundry.sign.v1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_publishes_the_pipelines_events_that_it_was_granted() {
    let host = publisher("signs", &["signs:foundry.sign.v1"]).await;
    order(&host, "g1", "hostile-out", "foundry.sign.v1", sign()).await;
    let event = eventually("the event is published", async || {
        let events = host.events().await;
        events.into_iter().find(|event| event.event_type == "foundry.sign.v1")
    })
    .await;
    assert_eq!(event.topic, "signs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_without_grants_cannot_join_buildbots_group() {
    let host = TestHost::start().await;
    // Its operator lets it read commits, and it asks for a group that is another bot's.
    let mut thief = ungranted("relay").named("thief").option("watch", "commits");
    thief.grants.read.push("commits".parse().unwrap());
    thief.grants.publish.push("relay-out".parse().unwrap());
    let status = host.host.load(thief.clone()).await.unwrap();
    assert_eq!(status.group.as_deref(), Some("thief"));
    assert!(
        status.notes[0].starts_with("it reads commits in a group of its own, thief, since relay is not its own"),
        "{:?}",
        status.notes
    );
    let groups = host.host.operator().unwrap().groups().await;
    assert!(groups.iter().all(|group| group.name != "relay"), "{groups:?}");

    let joining = thief.clone().option("endpoint", "pub/buildbot");
    let error = host
        .host
        .load(joining.clone().named("other"))
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "cannot load other: it reads commits in the group pub/buildbot, which is not granted (add --allow-read \
         commits@pub/buildbot)"
    );
    let mut granted = joining.named("helper");
    granted.grants.read.push("commits@pub/buildbot".parse().unwrap());
    let status = host.host.load(granted).await.unwrap();
    assert_eq!((status.group.as_deref(), status.notes.len()), (Some("pub/buildbot"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_cannot_publish_on_peers_hosts_bots_logs_however_it_is_granted() {
    let host = TestHost::start().await;
    for topic in [
        "peers/victim",
        "hosts/victim",
        "bots/victim/x",
        "logs/1/x",
        "peers",
        "logs",
    ] {
        for option in ["publish-to", "watch"] {
            let mut bot = ungranted("relay").option(option, topic);
            bot.grants.read.push("#@#".parse().unwrap());
            bot.grants.publish.push("#".parse().unwrap());
            bot.grants.publish.push("+/+".parse().unwrap());
            let error = host.host.load(bot).await.unwrap_err().to_string();
            assert!(
                error.contains("the hosts keep logs/, hosts/, bots/ and peers/"),
                "{error}"
            );
        }
    }
    assert_eq!(host.host.list(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_from_a_file_cannot_be_called_as_a_topic_of_the_pipeline() {
    let host = TestHost::start().await;
    for name in ["signs", "failures", "jobs", "peers", "pub"] {
        let error = host.host.load(ungranted("relay").named(name)).await.unwrap_err();
        assert!(matches!(error, LoadFailure::ReservedName(_)), "{error}");
        assert!(error.to_string().contains("choose another name with --as"), "{error}");
    }
    assert_eq!(host.host.list(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_would_be_written_as_another_grant_is_refused() {
    let host = TestHost::start().await;
    let sneaky = ungranted("relay").option("publish-to", "signs:foundry.sign.v1");
    let error = host.host.load(sneaky).await.unwrap_err().to_string();
    assert!(error.contains("holds no : and no @"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_has_the_topics_below_its_name_without_a_grant() {
    let host = TestHost::start().await;
    let bot = ungranted("relay")
        .named("mine")
        .option("watch", "mine/in")
        .option("publish-to", "mine")
        .option("endpoint", "mine/workers");
    let status = host.host.load(bot).await.unwrap();
    assert_eq!((status.group.as_deref(), status.notes.len()), (Some("mine/workers"), 0));
    host.publish("mine/in", host.signed("mine/in", "m1", "test.x.v1", json!({})))
        .await;
    eventually("it handles its message", async || {
        host.host.ledger().state("mine", "seen").await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_tells_of_no_failure_but_its_own() {
    let host = publisher("hostile-out", &["hostile-out"]).await;
    let failure = |stage: &str| json!({ "stage": stage, "reason": "because", "attempts": 1 });
    order(&host, "f1", "failures", "foundry.failure.v1", failure("sign")).await;
    let reason = refusal(&host, "f1").await;
    assert!(
        reason.contains("the failure has the stage \"sign\", which is not the bot's own"),
        "{reason}"
    );
    order(&host, "f2", "failures", "foundry.failure.v1", failure("hostile")).await;
    let told = id_of("hostile-in", "f2", "test.order.v1");
    eventually("its own failure is told", async || {
        let mut events = host.events().await.into_iter();
        events.find(|event| event.topic == "failures" && event.cause.as_ref() == Some(&told))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_cannot_choose_a_longer_time_limit_than_its_operator_allows() {
    let host = TestHost::start().await;
    // It asks for an hour.
    let mut greedy = ungranted("greedy");
    greedy.grants.sign.push("0123456789abcdef".to_owned());
    greedy.grants.read.push("greedy-in".parse().unwrap());
    let status = host.host.load(greedy.clone()).await.unwrap();
    let in_force = |name: &str| host.host.in_force(name).unwrap().timeout;
    assert_eq!(in_force("greedy"), Duration::from_secs(600));
    assert_eq!(
        status.notes,
        [
            "it asks for 3600 s for a message and has 600 s (--timeout gives it more, host.longest-message gives it to all bots)"
        ]
    );
    // Its operator's word goes before all of that.
    let mut patient = greedy.named("patient");
    patient.grants.read.push("greedy-in@greedy".parse().unwrap());
    patient.timeout = Some(Duration::from_secs(7200));
    let status = host.host.load(patient).await.unwrap();
    assert_eq!(
        (in_force("patient"), status.notes.len()),
        (Duration::from_secs(7200), 0)
    );
}
