//! Several writers and many readers.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use foundry_host::capability::site::Sites;
use serde_json::Value;

use crate::apt::{Apt, Web, text};
use crate::operator::{done, knows, packages, testing_with};
use crate::package::Deb;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_distbots_on_one_directory_lose_nothing() {
    let world = World::new().await;
    let (one, other) = (world.distbot(&[]).await, world.distbot(&[]).await);
    let mut packages = Vec::new();
    for number in 0..20 {
        packages.push(
            world
                .build(&[Deb::new(&format!("package-{number:02}"), "1", "amd64")])
                .await,
        );
    }
    let publish = async |distbot: &crate::world::Distbot, remainder: usize| {
        for (number, package) in packages.iter().enumerate() {
            if number % 2 == remainder {
                distbot.publish("main", package).await;
            }
        }
    };
    tokio::join!(publish(&one, 0), publish(&other, 1));
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    let expected: Vec<_> = (0..20).map(|number| format!("package-{number:02}=1")).collect();
    assert_eq!(apt.knows(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_update_during_publications_never_see_a_mismatch() {
    // `FOUNDRY_TEST_UPDATES=500` for a longer look.
    let wanted: usize = std::env::var("FOUNDRY_TEST_UPDATES").map_or(10, |updates| updates.parse().unwrap());
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let web = Web::serve(&world.repository());
    let done = Arc::new(AtomicBool::new(false));
    let (uri, repository, stop) = (web.uri(), world.repository(), Arc::clone(&done));
    let updated = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&updated);
    let client = tokio::task::spawn_blocking(move || {
        while !stop.load(Ordering::Relaxed) {
            // A new client each time: it downloads every index.
            Apt::new(&uri, "stable", &repository).update();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut published = 0;
    while published < 40 || updated.load(Ordering::Relaxed) < wanted {
        assert!(!client.is_finished(), "a client failed after {published} publications");
        let package = Deb::new(&format!("package-{published}"), "1", "amd64");
        distbot.publish("main", &world.build(&[package]).await).await;
        published += 1;
    }
    done.store(true, Ordering::Relaxed);
    client.await.unwrap();
    println!(
        "{} updates during {published} publications",
        updated.load(Ordering::Relaxed)
    );
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows().len(), published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn operators_work_on_a_repository_that_distbot_publishes_into_at_the_same_time() {
    let world = testing_with(&[]).await;
    let distbot = world.distbot(&[("codename", &["testing"])]).await;
    let publications = async {
        for number in 0..12 {
            let package = Deb::new(&format!("package-{number:02}"), "1", "amd64");
            distbot.publish("main", &world.build(&[package]).await).await;
        }
    };
    // Each waits for its turn, and says in JSON what it did: nothing else is on its standard output.
    let operations = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let operator = scope.spawn(|| {
                for round in 0..4 {
                    assert_eq!(done(&world, &["check", "--deep"]), Value::Array(Vec::new()));
                    done(&world, &["promote", "testing", "stable"]);
                    done(&world, &["snapshot", "testing", &format!("round-{round}")]);
                    let removed = done(&world, &["remove", "stable", "data"]);
                    assert_eq!(packages(&removed["removed"]), ["data=1"]);
                    done(&world, &["gc"]);
                }
            });
            tokio::runtime::Handle::current().block_on(publications);
            operator.join()
        })
    });
    operations.unwrap();
    done(&world, &["promote", "testing", "stable"]);
    assert_eq!(done(&world, &["check", "--deep"]), Value::Array(Vec::new()));
    let mut expected: Vec<_> = (0..12).map(|number| format!("package-{number:02}=1")).collect();
    expected.extend(["data=1", "hello=2"].map(str::to_owned));
    expected.sort();
    assert_eq!(knows(&world, "stable"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_repository_at_a_terminal_is_told_so() {
    let world = testing_with(&[]).await;
    let busy = Sites::new().begin(&world.repository()).await.unwrap();
    let program = env!("CARGO_BIN_EXE_foundry-host");
    let directory = world.repository().display().to_string();
    // In a terminal, and without one.
    let mut at_terminal = Command::new("script");
    at_terminal.args(["--quiet", "--return", "--command"]);
    at_terminal
        .arg(format!("{program} repo list {directory}"))
        .arg("/dev/null");
    let mut without = Command::new(program);
    without.args(["repo", "list", &directory, "--json"]);
    let start = |command: &mut Command| {
        let command = command.env("FOUNDRY_STATE", world.host.directory.path());
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let waiting = [start(&mut at_terminal), start(&mut without)];
    // As long as a person wonders.
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(busy);
    let [told, listed] = waiting.map(|child| child.wait_with_output().unwrap());
    let said = text(&told.stdout);
    assert!(
        told.status.success() && said.starts_with("waiting for the repository"),
        "{said}"
    );
    assert!(said.contains("hello"), "{said}");
    assert!(listed.status.success() && listed.stderr.is_empty(), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(packages(&listed), ["data=1", "hello=1", "hello=2"]);
}
