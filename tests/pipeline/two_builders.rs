//! Two builders on two endpoints, far apart in time: both build a commit, both are published, and the first published file
//! of a name stays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::apt::Apt;
use crate::farm::{Farm, architecture};
use crate::package::{Repository, run};

/// How long after the first publication the second builder begins.
const APART: Duration = Duration::from_secs(20);

const AMD64: &str = "pub/buildbot_amd64";
const I386: &str = "pub/buildbot_i386";

/// What all events say of a commit: that both builders' builds went all the way.
pub struct Both {
    /// Those of the build that was published first.
    pub first_sign: Value,
    pub second_sign: Value,
    pub first_dist: Value,
    pub second_dist: Value,
}

impl Both {
    /// Of a commit's events, if they are complete.
    pub fn of(events: &[Value], commit: &str) -> Option<Self> {
        let of_type = |event_type: &str| -> Vec<&Value> {
            let events = events.iter();
            events
                .filter(|event| event["type"] == event_type && event["data"]["ref"] == commit)
                .collect()
        };
        let failures = of_type("foundry.failure.v1");
        assert!(failures.is_empty(), "{failures:?}");
        let [builds, signs, mut dists] = ["build", "sign", "dist"].map(|what| of_type(&format!("foundry.{what}.v1")));
        if dists.len() < 2 {
            return None;
        }
        let ids: BTreeSet<_> = builds.iter().map(|event| event["id"].as_str().unwrap()).collect();
        let sources: BTreeSet<_> = builds.iter().map(|event| event["source"].as_str().unwrap()).collect();
        assert_eq!((builds.len(), ids.len(), sources.len()), (2, 2, 2), "{builds:?}");
        assert_eq!((signs.len(), dists.len()), (2, 2), "{signs:?} {dists:?}");
        dists.sort_by_key(|event| event["data"]["kept"].as_array().map_or(0, Vec::len));
        let sign_of = |dist: &Value| {
            let sign = signs.iter().find(|sign| sign["id"] == dist["cause"]);
            (**sign.unwrap_or_else(|| panic!("{dist} has no sign"))).clone()
        };
        Some(Self {
            first_sign: sign_of(dists[0]),
            second_sign: sign_of(dists[1]),
            first_dist: dists[0].clone(),
            second_dist: dists[1].clone(),
        })
    }

    /// The first builder's files are in the pool, and none but those; what the second one had under their names is told.
    /// These packages come out differently each time, so that they have to be among what is told.
    pub fn are_published_in(&self, repository: &Path, differing: &[&str]) {
        let first = digests(&self.first_sign);
        let second = digests(&self.second_sign);
        let pool = run(Command::new("find").arg(repository.join("pool")).args(["-type", "f"]));
        let mut found = BTreeMap::new();
        for file in pool.lines() {
            let sha256 = run(Command::new("sha256sum").arg(file));
            let name = Path::new(file).file_name().unwrap().to_str().unwrap().to_owned();
            let again = found.insert(name, sha256[..64].to_owned());
            assert_eq!(again, None, "{file} is there twice");
        }
        let is_published = |name: &&String| !name.ends_with(".changes") && !name.ends_with(".buildinfo");
        let expected: BTreeMap<_, _> = first
            .clone()
            .into_iter()
            .filter(|(name, _)| is_published(&name))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(self.first_dist["data"]["kept"], Value::Null);
        let kept = self.second_dist["data"]["kept"].as_array().cloned().unwrap_or_default();
        let told: BTreeMap<_, _> = kept
            .iter()
            .map(|kept| {
                let text = |field: &str| kept[field].as_str().unwrap().to_owned();
                (text("name"), (text("published"), text("offered")))
            })
            .collect();
        let differ: BTreeMap<_, _> = expected
            .iter()
            .filter(|(name, sha256)| second[*name] != **sha256)
            .map(|(name, sha256)| (name.clone(), (sha256.clone(), second[name].clone())))
            .collect();
        assert_eq!(told, differ);
        assert!(!differing.is_empty(), "two builds that are the same show nothing");
        for package in differing {
            assert!(
                told.keys().any(|name| name.starts_with(&format!("{package}_"))),
                "{told:?}"
            );
        }
    }
}

/// SHA-256 of an event's files, by name.
fn digests(event: &Value) -> BTreeMap<String, String> {
    let text = |artifact: &Value, field: &str| artifact[field].as_str().unwrap().to_owned();
    let artifacts = event["data"]["artifacts"].as_array().unwrap().iter();
    artifacts
        .map(|artifact| (text(artifact, "name"), text(artifact, "sha256")))
        .collect()
}

/// A host of its own that does nothing but build, with the head's broker and artifacts.
pub struct Builder(Child);

