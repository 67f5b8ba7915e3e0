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

/// The superseded indices of a repository become older than they are.
fn time_passes(world: &World, minutes: u64) {
    let records = world.repository().join(".foundry/suites/stable.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&records).unwrap()).unwrap();
    for generation in json["generations"].as_array_mut().unwrap() {
        let superseded = generation["superseded"].as_u64().unwrap();
        generation["superseded"] = (superseded - minutes * 60 * 1000).into();
    }
    std::fs::write(&records, json.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_indices_take_no_more_than_their_limit_and_what_came_in_the_last_minutes() {
    let world = World::new().await;
    let distbot = world.distbot(&[("superseded-limit", &["16K"])]).await;
    distbot.refresh().await;
    let by_hash = world.repository().join("dists/stable/main/binary-amd64/by-hash/SHA256");
    let there = || {
        let files = std::fs::read_dir(&by_hash).unwrap().map(|file| file.unwrap());
        files.map(|file| file.metadata().unwrap().len()).collect::<Vec<_>>()
    };
    let publish = async |number: u32| {
        // Some 3 KiB that can't be compressed, so that each publication supersedes more than the one before.
        let noise = (0..100).map(|line| {
            format!(
                " {}\n",
                foundry_host::capability::site::Digest::of(&[number as u8, line]).sha256
            )
        });
        let fields = format!("X-Noise: noise\n{}", noise.collect::<String>());
        let package = Deb::new(&format!("package-{number}"), "1", "amd64").fields(&fields);
        distbot.publish("main", &world.build(&[package]).await).await;
    };
    let apt = Apt::local(&world.repository(), "stable");
    for number in 0..4 {
        publish(number).await;
    }
    let all = there();
    // Five states in two formats, and the Release beside them.
    assert_eq!(all.len(), 11, "of the last minutes all are there: {all:?}");
    // The next publication forgets them, all but the current one, the one before, and what there is room for.
    time_passes(&world, 3);
    publish(4).await;
    let left = there();
    assert!(left.len() < all.len(), "{left:?} of {all:?}");
    apt.update();
    assert_eq!(apt.knows().len(), 5);
    // And without one, the next refresh does.
    publish(5).await;
    publish(6).await;
    time_passes(&world, 3);
    let before = there();
    distbot.refresh().await;
    let left = there();
    assert!(left.len() < before.len(), "{left:?} of {before:?}");
    // The largest are the current one and the one before it, in two formats each. The smallest, the Release, is no index.
    let mut sizes = left.clone();
    sizes.sort_unstable();
    let older: u64 = sizes.iter().skip(1).rev().skip(4).sum();
    assert!(sizes.len() >= 5 && older <= 16 * 1024, "{sizes:?}");
    apt.update();
    let settled = world.everything();
    distbot.refresh().await;
    assert!(world.everything() == settled);
}
