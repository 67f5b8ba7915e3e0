//! Repositories over time: keys, validity and architectures change, old indices go away.

use std::path::Path;
use std::process::Command;

use crate::apt::{Apt, text};
use crate::package::{Deb, run};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_packages_is_one_that_apt_accepts() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.configure().await.unwrap();
    distbot.refresh().await;
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_architecture_that_comes_later_gets_the_packages_for_all() {
    let world = World::new().await;
    let before = world.distbot(&[]).await;
    before
        .publish(
            "main",
            &world
                .build(&[Deb::new("docs", "1", "all"), Deb::new("hello", "1", "amd64")])
                .await,
        )
        .await;
    world.distbot(&[("arch", &["riscv64"])]).await.refresh().await;
    let index = world.index("dists/stable/main/binary-riscv64/Packages");
    assert!(
        index.contains("Package: docs\n") && !index.contains("Package: hello\n"),
        "{index}"
    );
    // And the architecture that isn't asked for any more keeps its users.
    assert!(
        world
            .read("dists/stable/Release")
            .contains("\nArchitectures: amd64 riscv64\n")
    );
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows(), ["docs=1", "hello=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_either_key_accept_what_two_keys_sign() {
    let mut world = World::new().await;
    world
        .distbot(&[])
        .await
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let keep_key = |world: &World, name: &str| {
        let file = world.files.path().join(name);
        std::fs::copy(world.repository().join("key.asc"), &file).unwrap();
        file
    };
    let (old, old_key) = (world.key.clone(), keep_key(&world, "old.asc"));
    world.key = world.new_key("second");
    let distbot = world.distbot(&[("old-gpg-key", &[&old])]).await;
    distbot.configure().await.unwrap();
    distbot.refresh().await;
    let new_key = keep_key(&world, "new.asc");
    let client = |key: &Path| {
        Apt::with(&format!(
            "Types: deb\nURIs: file:{}\nSuites: stable\nComponents: main\nSigned-By: {}\n",
            world.repository().display(),
            key.display()
        ))
    };
    let suite = world.repository().join("dists/stable");
    for (key, fingerprint) in [(&old_key, &old), (&new_key, &world.key)] {
        let apt = client(key);
        apt.update();
        assert_eq!(apt.knows(), ["hello=1"]);
        let keyring = key.with_extension("gpg");
        run(Command::new("gpg")
            .args(["--batch", "--dearmor", "--output"])
            .arg(&keyring)
            .arg(key));
        for files in [vec!["InRelease"], vec!["Release.gpg", "Release"]] {
            // It fails for the signature that it has no key of.
            let judged = Command::new("gpgv")
                .args(["--status-fd", "1", "--keyring"])
                .arg(&keyring)
                .args(files.iter().map(|file| suite.join(file)))
                .output()
                .unwrap();
            let said = text(&judged.stdout);
            let valid = format!("[GNUPG:] VALIDSIG {}", fingerprint.to_uppercase());
            assert!(said.contains(&valid) && said.contains("[GNUPG:] ERRSIG "), "{said}");
        }
    }
    // Nothing to do, until the old key is taken back.
    let before = world.everything();
    distbot.refresh().await;
    assert!(world.everything() == before);
    world.distbot(&[]).await.refresh().await;
    client(&new_key).update();
    client(&old_key).refuse("apt-get", &["update", "--error-on=any"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_signs_anew_and_is_offered() {
    let mut world = World::new().await;
    world
        .distbot(&[])
        .await
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let first = world.read("key.asc");
    world.key = world.new_key("second");
    world.distbot(&[]).await.refresh().await;
    assert_ne!(world.read("key.asc"), first);
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows(), ["hello=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn validity_is_in_the_release_and_renewed_only_when_it_nears_its_end() {
    let world = World::new().await;
    let lasting = world.distbot(&[("valid-for", &["14d"])]).await;
    lasting.refresh().await;
    assert!(world.read("dists/stable/InRelease").contains("\nValid-Until: "));
    Apt::local(&world.repository(), "stable").update();
    let before = world.everything();
    lasting.refresh().await;
    assert!(world.everything() == before);
    // For one with a longer validity, what is left is less than half.
    world.distbot(&[("valid-for", &["60d"])]).await.refresh().await;
    assert!(world.everything() != before);
    world.distbot(&[]).await.refresh().await;
    assert!(!world.read("dists/stable/InRelease").contains("Valid-Until"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_another_program_changed_keeps_its_packages() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let path = "dists/stable/main/binary-amd64/Packages";
    let changed = world
        .index(path)
        .replace("Package: hello\n", "Package: hello\nSection: misc\n");
    std::fs::write(world.repository().join(path), changed).unwrap();
    distbot
        .publish("main", &world.build(&[Deb::new("world", "1", "amd64")]).await)
        .await;
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows(), ["hello=1", "world=1"]);
    assert!(apt.run("apt-cache", &["show", "hello"]).contains("Section: misc\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_the_previous_release_still_finds_its_indices() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let listed = |world: &World| -> Vec<String> {
        let release = world.read("dists/stable/Release");
        let lines = release
            .lines()
            .filter(|line| line.ends_with("binary-amd64/Packages.zst"));
        lines
            .map(|line| line.split_whitespace().next().unwrap().to_owned())
            .collect()
    };
    let previous = listed(&world);
    distbot
        .publish("main", &world.build(&[Deb::new("world", "1", "amd64")]).await)
        .await;
    let current = listed(&world);
    assert_ne!(previous, current);
    for digest in [previous, current].concat() {
        world
            .repository()
            .join(format!("dists/stable/main/binary-amd64/by-hash/SHA256/{digest}"))
            .metadata()
            .unwrap();
    }
}
