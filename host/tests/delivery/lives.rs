//! Changes of one bot by several callers at once: whatever they do, a name stands for one bot, which can be stopped.

use std::time::Duration;

use foundry_host::supervisor::LoadFailure;

use crate::support::{TestHost, eventually, spec};

/// Members of the group of the bot `relay` at the broker.
async fn members(host: &TestHost) -> usize {
    let groups = host.host.operator().unwrap().groups().await;
    groups.iter().map(|group| group.members).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_several_replace_at_once_is_one_bot_and_can_be_stopped() {
    let host = TestHost::start().await;
    host.load("relay").await;
    for _ in 0..4 {
        let (one, two, three) = tokio::join!(
            host.host.replace(spec("relay")),
            host.host.replace(spec("relay")),
            host.host.replace(spec("relay"))
        );
        for replaced in [one, two, three] {
            replaced.unwrap();
        }
        assert_eq!(host.host.list().len(), 1);
        eventually("one member is left", async || (members(&host).await == 1).then_some(())).await;
    }
    host.host.stop("relay").await.unwrap();
    assert!(host.host.list().is_empty());
    eventually("no member is left", async || (members(&host).await == 0).then_some(())).await;
    // A ghost would come back to its session again and again.
    let event = host.signed("relay-in", "g1", "test.x.v1", serde_json::json!({}));
    host.publish("relay-in", event).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(host.events().await.iter().all(|event| event.topic != "relay-out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_is_stopped_while_it_is_replaced_is_gone_or_there_and_never_both() {
    let host = TestHost::start().await;
    for _ in 0..4 {
        host.host.replace(spec("relay")).await.unwrap();
        let (replaced, stopped) = tokio::join!(host.host.replace(spec("relay")), host.host.stop("relay"));
        replaced.unwrap();
        stopped.unwrap();
        // Whichever of the two came first.
        let listed = host.host.list().len();
        eventually("as many members as bots", async || {
            (members(&host).await == listed).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_while_bots_are_loaded_starts_none_of_them_afterwards() {
    let host = TestHost::start().await;
    host.load("relay").await;
    let loads = (0..8).map(|number| {
        let host = host.host.clone();
        tokio::spawn(async move { host.load(spec("relay").named(&format!("late{number}"))).await })
    });
    let loads: Vec<_> = loads.collect();
    let replace = tokio::spawn({
        let host = host.host.clone();
        async move { host.replace(spec("relay")).await }
    });
    tokio::task::yield_now().await;
    host.host.shutdown().await;
    assert!(host.host.list().is_empty());
    for load in loads.into_iter().chain([replace]) {
        if let Err(error) = load.await.unwrap() {
            assert!(
                matches!(error, LoadFailure::Stopping | LoadFailure::NoSuchBot(_)),
                "{error}"
            );
        }
    }
    assert!(host.host.list().is_empty(), "and none came after that");
}
