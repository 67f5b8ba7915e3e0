//! Buildbots on one endpoint share the jobs; each endpoint sees every commit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::farm::{Farm, json};
use crate::package::{Repository, run};

#[test]
fn two_buildbots_on_one_endpoint_share_and_two_endpoints_each_build() {
    let mut farm = Farm::new();
    let repository = Repository::new(farm.path(), "shared-package");
    // So slow that the second job is there before the first is over.
    repository.rules("%:\n\tdh $@\noverride_dh_auto_build:\n\tsleep 3\n");
    let branches = ["one", "two", "three", "four"];
    let commits = branches.map(|branch| {
        repository.version(&format!("1.0+{branch}"));
        repository.push(branch)
    });
    let urls = branches.map(|branch| format!("{}#{branch}", repository.url()));
    farm = farm
        .watchbot(&urls)
        .bot(
            "left",
            "use = \"buildbot\"\nallow-unsigned = true\nendpoint = \"pub/shared\"",
        )
        .bot(
            "right",
            "use = \"buildbot\"\nallow-unsigned = true\nendpoint = \"pub/shared\"",
        )
        .bot(
            "alone",
            "use = \"buildbot\"\nallow-unsigned = true\nendpoint = \"pub/alone\"",
        );
    farm.start();
    for commit in &commits {
        farm.eventually("both endpoints build", |farm| {
            let builds = farm.events("foundry.build.v1");
            let of_commit = builds
                .iter()
                .filter(|event| event["data"]["ref"] == commit.as_str())
                .count();
            (of_commit == 2).then_some(())
        });
    }
    let mut builds: BTreeMap<String, usize> = BTreeMap::new();
    for event in farm.events("foundry.build.v1") {
        *builds.entry(event["source"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(builds["farm/alone"], 4, "{builds:?}");
    assert_eq!(builds["farm/left"] + builds["farm/right"], 4, "{builds:?}");
    assert!(builds["farm/left"] >= 1 && builds["farm/right"] >= 1, "{builds:?}");

    let listed = json(farm.foundry().args(["list", "--json"]));
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|bot| bot["bot"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["alone", "left", "right", "watchbot"]);
    let start = Instant::now();
    run(farm.foundry().args(["stop", "left"]));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let listed = json(farm.foundry().args(["list", "--json"]));
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let again = farm.foundry().args(["stop", "left"]).output().unwrap();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("left"));
}
