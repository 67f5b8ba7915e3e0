//! `foundry-host repo`, as an operator calls it, on repositories that distbot publishes.

use std::path::Path;
use std::process::{Command, Output};

use foundry_host::keys::{KeyStore, NewKey, Role};
use serde_json::Value;

use crate::apt::{Apt, text};
use crate::package::{Deb, run, source};
use crate::world::{Options, World};

/// The program, with the key store of the world's host.
pub fn repo(world: &World, arguments: &[&str]) -> Output {
    let (verb, rest) = arguments.split_first().unwrap();
    Command::new(env!("CARGO_BIN_EXE_foundry-host"))
        .env("FOUNDRY_STATE", world.host.directory.path())
        .args(["repo", verb])
        .arg(world.repository())
        .args(rest)
        .output()
        .unwrap()
}

/// It has to succeed; returns what it says in JSON.
pub fn done(world: &World, arguments: &[&str]) -> Value {
    let output = repo(world, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// It has to fail; returns its exit code and what it says.
pub fn refused(world: &World, arguments: &[&str]) -> (i32, String) {
    let output = repo(world, arguments);
    (
        output.status.code().unwrap(),
        text(&output.stderr) + &text(&output.stdout),
    )
}

/// `name=version` of what a suite has.
fn listed(world: &World, suite: &str) -> Vec<String> {
    packages(&done(world, &["list", "--suite", suite]))
}

pub fn packages(packages: &Value) -> Vec<String> {
    let name = |package: &Value, field: &str| package[field].as_str().unwrap().to_owned();
    let packages = packages.as_array().unwrap().iter();
    packages
        .map(|package| format!("{}={}", name(package, "package"), name(package, "version")))
        .collect()
}

pub fn knows(world: &World, suite: &str) -> Vec<String> {
    let apt = Apt::local(&world.repository(), suite);
    apt.update();
    apt.knows()
}

/// A repository with two versions of a package, and another package, in `testing`.
async fn testing() -> World {
    testing_with(&[]).await
}

/// The same, with other options for distbot.
pub async fn testing_with(options: Options<'_>) -> World {
    let world = World::new().await;
    let options = [&[("codename", &["testing"][..])], options].concat();
    let distbot = world.distbot(&options).await;
    for debs in [
        vec![Deb::new("hello", "1", "amd64"), Deb::new("data", "1", "all")],
        vec![Deb::new("hello", "2", "amd64")],
    ] {
        distbot.publish("main", &world.build(&debs).await).await;
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_promoted_copied_and_removed_and_apt_sees_it() {
    let world = testing().await;
    let before = world.everything();
    let would = done(&world, &["promote", "testing", "stable", "--dry-run"]);
    assert_eq!(packages(&would["added"]), ["data=1", "hello=2"]);
    assert!(world.everything() == before, "a dry run changes nothing");

    done(&world, &["promote", "testing", "stable"]);
    assert_eq!(knows(&world, "stable"), ["data=1", "hello=2"]);
    assert_eq!(knows(&world, "testing"), ["data=1", "hello=1", "hello=2"]);
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.content("hello"), "hello 2\n");
    assert!(
        world
            .read("dists/stable/Release")
            .contains("\nSuite: stable\nCodename: stable\n")
    );
    let again = done(&world, &["promote", "testing", "stable"]);
    assert_eq!(again["added"].as_array().unwrap().len(), 0);

    done(&world, &["copy", "testing", "stable", "hello", "--version", "1"]);
    assert_eq!(listed(&world, "stable"), ["data=1", "hello=1", "hello=2"]);
    done(&world, &["remove", "stable", "hello", "--version", "2"]);
    assert_eq!(knows(&world, "stable"), ["data=1", "hello=1"]);
    assert_eq!(listed(&world, "testing"), ["data=1", "hello=1", "hello=2"]);

    // distbot goes on from there.
    let distbot = world.distbot(&[("codename", &["stable"])]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "3", "amd64")]).await)
        .await;
    assert_eq!(knows(&world, "stable"), ["data=1", "hello=1", "hello=3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_versions_are_pruned_by_number_and_age_and_stay_where_another_suite_has_them() {
    let world = testing().await;
    done(&world, &["copy", "testing", "stable", "hello", "--version", "1"]);
    let distbot = world.distbot(&[("codename", &["testing"])]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("data", "2", "all")]).await)
        .await;
    let age = |path: &str, days: u64| {
        let file = std::fs::File::open(world.repository().join(path)).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 60 * 60 + 60);
        file.set_modified(then).unwrap();
    };
    age("pool/main/h/hello/hello_1_amd64.deb", 30);
    age("pool/main/d/data/data_1_all.deb", 10);
    let before = world.everything();
    let would = done(&world, &["prune", "testing", "--days", "10", "--dry-run"]);
    assert_eq!(packages(&would["removed"]), ["data=1", "hello=1"]);
    assert!(world.everything() == before);
    let nothing = done(&world, &["prune", "testing", "--keep", "2"]);
    assert_eq!(packages(&nothing["removed"]), Vec::<String>::new());
    done(&world, &["prune", "testing", "--days", "20"]);
    assert_eq!(knows(&world, "testing"), ["data=1", "data=2", "hello=2"]);
    done(&world, &["prune", "testing"]);
    assert_eq!(knows(&world, "testing"), ["data=2", "hello=2"]);
    let collected = done(&world, &["gc"]);
    assert_eq!(
        collected["files"],
        serde_json::json!(["pool/main/d/data/data_1_all.deb"])
    );
    assert_eq!(knows(&world, "stable"), ["hello=1"]);
    assert_eq!(done(&world, &["check", "--deep"]), Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_what_an_operator_does() {
    let world = testing().await;
    assert!(
        world.read("index.html").contains("<td>data</td>"),
        "{}",
        world.read("index.html")
    );
    done(&world, &["remove", "testing", "data"]);
    let page = world.read("index.html");
    assert!(
        page.contains("<td>hello</td>") && !page.contains("<td>data</td>"),
        "{page}"
    );
    // It is as distbot would have it.
    world.distbot(&[("codename", &["testing"])]).await.refresh().await;
    assert_eq!(world.read("index.html"), page);
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_keys_that_run_out_are_told_in_time() {
    let mut world = World::new().await;
    let keys = KeyStore::open(world.host.directory.path().join("keys")).unwrap();
    let mut new = NewKey::new("short <short@example.org>");
    new.expires_in = Some(std::time::Duration::from_secs(10 * 24 * 60 * 60));
    world.key = keys.generate(Role::Repository, &new).unwrap().fingerprint.to_string();
    world.distbot(&[("valid-for", &["14d"])]).await.refresh().await;
    let (code, said) = refused(&world, &["check"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("expires in 9 days") && said.lines().count() == 1,
        "{said}"
    );

    // Time passes.
    let records = world.repository().join(".foundry/suites/stable.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&records).unwrap()).unwrap();
    for (days, problem) in [(3, "in 71 h"), (0, "not valid any more")] {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        json["valid_until"] = (now.as_millis() as u64 + days * 24 * 60 * 60 * 1000).into();
        std::fs::write(&records, json.to_string()).unwrap();
        let (_, said) = refused(&world, &["check"]);
        assert!(said.contains(problem), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_and_changes_nothing() {
    let world = testing().await;
    let before = world.everything();
    for (arguments, code, said) in [
        (
            &["list", "--suite", "sid"][..],
            4,
            "there is no suite sid (there are: testing)",
        ),
        (
            &["remove", "testing", "nothing"],
            4,
            "no package of testing is meant by that",
        ),
        (&["remove", "testing"], 2, "say which packages to remove"),
        (&["rollback", "testing", "monday"], 4, "testing has no snapshot monday"),
        (&["snapshot", "testing", "a/b"], 4, "can't be a snapshot's name"),
        (&["promote", "testing", "../x"], 5, ""),
        (
            &["remove", "testing", "hello", "--gpg-key", "nobody@example.org"],
            5,
            "nobody@example.org",
        ),
    ] {
        let (exit, text) = refused(&world, arguments);
        assert!(exit == code && text.contains(said), "{arguments:?}: {exit} {text}");
    }
    assert!(world.everything() == before);
    let elsewhere = world.files.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_foundry-host"))
        .env("FOUNDRY_STATE", world.host.directory.path())
        .args(["repo", "list"])
        .arg(&elsewhere)
        .output()
        .unwrap();
    assert!(
        text(&output.stderr).contains("there is no APT repository in"),
        "{output:?}"
    );
    assert_eq!(std::fs::read_dir(elsewhere).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_mended() {
    let world = testing().await;
    assert_eq!(done(&world, &["check", "--deep"]), Value::Array(Vec::new()));
    let damage = |path: &str| {
        let path = world.repository().join(path);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        // Not through the other names of the same file.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    damage("dists/testing/main/binary-amd64/Packages.gz");
    damage("pool/main/h/hello/hello_1_amd64.deb");
    std::fs::remove_file(world.repository().join("pool/main/d/data/data_1_all.deb")).unwrap();
    let (code, found) = refused(&world, &["check", "--deep"]);
    assert_eq!(code, 1);
    for problem in [
        "testing: dists/testing/main/binary-amd64/Packages.gz: its SHA-256 is ",
        "testing: pool/main/h/hello/hello_1_amd64.deb: its SHA-256 is ",
        "testing: pool/main/d/data/data_1_all.deb: it is missing",
    ] {
        assert!(found.contains(problem), "{found}");
    }
    assert_eq!(found.lines().count(), 3, "{found}");

    let mended = done(&world, &["repair", "testing"]);
    assert_eq!(packages(&mended["removed"]), ["data=1", "hello=1"]);
    assert_eq!(done(&world, &["check", "--deep"]), Value::Array(Vec::new()));
    assert_eq!(knows(&world, "testing"), ["hello=2"]);
    done(&world, &["gc"]);
    assert!(!world.repository().join("pool/main/h/hello/hello_1_amd64.deb").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_goes_back_to_its_snapshot_and_what_that_needs_is_not_collected() {
    let world = testing().await;
    done(&world, &["snapshot", "testing", "monday"]);
    let (code, said) = refused(&world, &["snapshot", "testing", "monday"]);
    assert!(code == 4 && said.contains("already"), "{code} {said}");
    let before = world.index("dists/testing/main/binary-amd64/Packages");
    done(&world, &["remove", "testing", "hello", "data"]);
    assert_eq!(knows(&world, "testing"), Vec::<String>::new());
    let distbot = world.distbot(&[("codename", &["testing"])]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("later", "1", "amd64")]).await)
        .await;
    assert_eq!(done(&world, &["gc"])["files"].as_array().unwrap().len(), 0);

    let back = done(&world, &["rollback", "testing", "monday"]);
    assert_eq!(packages(&back["removed"]), ["later=1"]);
    assert_eq!(world.index("dists/testing/main/binary-amd64/Packages"), before);
    assert_eq!(knows(&world, "testing"), ["data=1", "hello=1", "hello=2"]);
    let collected = done(&world, &["gc"]);
    assert_eq!(
        collected["files"],
        serde_json::json!(["pool/main/l/later/later_1_amd64.deb"])
    );
    assert_eq!(done(&world, &["check", "--deep"]), Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_reprepro_is_imported_with_its_files() {
    let world = testing().await;
    let theirs = world.files.path().join("theirs");
    std::fs::create_dir_all(theirs.join("conf")).unwrap();
    std::fs::write(
        theirs.join("conf/distributions"),
        "Codename: bookworm\nArchitectures: amd64 source\nComponents: main contrib\n\n",
    )
    .unwrap();
    let built = tempfile::tempdir().unwrap();
    let include = |what: &str, file: &Path| {
        run(Command::new("reprepro")
            .arg("--silent")
            .arg("--basedir")
            .arg(&theirs)
            .args([
                "--component",
                "contrib",
                "--section",
                "misc",
                "--priority",
                "optional",
                what,
                "bookworm",
            ])
            .arg(file));
    };
    include("includedeb", &Deb::new("old", "1", "amd64").build(built.path()));
    include("includedsc", &source(built.path(), "old", "1.0", "1").pop().unwrap());
    let theirs = theirs.display().to_string();
    done(&world, &["import", &theirs, "bookworm", "testing"]);
    assert_eq!(
        listed(&world, "testing"),
        ["old=1", "old=1.0-1", "data=1", "hello=1", "hello=2"]
    );
    assert_eq!(done(&world, &["check", "--deep"]), Value::Array(Vec::new()));
    assert!(world.repository().join("pool/contrib/o/old/old_1.0-1.dsc").is_file());
    let release = world.read("dists/testing/Release");
    assert!(release.contains("\nComponents: contrib main\n"), "{release}");
    // A new suite as well, like those that are here.
    done(
        &world,
        &["import", &theirs, "bookworm", "bookworm", "old", "--arch", "amd64"],
    );
    assert_eq!(listed(&world, "bookworm"), ["old=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_go_when_so_many_are_to_be_kept() {
    let world = World::new().await;
    let distbot = world.distbot(&[("keep", &["2"])]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("other", "1", "amd64")]).await)
        .await;
    for version in ["1", "2", "10", "9"] {
        let package = Deb::new("hello", version, "amd64");
        distbot.publish("main", &world.build(&[package]).await).await;
    }
    assert_eq!(knows(&world, "stable"), ["hello=10", "hello=9", "other=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_comes_too_late_is_not_said_to_be_published() {
    let world = World::new().await;
    let distbot = world.distbot(&[("keep", &["1"])]).await;
    let newer = world.build(&[Deb::new("hello", "2.0", "amd64")]).await;
    let dists = distbot.publish("main", &newer).await;
    assert_eq!(dists[0]["packages"].as_array().unwrap().len(), 1);
    let before = world.everything();
    let late = Deb::new("hello", "1.0", "amd64");
    let packages = world.build(std::slice::from_ref(&late)).await;
    let dists = distbot.publish("main", &packages).await;
    assert_eq!(dists.len(), 1, "its run ends: {dists:?}");
    assert_eq!(dists[0]["packages"], serde_json::json!([]));
    assert_eq!(dists[0]["artifacts"], serde_json::json!([]));
    assert!(world.everything() == before);
    let log = run(Command::new("grep")
        .args(["-rh", "distbot"])
        .arg(world.host.directory.path().join("logs/runs")));
    // The test's event says that all packages are of hello 1.0-1.
    assert!(
        log.contains("hello 1.0-1 came too late for stable: newer versions have superseded it"),
        "{log}"
    );
    assert_eq!(log.matches("published hello 1.0-1 in stable").count(), 1, "{log}");

    // What has no newer version is published, and alone named.
    let both = world.build(&[late, Deb::new("other", "1.0", "all")]).await;
    let dists = distbot.publish("main", &both).await;
    assert_eq!(
        dists[0]["packages"],
        serde_json::json!([{ "package": "other", "version": "1.0", "architecture": "all" }])
    );
    assert_eq!(dists[0]["artifacts"].as_array().unwrap().len(), 1);
    assert_eq!(dists[0]["artifacts"][0]["name"], "other_1.0_all.deb");
    assert_eq!(knows(&world, "stable"), ["hello=2.0", "other=1.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_versions_stay_for_days_and_a_publication_takes_what_prune_would() {
    let world = World::new().await;
    let first = world.build(&[Deb::new("hello", "1", "amd64")]).await;
    world.distbot(&[]).await.publish("main", &first).await;
    let publish = async |package: &str, version: &str| {
        let packages = [Deb::new(package, version, "amd64")];
        world
            .distbot(&[])
            .await
            .publish("main", &world.build(&packages).await)
            .await;
    };
    for (package, version) in [
        ("hello", "2"),
        ("hello", "3"),
        ("other", "1"),
        ("other", "2"),
        ("other", "3"),
    ] {
        publish(package, version).await;
    }
    done(&world, &["copy", "stable", "archive"]);
    for package in ["hello", "other"] {
        let pool = format!("pool/main/{}/{package}/{package}_1_amd64.deb", &package[..1]);
        let file = std::fs::File::open(world.repository().join(pool)).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 24 * 60 * 60 + 60);
        file.set_modified(then).unwrap();
    }
    let would = done(
        &world,
        &["prune", "stable", "hello", "--keep", "2", "--days", "30", "--dry-run"],
    );
    assert_eq!(packages(&would["removed"]), ["hello=1"]);
    // Of what is published alone: the others have not got another version.
    let distbot = world.distbot(&[("keep", &["2"]), ("keep-days", &["30"])]).await;
    let fourth = [Deb::new("hello", "4", "amd64")];
    distbot.publish("main", &world.build(&fourth).await).await;
    let others = ["other=1", "other=2", "other=3"];
    assert_eq!(knows(&world, "stable")[..3], ["hello=2", "hello=3", "hello=4"]);
    assert_eq!(knows(&world, "stable")[3..], others);
    // One that would be superseded at once is not there for a moment.
    world.distbot(&[("keep", &["2"])]).await.publish("main", &first).await;
    assert_eq!(knows(&world, "stable")[..2], ["hello=3", "hello=4"]);
    assert_eq!(knows(&world, "stable")[2..], others);
    // Another suite has them still, so their files are not removed.
    assert_eq!(knows(&world, "archive")[..3], ["hello=1", "hello=2", "hello=3"]);
    assert_eq!(done(&world, &["gc"])["files"], serde_json::json!([]));
    assert_eq!(done(&world, &["check", "--deep"]), Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_out_is_told_in_the_log_once_a_day() {
    let mut world = World::new().await;
    let keys = KeyStore::open(world.host.directory.path().join("keys")).unwrap();
    let mut new = NewKey::new("short <short@example.org>");
    new.expires_in = Some(std::time::Duration::from_secs(10 * 24 * 60 * 60));
    world.key = keys.generate(Role::Repository, &new).unwrap().fingerprint.to_string();
    let told = || {
        let lines = world.host.host.services().logs.newest(Some("distbot"), 1000).unwrap();
        let warnings = lines.into_iter().filter(|line| line.line.contains("expires in 9 days"));
        warnings.map(|line| line.line).collect::<Vec<_>>()
    };
    let distbot = world.distbot(&[]).await;
    let hello = world.build(&[Deb::new("hello", "1", "amd64")]).await;
    distbot.publish("main", &hello).await;
    assert_eq!(told(), Vec::<String>::new(), "no message is held up by it");
    for _ in 0..3 {
        distbot.refresh().await;
        assert_eq!(told().len(), 1, "{:?}", told());
        assert!(told()[0].starts_with("suite stable: its key "), "{:?}", told());
    }
    // A day passes.
    let record = world.repository().join(".foundry/warned.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    json["at"] = (json["at"].as_u64().unwrap() - 24 * 60 * 60 * 1000).into();
    std::fs::write(&record, json.to_string()).unwrap();
    distbot.refresh().await;
    assert_eq!(told().len(), 2, "{:?}", told());
}
