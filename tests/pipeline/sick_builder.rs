//! A builder whose machine can't build: it takes nothing, and costs nobody anything.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::farm::{Farm, json};
use crate::package::{Repository, run};
use crate::two_builders::{Builder, artifacts};

const ENDPOINT: &str = "pub/buildbot";

/// A host's directory for builds, in the place of which there is a file.
struct Broken {
    place: PathBuf,
    away: PathBuf,
}

impl Broken {
    fn of(state: &Path) -> Self {
        let place = state.join("build/builds");
        let away = state.join("build/away");
        fs::rename(&place, &away).unwrap();
        fs::write(&place, "").unwrap();
        Self { place, away }
    }

    fn mend(self) {
        fs::remove_file(&self.place).unwrap();
        fs::rename(&self.away, &self.place).unwrap();
    }
}

/// What the farm's head says of a host's bot: its status and why.
fn of_bot(farm: &Farm, host: &str, bot: &str) -> Option<(String, String)> {
    let listed = json(farm.foundry().args(["list", "--json"]));
    let found = listed
        .as_array()?
        .iter()
        .find(|one| one["host"] == host && one["bot"] == bot)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("detail")))
}

/// Members of the builders' group, and its messages that nobody has.
fn group(farm: &Farm) -> Option<(u64, u64)> {
    let groups = json(farm.foundry().args(["groups", "list", "--json"]));
    let groups = groups["groups"].as_array().or(groups.as_array())?.clone();
    let found = groups
        .iter()
        .find(|group| group["name"].as_str().is_some_and(|name| name.contains("buildbot")))?;
    Some((found["members"].as_u64()?, found["waiting"].as_u64()?))
}

fn built_by(farm: &Farm, commit: &str) -> String {
    let build = farm.await_event("foundry.build.v1", commit);
    build["source"].as_str().unwrap().to_owned()
}

#[test]
fn what_a_sick_builder_cannot_build_goes_to_a_healthy_one_and_waits_without_any() {
    let mut farm = Farm::new();
    Builder::meet(&farm);
    let repository = Repository::new(farm.path(), "hello");
    let shared = artifacts(&farm);
    farm = farm
        .table(&shared)
        // Enough for what goes back once or twice, also where a slow machine's goodbye is missed and counts.
        .table("[broker.limits]\ngroup-deliveries = 3")
        .table(&format!("[messages]\nexpect = [\"commits {ENDPOINT}\"]"))
        .watchbot(&[repository.url()]);
    farm.start();
    let _builder = Builder::start(&farm, ENDPOINT);
    let is =
        |status: &'static str| move |farm: &Farm| of_bot(farm, "builder", "build").filter(|(found, _)| found == status);
    farm.eventually("the builder runs", is("running"));
    let broken = Broken::of(&farm.path().join("builder"));

    let first = repository.push("master");
    let (_, why) = farm.eventually("the builder takes no more work, and says so to others", is("unable"));
    assert!(why.contains("build/builds"), "{why}");
    farm.eventually("the commit waits in the group", |farm| {
        group(farm).filter(|found| *found == (0, 1))
    });
    let mut at_builder = farm.foundry();
    at_builder.env("FOUNDRY_STATE", farm.path().join("builder"));
    let status = json(at_builder.args(["status", "--json"]));
    let unable = status["unable"].as_array().unwrap();
    assert!(
        unable
            .iter()
            .any(|told| told.as_str().unwrap().contains("build/builds")),
        "{status}"
    );

    run(farm.foundry().args([
        "load",
        "buildbot",
        "--as",
        "healthy",
        "--allow-unsigned",
        "--endpoint",
        ENDPOINT,
    ]));
    assert_eq!(built_by(&farm, &first), "farm/healthy");
    for version in ["1.1", "1.2", "1.3"] {
        repository.version(version);
        let commit = repository.push("master");
        assert_eq!(built_by(&farm, &commit), "farm/healthy");
    }
    assert_eq!(is("unable")(&farm).unwrap().0, "unable");

    // Then the other way: the healthy one is sick as well, until the first is mended.
    let second = Broken::of(&farm.state());
    repository.version("1.4");
    let last = repository.push("master");
    farm.eventually("neither takes work", |farm| {
        of_bot(farm, "farm", "healthy").filter(|(status, _)| status == "unable")?;
        group(farm).filter(|found| *found == (0, 1))
    });
    broken.mend();
    farm.eventually("the mended builder finds that it can build", is("running"));
    assert_eq!(built_by(&farm, &last), "builder/build");
    second.mend();

    assert_eq!(farm.events("foundry.failure.v1"), Vec::<Value>::new());
    let letters = json(farm.foundry().args(["dead-letters", "list", "--json"]));
    assert_eq!(
        letters["letters"].as_array().or(letters.as_array()).map(Vec::len),
        Some(0),
        "{letters}"
    );
}
