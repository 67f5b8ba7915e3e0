//! Repositories that other programs made, taken over with all that is in them.

use std::path::Path;
use std::process::Command;

use crate::apt::Apt;
use crate::package::{Deb, run, source};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_reprepro_is_taken_over() {
    let world = World::new().await;
    let repository = world.repository();
    // As the original made it.
    for directory in ["conf", "incoming", "failed"] {
        std::fs::create_dir_all(repository.join(directory)).unwrap();
    }
    std::fs::write(
        repository.join("conf/distributions"),
        "Origin: deb.example.org\nLabel: deb.example.org\nCodename: bookworm\nArchitectures: amd64 i386 source\nComponents: \
         main\nDescription: Packages of the tests\n\n",
    )
    .unwrap();
    let built = tempfile::tempdir().unwrap();
    let reprepro = |arguments: &[&str], file: &Path| {
        run(Command::new("reprepro")
            .arg("--silent")
            .arg("--basedir")
            .arg(&repository)
            .args(arguments)
            .arg(file));
    };
    for deb in [
        Deb::new("old", "1", "amd64"),
        Deb::new("old", "1", "i386"),
        Deb::new("docs", "1", "all"),
    ] {
        reprepro(
            &["--section", "misc", "--priority", "optional", "includedeb", "bookworm"],
            &deb.build(built.path()),
        );
    }
    let dsc = source(built.path(), "old", "1.0", "1").pop().unwrap();
    reprepro(
        &["--section", "misc", "--priority", "optional", "includedsc", "bookworm"],
        &dsc,
    );

    let distbot = world
        .distbot(&[("codename", &["bookworm"]), ("arch", &["amd64", "arm64"])])
        .await;
    distbot
        .publish("main", &world.build(&[Deb::new("new", "1", "amd64")]).await)
        .await;
    let apt = Apt::local(&repository, "bookworm");
    apt.update();
    assert_eq!(apt.knows(), ["docs=1", "new=1", "old=1"]);
    assert_eq!(apt.content("old"), "old 1\n");
    apt.run("apt-get", &["source", "--download-only", "old"]);
    assert!(
        world
            .index("dists/bookworm/main/binary-i386/Packages")
            .contains("Package: old\n")
    );
    assert!(
        world
            .index("dists/bookworm/main/binary-arm64/Packages")
            .contains("Package: docs\n")
    );
    let release = world.read("dists/bookworm/Release");
    assert!(release.contains("\nArchitectures: amd64 arm64 i386\n"), "{release}");
    // apt asks its user when a suite appears or changes.
    assert!(!release.contains("\nSuite:"), "{release}");

    // The same bytes again are no change, others are refused: what was there counts as published.
    let old = Deb::new("old", "1", "amd64");
    distbot
        .publish("main", &world.store(&[built.path().join("old_1_amd64.deb")]).await)
        .await;
    let failure = distbot
        .refuse("main", &world.build(&[old.content("other")]).await)
        .await;
    assert_eq!(failure["phase"], "conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_apt_ftparchive_is_taken_over_from_its_compressed_indices() {
    for (compressor, suffix) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        let world = World::new().await;
        let repository = world.repository();
        let binary = "dists/stable/main/binary-amd64";
        std::fs::create_dir_all(repository.join("pool")).unwrap();
        std::fs::create_dir_all(repository.join(binary)).unwrap();
        for number in 0..20 {
            Deb::new(&format!("old-{number}"), "1", "amd64").build(&repository.join("pool"));
        }
        let script = format!(
            "apt-ftparchive packages pool | {compressor} > {binary}/Packages.{suffix}; apt-ftparchive release dists/stable > \
             Release; mv Release dists/stable"
        );
        run(Command::new("sh").args(["-ec", &script]).current_dir(&repository));
        let distbot = world.distbot(&[]).await;
        distbot
            .publish("main", &world.build(&[Deb::new("new", "1", "amd64")]).await)
            .await;
        let apt = Apt::local(&repository, "stable");
        apt.update();
        assert_eq!(apt.knows().len(), 21, "{compressor}");
        assert_eq!(apt.content("old-7"), "old-7 1\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_read_stops_the_takeover_instead_of_losing_packages() {
    let world = World::new().await;
    let binary = world.repository().join("dists/stable/main/binary-amd64");
    std::fs::create_dir_all(&binary).unwrap();
    std::fs::write(binary.join("Packages.bz2"), "BZh9").unwrap();
    let before = world.everything();
    let distbot = world.distbot(&[]).await;
    let package = world.build(&[Deb::new("new", "1", "amd64")]).await;
    let failure = distbot.refuse("main", &package).await;
    assert_eq!(failure["phase"], "repository");
    assert_eq!(
        failure["reason"],
        "cannot read dists/stable/main/binary-amd64/Packages.bz2: its compression is not supported (none, gz, zst and xz \
         are) (repair or remove it)"
    );
    std::fs::remove_file(binary.join("Packages.bz2")).unwrap();
    std::fs::write(binary.join("Packages"), "<html>\n").unwrap();
    let failure = distbot.refuse("main", &package).await;
    assert_eq!(failure["phase"], "repository");
    std::fs::remove_file(binary.join("Packages")).unwrap();
    let ours = |path: &std::path::PathBuf| path.components().any(|part| part.as_os_str() == ".foundry");
    assert!(world.everything().keys().filter(|path| !ours(path)).count() < before.len());
    distbot.publish("main", &package).await;
}
