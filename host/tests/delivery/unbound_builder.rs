//! A builder whose key nobody bound to a group, in other hands.

use foundry_host::bus::Seal;

use crate::support::introduce_in;
use crate::taken_builder::{Farm, OTHER, OWN, built, failed, given_up, message, refuses};

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_in_no_group_speaks_for_the_groups_that_nobody_else_is_bound_to_and_for_no_other_bots() {
    let mut farm = Farm::start_in(&[]).await;
    let believed = async |farm: &mut Farm, topic: &str, event| {
        let payload = farm.said("builder-1/build", event);
        assert_eq!(farm.seal(topic, payload).await, Seal::Verified, "{topic}");
    };
    believed(&mut farm, "builds", built(message(OWN))).await;
    believed(&mut farm, "builds", built(message("pub/buildbot"))).await;
    believed(&mut farm, "failures", failed(given_up(OTHER))).await;
    // The failure of a stage that is his own, under the id of what signbot's host has to say.
    let not_his = "builder-1 may work in groups of bots whose work it may tell of, and so not in pub/signbot";
    refuses(&mut farm, "failures", failed(given_up("pub/signbot")), not_his).await;

    let state = farm.directory.path().to_owned();
    introduce_in(&[OTHER], "builder-2", &state.join("builder-2"), "build", &state);
    let not_his = "may work in groups that no other host's key is bound to, and so not in pub/buildbot_amd64";
    for (topic, event) in [
        ("builds", built(message(OTHER))),
        ("failures", failed(message(OTHER))),
        ("failures", failed(given_up(OTHER))),
    ] {
        refuses(&mut farm, topic, event, not_his).await;
    }
    believed(&mut farm, "builds", built(message(OWN))).await;
    // Its operator binds it to the same group.
    introduce_in(&[OTHER], "builder-1", &state.join("builder-1"), "build", &state);
    believed(&mut farm, "failures", failed(given_up(OTHER))).await;
    farm.head.shutdown().await;
}
