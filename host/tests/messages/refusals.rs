//! What is told of refused messages, and what is kept of refused events.

use std::path::Path;

use foundry_host::bus::{ConsumerState, Seal};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_made_up_runs_do_not_silence_those_of_announced_runs_and_known_hosts() {
    const FLOOD: usize = 70;
    let host = TestHost::start().await;
    host.load("relay").await;
    let [stranger, newcomer, builder] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    introduce("b1", builder.path(), "build", host.directory.path());
    let said = |state: &Path, source: &str, run: &str, announcement: Option<&[u8]>| {
        let event = changed(event("relay-in", run, "test.x.v1", json!({})), |event| {
            event.source = source.to_owned();
            event.run = run.to_owned();
        });
        let announcement = announcement.map(|payload| std::str::from_utf8(payload).unwrap());
        event.carrying(announcement).sign(&signer(state)).unwrap()
    };
    for number in 0..FLOOD {
        let payload = said(stranger.path(), "b9/build", &format!("made-up-{number}"), None);
        host.publish("relay-in", payload).await;
    }
    eventually("all are refused", async || {
        (host.dead_letters().await.len() == FLOOD).then_some(())
    })
    .await;
    let told = async || {
        let events = host.events().await.into_iter();
        events.filter(|event| event.topic == "failures").count()
    };
    assert_eq!(told().await, 60, "so many in an hour");

    // A builder whose key is not here yet: that its commit was announced shows who did that.
    let about = json!({ "repository": "/srv/hello.git", "branch": "main", "ref": "a".repeat(40) });
    let commit = changed(event("commits", "c1", "foundry.commit.v1", about), |commit| {
        commit.run = "announced".to_owned();
    });
    let commit_id = commit.id.clone();
    let commit = commit.sign(&signer(host.directory.path())).unwrap();
    host.publish(
        "relay-in",
        said(newcomer.path(), "b2/build", "announced", Some(&commit)),
    )
    .await;
    host.publish("relay-in", said(builder.path(), "b1/build", "unannounced", None))
        .await;
    for run in ["announced", "unannounced"] {
        eventually(&format!("the failure is told in the run {run}"), async || {
            of_run(&host, run, "failures").await.pop()
        })
        .await;
    }
    let shown = of_run(&host, "announced", "commits").await;
    assert_eq!(shown[0].id, commit_id, "the commit is shown as well");
    assert_eq!(told().await, 62);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_by_before_its_hosts_key_was_here_is_on_record_afterwards() {
    let host = TestHost::start().await;
    let other = tempfile::tempdir().unwrap();
    let data = json!({ "stage": "build", "reason": "the compiler says no" });
    let failure = changed(event("failures", "f1", "foundry.failure.v1", data.clone()), |event| {
        event.source = "b1/build".to_owned();
    });
    let failure = failure.sign(&signer(other.path())).unwrap();
    // A host that has started sees all that is published, in that order.
    host.publish("failures", failure).await;
    let next = host.signed("failures", "f2", "foundry.failure.v1", data);
    host.publish("failures", next).await;
    eventually("the next one is on record", async || {
        of_run(&host, "run-f2", "failures").await.pop()
    })
    .await;
    assert_eq!(of_run(&host, "run-f1", "failures").await, []);
    assert_eq!(host.dead_letters().await, [], "no bot is without it");
    introduce("b1", other.path(), "build", host.directory.path());
    eventually("it is on record", async || {
        of_run(&host, "run-f1", "failures").await.pop()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_event_under_the_id_of_one_that_was_handled_is_named_in_its_runs_log() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let said = |n: u32| host.signed("relay-in", "t1", "test.x.v1", json!({ "n": n }));
    host.publish("relay-in", said(1)).await;
    eventually("the first is handled", async || {
        of_run(&host, "run-t1", "relay-out").await.pop()
    })
    .await;
    for n in [1, 2, 2] {
        host.publish("relay-in", said(n)).await;
    }
    let warnings = || {
        let lines = host.host.services().logs.of_run("run-t1").unwrap();
        let says = "has the id of one of test/tester, which is on record with another content";
        lines.into_iter().filter(|line| line.line.contains(says)).count()
    };
    eventually("the log says so", async || (warnings() > 0).then_some(())).await;
    host.publish("relay-in", host.signed("relay-in", "t2", "test.x.v1", json!({})))
        .await;
    eventually("what came after them is handled", async || {
        of_run(&host, "run-t2", "relay-out").await.pop()
    })
    .await;
    assert_eq!(warnings(), 1);
    assert_eq!(of_run(&host, "run-t1", "relay-out").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_runs_log_is_published_below_its_hosts_name() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let (mut lines, mut state) = host.host.watch("logs/#");
    let is_there = |state: &ConsumerState| *state == ConsumerState::Subscribed;
    state.wait_for(is_there).await.unwrap();
    // The second one has the first one's id and is another, of which a line says so.
    for n in 0..2 {
        let said = host.signed("relay-in", "t1", "test.x.v1", json!({ "n": n }));
        host.publish("relay-in", said).await;
        eventually("the first is handled", async || {
            of_run(&host, "run-t1", "relay-out").await.pop()
        })
        .await;
    }
    let line = tokio::time::timeout(Duration::from_secs(60), lines.recv()).await;
    let line = line.unwrap().unwrap();
    assert_eq!(
        (line.topic.as_str(), line.seal),
        ("logs/test/run-t1/relay", Seal::Unsigned)
    );
    assert_eq!(line.payload["bot"], "relay");
}