impl Builder {
    /// Its key for messages, known to the head and the other way.
    pub fn meet(farm: &Farm) {
        let state = farm.path().join("builder");
        let foundry = |state: &Path| {
            let mut foundry = farm.foundry();
            foundry.env("FOUNDRY_STATE", state);
            foundry
        };
        let states = [farm.state(), state];
        for state in &states {
            run(foundry(state).args(["key", "generate", "--role", "messages", "--user-id", "messages"]));
            let key = run(foundry(state).args(["key", "export", "messages"]));
            std::fs::write(state.join("messages.asc"), key + "\n").unwrap();
        }
        for (here, there, host, may) in [(0, 1, "builder", "builder"), (1, 0, "farm", "head,builder")] {
            let key = states[there].join("messages.asc");
            run(foundry(&states[here])
                .args(["key", "import", "--role", "messages", "--host", host, "--may", may])
                .arg(key));
        }
    }

    pub fn start(farm: &Farm, endpoint: &str) -> Self {
        let password = farm.state().join("broker/owner.password");
        let config = format!(
            "[host]\nname = \"builder\"\nstate = \"builder\"\n\n[broker]\nurl = \"mqtt://127.0.0.1:{}\"\nuser = \"owner\"\n\
             password-file = {password:?}\n\n{}\n[bots.build]\nuse = \"buildbot\"\nallow-unsigned = true\nendpoint = {endpoint:?}\n",
            farm.port(),
            artifacts(farm)
        );
        let file = farm.path().join("builder.toml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(farm.path().join("builder.log")).unwrap();
        let mut foundry = farm.foundry();
        foundry.env_remove("FOUNDRY_STATE").args(["run", "-c"]).arg(&file);
        Self(
            foundry
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where both hosts have their artifacts.
pub fn artifacts(farm: &Farm) -> String {
    format!("[artifacts]\nurl = {:?}\n", farm.path().join("artifacts"))
}

fn all_events(farm: &Farm) -> Vec<Value> {
    let runs = farm.runs();
    let events = runs.iter().flat_map(|run| run["events"].as_array().unwrap());
    events.cloned().collect()
}

/// The first endpoint builds and is published; the other one begins 20 seconds later, on this host or on another.
fn one_after_the_other(endpoints: [&str; 2], on_another_host: bool) {
    let mut farm = Farm::new();
    if on_another_host {
        Builder::meet(&farm);
    }
    let repository = Repository::that_embeds_its_build_time(farm.path(), "clock");
    let commit = repository.push("master");
    let buildbot = |endpoint: &str| format!("use = \"buildbot\"\nallow-unsigned = true\nendpoint = {endpoint:?}");
    let artifacts = artifacts(&farm);
    farm = farm
        .table(&artifacts)
        // Commits wait for the second endpoint, whose first builder comes later.
        .table(&format!("[messages]\nexpect = [\"commits {}\"]", endpoints[1]))
        .watchbot(&[repository.url()])
        .bot("build", &buildbot(endpoints[0]))
        .sign_and_dist(&["master:stable"]);
    farm.start();
    farm.await_event("foundry.dist.v1", &commit);
    std::thread::sleep(APART);
    let _builder = if on_another_host {
        Some(Builder::start(&farm, endpoints[1]))
    } else {
        run(farm.foundry().args([
            "load",
            "buildbot",
            "--as",
            "build-late",
            "--allow-unsigned",
            "--endpoint",
            endpoints[1],
        ]));
        None
    };
    let both = farm.eventually("both builds are published", |farm| Both::of(&all_events(farm), &commit));
    assert_eq!(both.first_dist["data"]["packages"].as_array().unwrap().len(), 2);
    both.are_published_in(&farm.repository(), &["clock", "clock-doc"]);
    let report = run(farm
        .foundry()
        .args(["repo", "check", "--deep", "--json"])
        .arg(farm.repository()));
    assert_eq!(report, "[]");
    // What a person sees of it.
    let shown = run(farm.foundry().args(["runs", &commit]));
    let late = if on_another_host {
        "builder/build"
    } else {
        "farm/build-late"
    };
    for expected in [
        "by farm/build ",
        &format!("by {late} "),
        "kept clock-doc_1.0_all.deb as published first",
        &format!("chain       {} (farm/build) published", architecture()),
        &format!("chain       {} ({late}) published", architecture()),
    ] {
        assert!(shown.contains(expected), "no {expected:?} in:\n{shown}");
    }
    let apt = Apt::new(&farm, "stable");
    apt.update();
    let root = apt.unpack("clock");
    apt.unpack("clock-doc");
    let built_at = |package: &str| std::fs::read_to_string(root.join(format!("usr/share/{package}/built-at"))).unwrap();
    assert_eq!(built_at("clock"), built_at("clock-doc"), "both are of the first build");
}

#[test]
fn builds_of_two_endpoints_twenty_seconds_apart_are_both_published() {
    one_after_the_other([AMD64, I386], false);
    one_after_the_other([I386, AMD64], false);
}

#[test]
fn builds_of_two_endpoints_on_two_hosts_twenty_seconds_apart_are_both_published() {
    one_after_the_other([AMD64, I386], true);
    one_after_the_other([I386, AMD64], true);
}
