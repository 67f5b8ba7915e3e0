//! Indices that are compressed with xz as well.

use std::process::Command;

use crate::apt::{Apt, Web};
use crate::package::{Deb, run};
use crate::world::World;

/// So many packages that their index has several pieces.
pub fn many(version: &str) -> Vec<Deb> {
    let noise = "All work and no play makes Jack a dull boy. ".repeat(200);
    let package = |number: u32| {
        Deb::new(&format!("p{number:02}"), version, "amd64").fields(&format!("X-Noise: {number} {noise}\n"))
    };
    (0..40).map(package).collect()
}

/// apt, when nothing but xz is there; what it knows.
fn known_by_xz(world: &World) -> Vec<String> {
    for (path, bytes) in world.everything() {
        // zstd and gzip, by their own names and those of their digests.
        let other = bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || bytes.starts_with(&[0x1f, 0x8b]);
        if other && path.starts_with(world.repository().join("dists")) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let web = Web::serve(&world.repository());
    let apt = Apt::new(&web.uri(), "stable", &world.repository());
    apt.run(
        "apt-get",
        &[
            "-o",
            "Acquire::CompressionTypes::Order::=xz",
            "update",
            "--error-on=any",
        ],
    );
    apt.knows()
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_reads_xz_of_many_pieces_that_changed_one_by_one() {
    let world = World::new().await;
    let options: [(&str, &[&str]); 2] = [("xz", &["yes"]), ("contents", &["yes"])];
    let distbot = world.distbot(&options).await;
    distbot.publish("main", &world.build(&many("1")).await).await;
    let added = [Deb::new("p20a", "1", "amd64"), Deb::new("zz", "1", "amd64")];
    distbot.publish("main", &world.build(&added).await).await;
    let suite = world.repository().join("dists/stable/main");
    for index in ["binary-amd64/Packages", "source/Sources", "Contents-amd64"] {
        let xz = suite.join(format!("{index}.xz"));
        run(Command::new("xz").arg("--test").arg(&xz));
        let text = run(Command::new("xz").args(["-dc", "--single-stream"]).arg(&xz));
        assert_eq!(text, world.index(&format!("dists/stable/main/{index}")), "{index}");
    }
    let listed = run(Command::new("xz")
        .args(["--robot", "--list"])
        .arg(suite.join("binary-amd64/Packages.xz")));
    let file: Vec<_> = listed
        .lines()
        .find(|line| line.starts_with("file"))
        .unwrap()
        .split('\t')
        .collect();
    assert_eq!(file[1], "1", "streams: {listed}");
    assert!(file[2].parse::<u32>().unwrap() > 2, "blocks: {listed}");

    // To publish the same again changes no byte.
    let before = world.everything();
    distbot.refresh().await;
    assert!(world.everything() == before);
    let known = known_by_xz(&world);
    assert_eq!(known.len(), 42);
    assert!(known.contains(&"p20a=1".to_owned()), "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn xz_comes_with_the_option_and_goes_without_it() {
    let world = World::new().await;
    let plain = world.distbot(&[("contents", &["yes"])]).await;
    plain
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let has = |index: &str| {
        let listed = world
            .read("dists/stable/Release")
            .contains(&format!(" main/{index}.xz\n"));
        let there = world
            .repository()
            .join(format!("dists/stable/main/{index}.xz"))
            .exists();
        assert_eq!(listed, there, "{index}");
        there
    };
    let indices = ["binary-amd64/Packages", "source/Sources", "Contents-amd64"];
    assert!(!indices.iter().any(|index| has(index)));
    world
        .distbot(&[("contents", &["yes"]), ("xz", &["yes"])])
        .await
        .refresh()
        .await;
    assert!(indices.iter().all(|index| has(index)));
    Apt::local(&world.repository(), "stable").update();

    world.distbot(&[("contents", &["yes"])]).await.refresh().await;
    assert!(!indices.iter().any(|index| has(index)));
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows(), ["hello=1"]);

    world
        .distbot(&[("contents", &["yes"]), ("xz", &["yes"])])
        .await
        .refresh()
        .await;
    assert_eq!(known_by_xz(&world), ["hello=1"]);
}
