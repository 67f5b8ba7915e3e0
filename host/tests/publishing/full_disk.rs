//! A disk that is full: real ones, of a few MiB.

use foundry_host::runtime::Verdict;

use crate::apt::Apt;
use crate::package::Deb;
use crate::support::disks::{Mounted, fill, has_disks_of_its_own};
use crate::support::eventually;
use crate::world::{World, sign_message};

#[test]
fn a_full_disk_changes_nothing_and_what_fits_is_published_afterwards() {
    if has_disks_of_its_own("full_disk::a_full_disk_changes_nothing_and_what_fits_is_published_afterwards") {
        tokio::runtime::Runtime::new().unwrap().block_on(on_a_small_disk());
    }
}

#[test]
fn a_disk_that_is_full_at_any_moment_of_a_merge_changes_nothing() {
    if has_disks_of_its_own("full_disk::a_disk_that_is_full_at_any_moment_of_a_merge_changes_nothing") {
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(merged_on_a_small_disk());
    }
}

async fn merged_on_a_small_disk() {
    let world = World::new().await;
    let disk = world.repository();
    let _mounted = Mounted::small(&disk, 8);
    let distbot = world.distbot(&[]).await;
    let wordy = |name: String| {
        let text = format!(" {}\n", "x".repeat(1000)).repeat(150);
        Deb::new(&name, "1", "amd64").fields(&format!("X-Text: text\n{text}"))
    };
    let packages = |prefix: &str, count: u32| -> Vec<Deb> {
        (0..count).map(|number| wordy(format!("{prefix}{number:02}"))).collect()
    };
    let is_sorted = || {
        let index = world.index("dists/stable/main/binary-amd64/Packages");
        let names = index.lines().filter(|line| line.starts_with("Package: "));
        names.is_sorted()
    };
    distbot.publish("main", &world.build(&packages("p", 60)).await).await;
    distbot.publish("main", &world.build(&packages("a", 2)).await).await;
    assert!(!is_sorted(), "it has two parts");
    let before = world.everything();
    let merge = sign_message("main", &world.build(&packages("b", 8)).await);
    let mut refusals = 0;
    for free in (0..4096).step_by(8) {
        let filler = fill(&disk, free);
        let verdict = distbot.handle(&merge).await;
        std::fs::remove_file(filler).unwrap();
        if matches!(verdict, Verdict::Done(_)) {
            break;
        }
        refused(&verdict);
        refusals += 1;
        assert!(world.everything() == before, "with {free} KiB");
        if refusals % 4 == 1 {
            let apt = Apt::local(&disk, "stable");
            apt.update();
            assert_eq!(apt.knows().len(), 62);
        }
    }
    println!("{refusals} refusals");
    assert!(refusals > 3);
    assert!(is_sorted(), "it has one part again");
    let apt = Apt::local(&disk, "stable");
    apt.update();
    assert_eq!(apt.knows().len(), 70);
}

async fn on_a_small_disk() {
    let world = World::new().await;
    let disk = world.repository();
    let _mounted = Mounted::small(&disk, 3);
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let before = world.everything();

    // A package that doesn't fit.
    let large = Deb::new("large", "1", "amd64").content(&noise(4_000_000));
    let large = sign_message("main", &world.build(&[large]).await);
    refused(&distbot.handle(&large).await);
    assert!(world.everything() == before);
    // What it had staged is swept while others go on.
    let staging = disk.join(".foundry/transactions/staging");
    eventually("the staged files are gone", || async {
        (!staging.exists()).then_some(())
    })
    .await;

    // One that fits, but its indices don't.
    let filler = fill(&disk, 16);
    let small = sign_message("main", &world.build(&[Deb::new("small", "1", "amd64")]).await);
    refused(&distbot.handle(&small).await);
    let apt = Apt::local(&disk, "stable");
    apt.update();
    assert_eq!(apt.knows(), ["hello=1"]);

    std::fs::remove_file(filler).unwrap();
    assert!(world.everything() == before);
    let published = distbot.handle(&small).await;
    assert!(matches!(published, Verdict::Done(_)), "{published:?}");
    apt.update();
    assert_eq!(apt.knows(), ["hello=1", "small=1"]);
    assert_eq!(apt.content("small"), "small 1\n");
    assert!(!staging.exists());
}

fn refused(verdict: &Verdict) {
    match verdict {
        Verdict::Retry { why, .. } => assert!(why.contains("No space left on device"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// Text that no compressor makes much smaller.
fn noise(length: usize) -> String {
    let mut seed = 1u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        char::from(b' ' + (seed >> 32) as u8 % 95)
    };
    (0..length).map(|_| next()).collect()
}
