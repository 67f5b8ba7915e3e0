//! The copy of a repository in a bucket: apt reads from a real S3 server.

use std::process::{Command, Output};

use foundry_host::capability::Artifact;

use crate::apt::{Apt, text};
use crate::package::Deb;
use crate::s3::S3Server;
use crate::world::World;

const BUCKET: &str = "packages";

/// Set the mirror of the world's repository.
fn mirror(world: &World, endpoint: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_foundry-host"))
        .env("FOUNDRY_STATE", world.host.directory.path())
        .arg("repo")
        .arg("mirror")
        .arg(world.repository())
        .arg(format!("s3://{BUCKET}/debian"))
        .args(["--endpoint", endpoint, "--credentials"])
        .arg(credentials(world))
        .output()
        .unwrap()
}

fn credentials(world: &World) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = world.files.path().join("s3.toml");
    std::fs::write(&path, "access-key-id = \"test\"\nsecret-access-key = \"test\"\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// What apt finds in the bucket.
fn found(world: &World, s3: &S3Server) -> Vec<String> {
    let uri = format!("{}/{BUCKET}/debian", s3.endpoint());
    let apt = Apt::new(&uri, "stable", &world.repository());
    apt.update();
    apt.knows()
}

async fn deb(world: &World, name: &str, version: &str) -> Vec<Artifact> {
    world.build(&[Deb::new(name, version, "amd64")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_has_what_the_repository_has_and_follows_it() {
    let world = World::new().await;
    let s3 = S3Server::with_bucket(BUCKET);
    let distbot = world.distbot(&[]).await;
    distbot.publish("main", &deb(&world, "hello", "1.0").await).await;
    let set = mirror(&world, &s3.endpoint());
    assert!(set.status.success(), "{}", text(&set.stderr));
    assert_eq!(found(&world, &s3), ["hello=1.0"]);

    // Characters that mean something in URLs, and a package of several parts.
    distbot
        .publish("main", &deb(&world, "libc++-x", "1:2.0~rc1+b2").await)
        .await;
    let large = Deb::new("large", "1", "amd64").compression("none");
    let large = large.content(&"x".repeat(20 << 20));
    distbot.publish("main", &world.build(&[large]).await).await;
    assert_eq!(found(&world, &s3), ["hello=1.0", "large=1", "libc++-x=1:2.0~rc1+b2"]);
    let uri = format!("{}/{BUCKET}/debian", s3.endpoint());
    let apt = Apt::new(&uri, "stable", &world.repository());
    apt.update();
    for package in ["hello", "large", "libc++-x"] {
        // Its digest is checked on the way.
        apt.run("apt-get", &["download", package]);
    }

    // What an operator does is copied as well.
    let removed = Command::new(env!("CARGO_BIN_EXE_foundry-host"))
        .env("FOUNDRY_STATE", world.host.directory.path())
        .args(["repo", "remove"])
        .arg(world.repository())
        .args(["stable", "hello"])
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(found(&world, &s3), ["large=1", "libc++-x=1:2.0~rc1+b2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_could_not_be_copied_is_copied_by_the_next_writer() {
    let world = World::new().await;
    let s3 = S3Server::with_bucket(BUCKET);
    let cable = s3.cable();
    let distbot = world.distbot(&[]).await;
    distbot.publish("main", &deb(&world, "hello", "1.0").await).await;
    assert!(mirror(&world, &cable.endpoint()).status.success());

    cable.cut();
    let artifacts = deb(&world, "hello", "2.0").await;
    let message = crate::world::sign_message("main", &artifacts);
    match distbot.handle(&message).await {
        foundry_host::runtime::Verdict::Retry { why, .. } => {
            assert!(why.contains("s3://packages/debian"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        found(&world, &s3),
        ["hello=1.0"],
        "readers of the copy see all or nothing"
    );

    cable.mend();
    assert!(matches!(
        distbot.handle(&message).await,
        foundry_host::runtime::Verdict::Done(_)
    ));
    assert_eq!(found(&world, &s3), ["hello=1.0", "hello=2.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_repositories_with_one_place_for_their_copies_notice() {
    let s3 = S3Server::with_bucket(BUCKET);
    let (ours, theirs) = (World::new().await, World::new().await);
    for world in [&ours, &theirs] {
        let distbot = world.distbot(&[]).await;
        distbot.publish("main", &deb(world, "hello", "1.0").await).await;
    }
    assert!(mirror(&ours, &s3.endpoint()).status.success());
    let second = mirror(&theirs, &s3.endpoint());
    let said = text(&second.stderr);
    assert!(!second.status.success() && said.contains("InRelease"), "{said}");
    assert_eq!(found(&ours, &s3), ["hello=1.0"], "the first one's copy is as it was");
    assert!(said.contains("prefix"), "it says what to do: {said}");
    // And nothing of it is in force.
    let shown = Command::new(env!("CARGO_BIN_EXE_foundry-host"))
        .env("FOUNDRY_STATE", theirs.host.directory.path())
        .args(["repo", "mirror"])
        .arg(theirs.repository())
        .output()
        .unwrap();
    assert!(text(&shown.stderr).contains("no mirror"), "{}", text(&shown.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_reached_is_told_and_not_kept() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.publish("main", &deb(&world, "hello", "1.0").await).await;
    for (endpoint, url) in [
        ("http://127.0.0.1:1", "s3://packages/debian"),
        ("ftp://x", "https://HOST"),
    ] {
        let set = mirror(&world, endpoint);
        let said = text(&set.stderr);
        assert!(!set.status.success() && said.contains(url), "{said}");
    }
    distbot.publish("main", &deb(&world, "hello", "1.1").await).await;
}
