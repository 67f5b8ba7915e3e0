//! A build is signed only if a commit that this host has seen led to it.

use super::*;

/// Something small to sign.
fn package(directory: &Path) -> PathBuf {
    let root = directory.join("root");
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    let control =
        "Package: hello\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: a test\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    let built = directory.join("hello_1.0_all.deb");
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&root)
        .arg(&built));
    built
}

/// Whether anything was signed.
async fn has_signed(bench: &Bench) -> bool {
    bench.host.events().await.iter().any(|event| event.topic == "signs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_no_commit_led_to_is_not_signed() {
    let bench = Bench::new().await;
    let files = [package(bench.files.path())];
    bench.build("made-up", None, "master", &files).await;
    let failure = bench.result("made-up", "failures").await;
    let reason = failure["reason"].as_str().unwrap();
    assert!(reason.starts_with("not signed: no commit led to it"), "{reason}");
    let letters = bench.host.dead_letters().await;
    assert_eq!(letters[0].reason, reason);
    assert!(!has_signed(&bench).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_another_commit_than_its_cause_is_not_signed() {
    let bench = Bench::new().await;
    let files = [package(bench.files.path())];
    bench.commit("commit-1", "moved", "experimental").await;
    bench
        .build("moved", Some(&commit_id("commit-1")), "master", &files)
        .await;
    let failure = bench.result("moved", "failures").await;
    let reason = failure["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "not signed: it is of the branch \"master\", and the announced one is \"experimental\""
    );
    // Neither is a build that borrows the commit of another run.
    bench
        .build("borrowed", Some(&commit_id("commit-1")), "experimental", &files)
        .await;
    let failure = bench.result("borrowed", "failures").await;
    let reason = failure["reason"].as_str().unwrap();
    assert!(
        reason.contains("is of the run run-moved, and it is of run-borrowed"),
        "{reason}"
    );
    assert!(!has_signed(&bench).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_overtakes_its_commit_is_signed_when_that_comes() {
    let bench = Bench::new().await;
    let mut logs = bench.host.host.logs();
    let files = [package(bench.files.path())];
    bench
        .build("early", Some(&commit_id("commit-1")), "master", &files)
        .await;
    let missing = format!("not signed yet: this host has no event {}", commit_id("commit-1"));
    let waits = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let line = logs.recv().await.unwrap();
            if line.line.contains(&missing) {
                return;
            }
        }
    });
    waits.await.unwrap();
    assert!(!has_signed(&bench).await);
    bench.commit("commit-1", "early", "master").await;
    bench.result("early", "signs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_between_builder_and_signbot_does_not_break_the_chain() {
    let bench = Bench::new().await;
    let files = [package(bench.files.path())];
    bench.commit("commit-1", "linted", "master").await;
    let between = bench.host.caused(
        "builds",
        "check-1",
        "org.example.check.v1",
        "run-linted",
        Some(&commit_id("commit-1")),
        json!({ "fine": true }),
    );
    bench.host.publish("builds", between).await;
    let checked = id_of("builds", "check-1", "org.example.check.v1");
    bench.build("linted", Some(&checked), "master", &files).await;
    bench.result("linted", "signs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_is_not_asked_what_became_of_a_build_that_is_to_be_signed() {
    let bench = Bench::new().await;
    let other = tempfile::tempdir().unwrap();
    introduce("b1", other.path(), "build", bench.host.directory.path());
    // It has said that it is in signbot's group, which anybody may say, and has asked about this build before.
    let ledger = bench.host.host.ledger();
    assert!(ledger.remember_peer("pub/signbot", "b1").await.unwrap());
    let asked = id_of("builds", "asked", "foundry.build.v1");
    assert!(ledger.promise("pub/signbot", &asked).await.unwrap());
    let files = [package(bench.files.path())];
    // An answer could be that it is settled; without any, the build would wait for the whole patience.
    bench.announce("asked", "master", &files).await;
    bench.result("asked", "signs").await;
}
