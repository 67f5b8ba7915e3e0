//! What goes wrong is said, is seen in `runs`, and stops nothing else.

use std::net::TcpListener;

use crate::apt::{Apt, text};
use crate::farm::Farm;
use crate::package::{Repository, run};

#[test]
fn a_package_that_does_not_build_is_a_failure_event_with_the_log_tail() {
    let mut farm = Farm::new();
    let repository = Repository::new(farm.path(), "broken-package");
    repository.rules("%:\n\tdh $@\noverride_dh_auto_build:\n\t@echo the compiler says no; exit 3\n");
    let commit = repository.push("master");
    farm = farm.watchbot(&[repository.url()]).rest(&["master:stable"]);
    farm.start();
    let failure = farm.await_event("foundry.failure.v1", &commit);
    assert_eq!(failure["data"]["stage"], "build");
    let tail = failure["data"]["logTail"].to_string();
    assert!(tail.contains("the compiler says no"), "{tail}");
    let runs = run(farm.foundry().arg("runs"));
    assert!(runs.contains("failed"), "{runs}");
    let id = failure["run"].as_str().unwrap();
    let detail = run(farm.foundry().args(["runs", id]));
    assert!(detail.contains("the compiler says no"), "{detail}");
    let waited = farm.foundry().args(["runs", "--wait", &commit]).output().unwrap();
    assert_eq!(waited.status.code(), Some(1));
    assert!(text(&waited.stdout).contains("the compiler says no"), "{waited:?}");

    // The next commit mends it. Whoever waits for it sees it pass, though it is not announced yet.
    repository.rules("%:\n\tdh $@\n");
    repository.version("1.1");
    let mended = repository.push("master");
    let waited = farm.foundry().args(["runs", "--wait", &mended]).output().unwrap();
    assert!(waited.status.success(), "{waited:?}");
    for event_type in [
        "foundry.commit.v1",
        "foundry.build.v1",
        "foundry.sign.v1",
        "foundry.dist.v1",
    ] {
        assert_eq!(
            text(&waited.stdout).matches(event_type).count(),
            1,
            "each event is printed once: {waited:?}"
        );
    }
    let never = farm
        .foundry()
        .args(["runs", "--wait", "0000000000", "--timeout", "1s"])
        .output()
        .unwrap();
    assert_eq!(never.status.code(), Some(1));
    assert!(
        text(&never.stderr).contains("still waiting for the commit to be announced (is its branch watched?"),
        "{never:?}"
    );
}

#[test]
fn repositories_that_are_missing_or_hang_do_not_hold_up_the_others() {
    let mut farm = Farm::new();
    let good = Repository::new(farm.path(), "good-package");
    let vanishing = Repository::new(farm.path(), "vanishing-package");
    let commit = good.push("master");
    vanishing.push("master");
    // Accepts connections, and says nothing for ever.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!("http://{}/repository.git", silent.local_addr().unwrap());
    let missing = format!("file://{}/no-such-repository.git", farm.path().display());
    let no_branch = format!("{}#no-such-branch", good.url());
    let outside = format!("{}#../../etc", good.url());
    farm = farm
        .watchbot(&[hanging, missing, no_branch, vanishing.url(), good.url()])
        .rest(&["master:stable"]);
    farm.start();
    farm.await_event("foundry.dist.v1", &commit);
    vanishing.delete_branch("master");
    good.version("1.1");
    let second = good.push("master");
    farm.await_event("foundry.dist.v1", &second);
    farm.eventually("the missing ones are named in the log", |farm| {
        let log = run(farm.foundry().args(["logs", "watchbot"]));
        let all = ["no-such-repository", "no-such-branch"]
            .iter()
            .all(|name| log.contains(name));
        all.then_some(())
    });

    let refused = farm
        .foundry()
        .args(["load", "watchbot", "--as", "outside", "--repository", &outside])
        .output()
        .unwrap();
    assert!(!refused.status.success(), "a branch named ../../etc was accepted");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("../../etc"), "{said}");
}

#[test]
fn two_branches_mapped_to_one_codename_are_both_published_in_it() {
    let mut farm = Farm::new();
    let one = Repository::new(farm.path(), "package-one");
    let two = Repository::new(farm.path(), "package-two");
    let commits = [one.push("stable"), two.push("testing")];
    let ignored = {
        two.version("2.0");
        two.push("stable-2")
    };
    let urls = [
        format!("{}#stable", one.url()),
        format!("{}#testing", two.url()),
        format!("{}#stable-2", two.url()),
    ];
    farm = farm.watchbot(&urls).rest(&["stable:bookworm", "testing:bookworm"]);
    farm.start();
    for commit in &commits {
        farm.await_event("foundry.dist.v1", commit);
    }
    farm.await_event("foundry.sign.v1", &ignored);
    let apt = Apt::new(&farm, "bookworm");
    apt.update();
    apt.unpack("package-one");
    apt.unpack("package-two");
    // `stable` is not `stable-2`.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(
        !farm
            .events("foundry.dist.v1")
            .iter()
            .any(|event| event["data"]["ref"] == ignored.as_str())
    );
}

#[test]
fn a_deb_in_the_source_tree_is_not_published() {
    let mut farm = Farm::new();
    let repository = Repository::new(farm.path(), "honest-package");
    repository.write("smuggled_1.0_all.deb", "not even a package");
    repository.write("debian/smuggled_1.0_all.deb", "nor this");
    let commit = repository.push("master");
    farm = farm.watchbot(&[repository.url()]).rest(&["master:stable"]);
    farm.start();
    let dist = farm.await_event("foundry.dist.v1", &commit);
    assert!(!dist.to_string().contains("smuggled"), "{dist}");
    let found = run(std::process::Command::new("find")
        .arg(farm.repository())
        .args(["-name", "smuggled*"]));
    assert_eq!(found, "");
}

#[test]
fn a_foreign_directory_and_an_unknown_key_are_refused_at_load() {
    let mut farm = Farm::new();
    farm.start();
    let foreign = farm.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter.txt"), "dear diary").unwrap();
    let load = |key: &str, output: &str| {
        let arguments = [
            "load",
            "distbot",
            "--name",
            "n",
            "--description",
            "d",
            "--arch",
            "amd64",
        ];
        let mut command = farm.foundry();
        command.args(arguments).args(["--gpg-key", key, "--output", output]);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = load("0123456789ABCDEF0123456789ABCDEF01234567", "/nonexistent/x");
    assert!(said.to_lowercase().contains("0123456789abcdef"), "{said}");
    let said = load(&farm.repository_key, foreign.to_str().unwrap());
    assert!(said.contains("letter.txt") || said.contains("foreign"), "{said}");
    assert_eq!(
        std::fs::read_dir(&foreign).unwrap().count(),
        1,
        "nothing was written there"
    );
}
