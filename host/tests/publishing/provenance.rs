//! Builds without a source package: which commit they are of decides whether it is the same source.

use serde_json::{Value, json};

use crate::builders::{ARCHITECTURES, Built, FULL, Source, is_sound, kept, publish, published, refuse};
use crate::operator::done;
use crate::package::Deb;
use crate::world::World;

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
    let mut moved = source;
    moved.commit = "b".repeat(40);
    let arm64 = Deb::new("clock", "1.0-1", "arm64");
    let failure = refuse(
        &distbot,
        &moved
            .build_of(&world, std::slice::from_ref(&arm64), "arm64", !FULL)
            .await,
    )
    .await;
    assert_eq!(failure["phase"], "conflict");
    let expected = format!(
        "clock 1.0-1 is published already from commit {}, and this build is of commit {}: without a source package from both, \
         nothing shows that it is the same source (a version that was published never changes: ",
        "a".repeat(40),
        "b".repeat(40)
    );
    let reason = failure["reason"].as_str().unwrap();
    assert!(reason.starts_with(&expected), "{reason}");
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
