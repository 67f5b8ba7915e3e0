//! The first published file of a name stays: what several builds of one source come to in a repository.

use std::process::Command;

use serde_json::{Value, json};

use crate::apt::Apt;
use crate::builders::{ARCHITECTURES, FULL, Source, doc, is_sound, kept, paragraph, publish, published, refuse};
use crate::package::{Deb, run};
use crate::world::World;

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
    let expected = format!(
        "pool/main/c/clock/clock_1.0-1.dsc is published already with other bytes: the published SHA-256 is {}, the new one is \
         {} (a version that was published never changes: ",
        first.sha256("clock_1.0-1.dsc"),
        other.sha256("clock_1.0-1.dsc")
    );
    let reason = failure["reason"].as_str().unwrap();
    assert!(reason.starts_with(&expected), "{reason}");
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
