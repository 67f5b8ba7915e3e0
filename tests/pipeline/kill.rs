//! A host that dies in the middle of its work.

use std::time::Duration;

use crate::apt::Apt;
use crate::farm::Farm;
use crate::package::Repository;

#[test]
fn host_killed_during_a_build_builds_signs_and_publishes_once() {
    let mut farm = Farm::new();
    let repository = Repository::new(farm.path(), "slow-package");
    // Long enough to be killed in the middle, and visible from outside of the sandbox.
    repository.rules("%:\n\tdh $@\noverride_dh_auto_build:\n\t@echo the build has begun\n\tsleep 8\n");
    let commit = repository.push("master");
    farm = farm.watchbot(&[repository.url()]).rest(&["master:stable"]);
    farm.start();
    farm.eventually("the build begins", |farm| {
        let runs = farm.runs();
        let run = runs.first()?["id"].as_str()?.to_owned();
        let logs = farm.foundry().args(["logs", &run]).output().ok()?;
        String::from_utf8_lossy(&logs.stdout)
            .contains("the build has begun")
            .then_some(())
    });
    assert!(farm.events("foundry.build.v1").is_empty(), "too late to kill it");
    farm.kill();
    farm.start();
    farm.await_event("foundry.dist.v1", &commit);

    // Time for a second build to show itself, if there is one.
    std::thread::sleep(Duration::from_secs(3));
    for event_type in [
        "foundry.commit.v1",
        "foundry.build.v1",
        "foundry.sign.v1",
        "foundry.dist.v1",
    ] {
        let count = farm
            .events(event_type)
            .iter()
            .filter(|event| event["data"]["ref"] == commit.as_str())
            .count();
        assert_eq!(count, 1, "{event_type}");
    }
    let apt = Apt::new(&farm, "stable");
    apt.update();
    apt.unpack("slow-package");

    // And a restart in peace announces nothing again.
    farm.kill();
    farm.start();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(farm.events("foundry.commit.v1").len(), 1);
}
