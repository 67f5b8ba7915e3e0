//! Other programs that read archives, and how they like ours.

use std::path::Path;
use std::process::Command;

use crate::apt::Web;
use crate::package::{Deb, run, source};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn aptly_mirrors_the_repository_and_its_next_state() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let built = tempfile::tempdir().unwrap();
    distbot
        .publish("main", &world.store(&source(built.path(), "hello", "1.0", "1")).await)
        .await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1.0-1", "amd64")]).await)
        .await;
    let web = Web::serve(&world.repository());
    let keyring = world.files.path().join("trusted.gpg");
    run(Command::new("gpg")
        .args(["--batch", "--dearmor", "--output"])
        .arg(&keyring)
        .arg(world.repository().join("key.asc")));
    let root = world.files.path().join("aptly");
    let config = world.files.path().join("aptly.conf");
    std::fs::write(
        &config,
        serde_json::json!({ "rootDir": root, "gpgProvider": "gpg" }).to_string(),
    )
    .unwrap();
    let aptly = |arguments: &[&str]| aptly(&config, arguments);
    let keyring = format!("-keyring={}", keyring.display());
    aptly(&[
        "mirror",
        "create",
        &keyring,
        "-with-sources",
        "ours",
        &web.uri(),
        "stable",
    ]);
    aptly(&["mirror", "update", &keyring, "ours"]);
    let mirrored = || -> Vec<String> {
        let shown = aptly(&["mirror", "show", "-with-packages", "ours"]);
        let packages = shown.lines().skip_while(|line| !line.starts_with("Packages:")).skip(1);
        packages
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    };
    assert_eq!(mirrored(), ["hello_1.0-1_amd64", "hello_1.0-1_source"]);
    distbot
        .publish("main", &world.build(&[Deb::new("world", "2", "amd64")]).await)
        .await;
    aptly(&["mirror", "update", &keyring, "ours"]);
    assert_eq!(mirrored(), ["hello_1.0-1_amd64", "hello_1.0-1_source", "world_2_amd64"]);
}

fn aptly(config: &Path, arguments: &[&str]) -> String {
    run(Command::new("aptly").arg("-config").arg(config).args(arguments))
}
