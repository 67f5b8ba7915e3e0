//! The first published file of a name stays: what several builds of one source come to in a repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use foundry_host::capability::Artifact;
use serde_json::{Value, json};

use crate::apt::Apt;
use crate::operator::done;
use crate::package::{Deb, run, source};
use crate::world::{Distbot, World};

const ARCHITECTURES: (&str, &[&str]) = ("arch", &["amd64", "arm64", "i386"]);

const FULL: bool = true;

/// The source package clock 1.0-1, and builders of it that embed the time in what they build.
struct Source {
    _directory: tempfile::TempDir,
    files: Vec<PathBuf>,
    commit: String,
}

/// What a builder made, and the event about it.
struct Built {
    artifacts: Vec<Artifact>,
    about: Value,
}

impl Built {
    fn sha256(&self, name: &str) -> &str {
        let artifact = self.artifacts.iter().find(|artifact| artifact.name == name);
        &artifact.unwrap_or_else(|| panic!("no {name}")).sha256
    }
}

impl Source {
    /// A source package whose upstream tarball has this in it.
    fn new(commit: char, content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("clock-1.0");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("content"), content).unwrap();
        let files = source(directory.path(), "clock", "1.0", "1");
        Self {
            _directory: directory,
            files,
            commit: String::from(commit).repeat(40),
        }
    }

    /// Build it at a time, as buildbot and signbot would: for an architecture and for all; with its source package, if it is
    /// a full build, whose .dsc is signed by a key of its own.
    async fn build(&self, world: &World, architecture: &str, at: u32, full: bool) -> Built {
        let clock = Deb::new("clock", "1.0-1", architecture).content(&format!("built at {at} for {architecture}\n"));
        self.build_of(world, &[clock, doc(at)], architecture, full).await
    }

    async fn build_of(&self, world: &World, debs: &[Deb], architecture: &str, full: bool) -> Built {
        let mut artifacts = world.build(debs).await;
        let directory = tempfile::tempdir().unwrap();
        let buildinfo = directory.path().join(format!("clock_1.0-1_{architecture}.buildinfo"));
        std::fs::write(
            &buildinfo,
            format!("Source: clock\nBuild-Date: {}\n", artifacts[0].sha256),
        )
        .unwrap();
        let mut files = vec![buildinfo];
        if full {
            let (dsc, others) = self.files.split_last().unwrap();
            files.extend(others.iter().cloned());
            files.push(signed(dsc, directory.path()));
        }
        artifacts.extend(world.store(&files).await);
        Built {
            artifacts,
            about: json!({
                "source": "clock", "version": "1.0-1", "architecture": architecture, "ref": self.commit,
            }),
        }
    }
}

/// Its documentation, for all architectures.
fn doc(at: u32) -> Deb {
    Deb::new("clock-doc", "1.0-1", "all")
        .fields("Source: clock\n")
        .content(&format!("built at {at}\n"))
        .description(&format!("a test\n Built at {at}."))
}

/// A clear-signed copy of a .dsc, by a key that has just been made.
fn signed(dsc: &Path, directory: &Path) -> PathBuf {
    let home = tempfile::tempdir().unwrap();
    let gpg = || {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir")
            .arg(home.path())
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback"]);
        gpg.args(["--passphrase", ""]);
        gpg
    };
    run(gpg().args([
        "--quick-generate-key",
        "builder@example.org",
        "ed25519",
        "sign",
        "never",
    ]));
    let copy = directory.join(dsc.file_name().unwrap());
    run(gpg().arg("--output").arg(&copy).arg("--clearsign").arg(dsc));
    run(Command::new("gpgconf")
        .arg("--homedir")
        .arg(home.path())
        .args(["--kill", "all"]));
    copy
}

async fn publish(distbot: &Distbot, built: &Built) -> Value {
    let mut dists = distbot.publish_about(&built.about, "main", &built.artifacts).await;
    assert_eq!(dists.len(), 1, "{dists:?}");
    dists.remove(0)
}

async fn refuse(distbot: &Distbot, built: &Built) -> Value {
    distbot.refuse_about(&built.about, "main", &built.artifacts).await
}

/// `name/architecture` of what an event says was published.
fn published(dist: &Value) -> Vec<String> {
    let text = |package: &Value, field: &str| package[field].as_str().unwrap().to_owned();
    let packages = dist["packages"].as_array().unwrap().iter();
    packages
        .map(|package| format!("{}/{}", text(package, "package"), text(package, "architecture")))
        .collect()
}

/// What an event has to say of a file that stayed.
fn kept(name: &str, first: &Built, second: &Built) -> Value {
    json!({ "name": name, "published": first.sha256(name), "offered": second.sha256(name) })
}

/// The paragraph of a package in the index of an architecture.
fn paragraph(world: &World, suite: &str, architecture: &str, package: &str) -> String {
    let index = world.index(&format!("dists/{suite}/main/binary-{architecture}/Packages"));
    let mut paragraphs = index.split("\n\n").map(str::to_owned);
    let paragraph = paragraphs.find(|text| text.starts_with(&format!("Package: {package}\n")));
    paragraph.unwrap_or_else(|| panic!("no {package} in {index}"))
}

fn is_sound(world: &World) {
    assert_eq!(done(world, &["check", "--deep"]), Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_of_a_package_that_embeds_its_build_time_are_published_in_both_orders() {
    for order in [["amd64", "i386"], ["i386", "amd64"]] {
        let world = World::new().await;
        let distbot = world.distbot(&[ARCHITECTURES]).await;
        let source = Source::new('a', "hello");
        let first = source.build(&world, order[0], 1000, FULL).await;
        let second = source.build(&world, order[1], 1020, FULL).await;

        let dist = publish(&distbot, &first).await;
        assert_eq!(dist["kept"], Value::Null);
        assert_eq!(published(&dist), [&format!("clock/{}", order[0]), "clock-doc/all"]);

        let dist = publish(&distbot, &second).await;
        assert_eq!(published(&dist), [format!("clock/{}", order[1])]);
        let names = ["clock-doc_1.0-1_all.deb", "clock_1.0-1.dsc"];
        assert_eq!(dist["kept"], json!(names.map(|name| kept(name, &first, &second))));
        let named = dist["artifacts"].as_array().unwrap().iter();
        assert!(
            named
                .clone()
                .all(|artifact| !names.contains(&artifact["name"].as_str().unwrap()))
        );

        // Each index describes the bytes that the pool has.
        for architecture in ["amd64", "arm64", "i386"] {
            let doc = paragraph(&world, "stable", architecture, "clock-doc");
            let expected = format!("SHA256: {}", first.sha256("clock-doc_1.0-1_all.deb"));
            assert!(doc.contains(&expected) && doc.contains("Built at 1000."), "{doc}");
        }
        for built in [&first, &second] {
            let architecture = built.about["architecture"].as_str().unwrap();
            let clock = paragraph(&world, "stable", architecture, "clock");
            let expected = built.sha256(&format!("clock_1.0-1_{architecture}.deb"));
            assert!(clock.contains(&format!("SHA256: {expected}")), "{clock}");
        }
        is_sound(&world);
        let apt = Apt::local(&world.repository(), "stable");
        apt.update();
        assert_eq!(apt.content("clock-doc"), "built at 1000\n");
        apt.run("apt-get", &["source", "--download-only", "clock"]);

        // What was handled before its host died comes again: it says the same.
        assert_eq!(publish(&distbot, &second).await, dist);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_source_under_a_published_version_is_a_conflict_and_changes_nothing() {
    let world = World::new().await;
    let distbot = world.distbot(&[ARCHITECTURES]).await;
    let first = Source::new('a', "hello").build(&world, "amd64", 1000, FULL).await;
    publish(&distbot, &first).await;
    let before = world.everything();
    let other = Source::new('b', "other").build(&world, "i386", 1020, FULL).await;
    let failure = refuse(&distbot, &other).await;
    assert_eq!(failure["phase"], "conflict");
    assert_eq!(
        failure["reason"],
        format!(
            "pool/main/c/clock/clock_1.0-1.dsc is published already with other bytes: the published SHA-256 is {}, the new one \
             is {} (a version that was published never changes: build a new version)",
            first.sha256("clock_1.0-1.dsc"),
            other.sha256("clock_1.0-1.dsc")
        )
    );
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_build_that_has_nothing_to_add_is_a_success_that_says_so() {
    let world = World::new().await;
    let distbot = world.distbot(&[ARCHITECTURES]).await;
    let source = Source::new('a', "hello");
    let first = source.build(&world, "amd64", 1000, FULL).await;
    publish(&distbot, &first).await;
    let before = world.everything();
    // As buildbot --kind all makes it, with and without a source package.
    let with_source = source.build_of(&world, &[doc(1020)], "all", FULL).await;
    let dist = publish(&distbot, &with_source).await;
    assert_eq!(published(&dist), [""; 0]);
    let names = ["clock-doc_1.0-1_all.deb", "clock_1.0-1.dsc"];
    assert_eq!(dist["kept"], json!(names.map(|name| kept(name, &first, &with_source))));
    let without = source.build_of(&world, &[doc(1040)], "all", !FULL).await;
    let dist = publish(&distbot, &without).await;
    assert_eq!(dist["kept"], json!([kept("clock-doc_1.0-1_all.deb", &first, &without)]));
    assert!(world.everything() == before);
    let log = run(Command::new("grep")
        .args(["-rh", "distbot"])
        .arg(world.host.directory.path().join("logs/runs")));
    assert!(log.contains("no file of clock 1.0-1 (all) was left to add"), "{log}");
    assert!(
        log.contains("kept clock-doc_1.0-1_all.deb as it was published first, with SHA-256"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dsc_that_differs_in_its_signature_alone_stays_as_it_was() {
    let world = World::new().await;
    let distbot = world.distbot(&[ARCHITECTURES]).await;
    let source = Source::new('a', "hello");
    let first = source.build(&world, "amd64", 1000, FULL).await;
    publish(&distbot, &first).await;
    let before = world.everything();
    // A package that can be built again with the same bytes, signed by another key.
    let mut second = source.build(&world, "amd64", 1000, FULL).await;
    for artifact in &mut second.artifacts {
        if !artifact.name.ends_with(".dsc") {
            artifact.sha256 = first.sha256(&artifact.name).to_owned();
            artifact.size = first.artifacts.iter().find(|of| of.name == artifact.name).unwrap().size;
        }
    }
    let dist = publish(&distbot, &second).await;
    assert_eq!(published(&dist), ["clock/amd64", "clock-doc/all"]);
    assert_eq!(dist["kept"], json!([kept("clock_1.0-1.dsc", &first, &second)]));
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_with_other_bytes_of_another_source_is_refused() {
    let world = World::new().await;
    let distbot = world.distbot(&[ARCHITECTURES]).await;
    let source = Source::new('a', "hello");
    publish(&distbot, &source.build(&world, "amd64", 1000, FULL).await).await;
    let before = world.everything();
    // It says to be of the same source package in another version, and of another one.
    for fields in ["Source: clock (0.9)\n", "Source: watch\n"] {
        let other = Deb::new("clock-doc", "1.0-1", "all").fields(fields).content("other");
        let i386 = Deb::new("clock", "1.0-1", "i386");
        for full in [FULL, !FULL] {
            let built = source
                .build_of(&world, &[i386.clone(), other.clone()], "i386", full)
                .await;
            let failure = refuse(&distbot, &built).await;
            assert_eq!(failure["phase"], "conflict", "{failure}");
            let reason = failure["reason"].as_str().unwrap();
            assert!(
                reason.contains("clock-doc") && reason.contains("published already"),
                "{reason}"
            );
            assert!(world.everything() == before, "{fields}");
        }
    }
    // The other way: what is published names another source than the build's, under the same name of a file.
    let world = World::new().await;
    let distbot = world.distbot(&[ARCHITECTURES]).await;
    let old = Deb::new("clock-doc", "1.0-1", "all").fields("Source: clock (0.9)\n");
    let first = source
        .build_of(&world, &[Deb::new("clock", "1.0-1", "amd64"), old], "amd64", FULL)
        .await;
    publish(&distbot, &first).await;
    let before = world.everything();
    let failure = refuse(&distbot, &source.build(&world, "i386", 1020, FULL).await).await;
    assert_eq!(failure["phase"], "conflict", "{failure}");
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_source_package_the_commit_decides() {
    let world = World::new().await;
    let distbot = world.distbot(&[ARCHITECTURES]).await;
    let source = Source::new('a', "hello");
    // A builder without sources may be the first one.
    let first = source.build(&world, "amd64", 1000, !FULL).await;
    publish(&distbot, &first).await;
    let second = source.build(&world, "i386", 1020, !FULL).await;
    let dist = publish(&distbot, &second).await;
    assert_eq!(published(&dist), ["clock/i386"]);
    assert_eq!(dist["kept"], json!([kept("clock-doc_1.0-1_all.deb", &first, &second)]));
    // The same commit with its source package.
    let full = source.build(&world, "amd64", 1040, FULL).await;
    let dist = publish(&distbot, &full).await;
    assert_eq!(published(&dist), [""; 0]);
    assert_eq!(dist["kept"].as_array().unwrap().len(), 2);
    is_sound(&world);

    // Another commit of the same version, for an architecture of which nothing is there: no name would conflict.
    let before = world.everything();
    let moved = Source {
        commit: "b".repeat(40),
        ..source
    };
    let arm64 = Deb::new("clock", "1.0-1", "arm64");
    let failure = refuse(
        &distbot,
        &moved.build_of(&world, &[arm64.clone()], "arm64", !FULL).await,
    )
    .await;
    assert_eq!(failure["phase"], "conflict");
    assert_eq!(
        failure["reason"],
        format!(
            "clock 1.0-1 is published already from commit {}, and this build is of commit {}: without a source package from \
             both, nothing shows that it is the same source (a version that was published never changes: build a new version)",
            "a".repeat(40),
            "b".repeat(40)
        )
    );
    assert!(world.everything() == before);
    // The same bytes need no proof, and the same source package is one.
    let same = Built {
        about: moved.build(&world, "amd64", 1000, !FULL).await.about,
        ..first
    };
    assert_eq!(publish(&distbot, &same).await["kept"], Value::Null);
    assert!(world.everything() == before);
    let proven = moved.build_of(&world, &[arm64], "arm64", FULL).await;
    assert_eq!(published(&publish(&distbot, &proven).await), ["clock/arm64"]);
    is_sound(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_taken_out_may_come_from_another_commit() {
    let world = World::new().await;
    let distbot = world.distbot(&[ARCHITECTURES]).await;
    publish(
        &distbot,
        &Source::new('a', "hello").build(&world, "amd64", 1000, !FULL).await,
    )
    .await;
    let other = Source::new('b', "other").build(&world, "amd64", 1020, !FULL).await;
    assert_eq!(refuse(&distbot, &other).await["phase"], "conflict");
    done(&world, &["remove", "stable", "clock", "clock-doc"]);
    assert_eq!(
        refuse(&distbot, &other).await["phase"],
        "conflict",
        "its files are still there"
    );
    let removed = done(&world, &["gc"]);
    let files = removed["files"].as_array().unwrap();
    assert!(
        files.contains(&json!(".foundry/provenance/main/clock/1.0-1.json")),
        "{removed}"
    );
    assert_eq!(publish(&distbot, &other).await["kept"], Value::Null);
    is_sound(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_which_no_commit_is_on_record_changes_for_nobody() {
    let world = World::new().await;
    let distbot = world.distbot(&[ARCHITECTURES]).await;
    let source = Source::new('a', "hello");
    publish(&distbot, &source.build(&world, "amd64", 1000, FULL).await).await;
    // As an earlier release, or another program, would have left it.
    std::fs::remove_dir_all(world.repository().join(".foundry/provenance")).unwrap();
    let second = source.build(&world, "i386", 1020, !FULL).await;
    let failure = refuse(&distbot, &second).await;
    assert!(
        failure["reason"].as_str().unwrap().contains("clock-doc_1.0-1_all.deb"),
        "{failure}"
    );
    // What has a name of its own is added, as ever; and a source package proves the rest.
    let i386 = Deb::new("clock", "1.0-1", "i386");
    publish(&distbot, &source.build_of(&world, &[i386], "i386", !FULL).await).await;
    let third = source.build(&world, "arm64", 1040, FULL).await;
    assert_eq!(published(&publish(&distbot, &third).await), ["clock/arm64"]);
    is_sound(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_that_gets_only_the_second_build_lists_the_first_ones_file() {
    let world = World::new().await;
    let source = Source::new('a', "hello");
    let first = source.build(&world, "amd64", 1000, FULL).await;
    let second = source.build(&world, "i386", 1020, FULL).await;
    publish(&world.distbot(&[ARCHITECTURES]).await, &first).await;
    let testing = world
        .distbot(&[ARCHITECTURES, ("codename", &["testing"]), ("sha512", &["yes"])])
        .await;
    publish(&testing, &second).await;
    let doc = paragraph(&world, "testing", "i386", "clock-doc");
    let digest = first.sha256("clock-doc_1.0-1_all.deb");
    // What its control file says, too: clients compare both.
    assert!(
        doc.contains(&format!("SHA256: {digest}")) && doc.contains("Built at 1000."),
        "{doc}"
    );
    assert!(doc.contains("SHA512: "), "{doc}");
    is_sound(&world);
    let apt = Apt::local(&world.repository(), "testing");
    apt.update();
    assert_eq!(apt.content("clock-doc"), "built at 1000\n");
    apt.run("apt-get", &["source", "--download-only", "clock"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_distbots_on_one_directory_take_two_builds_at_once() {
    let world = World::new().await;
    let (one, other) = (
        world.distbot(&[ARCHITECTURES]).await,
        world.distbot(&[ARCHITECTURES]).await,
    );
    let source = Source::new('a', "hello");
    let builds = [
        source.build(&world, "amd64", 1000, FULL).await,
        source.build(&world, "i386", 1020, FULL).await,
    ];
    let (first, second) = tokio::join!(publish(&one, &builds[0]), publish(&other, &builds[1]));
    let kept = [&first, &second].map(|dist| dist["kept"].as_array().map_or(0, Vec::len));
    assert!(kept == [0, 2] || kept == [2, 0], "{first} {second}");
    let winner = if kept[0] == 0 { &builds[0] } else { &builds[1] };
    for architecture in ["amd64", "i386"] {
        let doc = paragraph(&world, "stable", architecture, "clock-doc");
        assert!(doc.contains(winner.sha256("clock-doc_1.0-1_all.deb")), "{doc}");
        paragraph(&world, "stable", architecture, "clock");
    }
    is_sound(&world);
}
