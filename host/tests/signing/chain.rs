//! A build is signed only if it carries the announcement of its commit.

use foundry_host::bus::{ConsumerState, Sighting};
use foundry_host::ledger::{Run, RunStatus};
use foundry_host::supervisor::{BrokerChoice, Host, HostConfig};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc::Receiver;

use super::support::{config, introduce_in, spec};
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

/// Another host, as far as it has a key.
struct Other {
    name: &'static str,
    state: tempfile::TempDir,
}

impl Other {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            state: tempfile::tempdir().unwrap(),
        }
    }

    /// What it says.
    fn said(&self, event: Event) -> Vec<u8> {
        let event = changed(event, |event| event.source = format!("{}/bot", self.name));
        event.sign(&signer(self.state.path())).unwrap()
    }

    /// A host gets to know it.
    fn is_introduced(&self, may: &str, to: &Path) {
        introduce(self.name, self.state.path(), may, to);
    }
}

/// A host of its own at the bench's broker.
async fn start(bench: &Bench, name: &str, directory: &Path) -> Host {
    let config = config(directory);
    let broker = BrokerChoice::External(bench.host.host.broker().clone());
    let name = name.to_owned();
    Host::start(HostConfig { name, broker, ..config }).await.unwrap()
}

/// The messages on a topic of the bench's broker from now on.
async fn sightings(bench: &Bench, topic: &str) -> Receiver<Sighting> {
    let (sightings, mut state) = bench.host.host.watch(topic);
    let is_there = |state: &ConsumerState| *state == ConsumerState::Subscribed;
    state.wait_for(is_there).await.unwrap();
    sightings
}

/// A run as a host shows it.
async fn shown(host: &Host, run: &str) -> Run {
    host.ledger().run(run).await.unwrap().unwrap()
}

/// Why the build of a run was not signed.
async fn refused(bench: &Bench, id: &str) -> String {
    let failure = bench.result(id, "failures").await;
    assert_eq!(
        (&failure["refused"], &failure["stage"]),
        (&json!(true), &json!("signbot"))
    );
    failure["reason"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_without_the_announcement_of_its_commit_is_not_signed() {
    let bench = Bench::new().await;
    for (id, cause) in [("alone", None), ("made-up", Some("nothing"))] {
        let build = bench.build(id, cause, "master", &[]).await;
        bench.publish("builds", build).await;
        let reason = refused(&bench, id).await;
        assert!(reason.contains("it carries no announcement of its commit"), "{reason}");
    }
    let letters = bench.host.dead_letters().await;
    assert!(letters.iter().all(|letter| letter.cure.is_none()), "{letters:?}");
    assert!(!has_signed(&bench).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_carries_the_announcement_of_something_else_is_not_signed() {
    let bench = Bench::new().await;
    let announcement = commit_of("commit-1", "moved", "experimental")
        .sign(&bench.signer())
        .unwrap();
    let build = bench.build("moved", Some(&commit_id("commit-1")), "master", &[]).await;
    bench.publish("builds", carrying(build, &announcement)).await;
    let reason = refused(&bench, "moved").await;
    let says = "it is of the branch \"master\", and the announcement is of \"experimental\"";
    assert!(reason.contains(says), "{reason}");
    // Neither is one that borrows the announcement of another run.
    let build = bench
        .build("borrowed", Some(&commit_id("commit-1")), "experimental", &[])
        .await;
    bench.publish("builds", carrying(build, &announcement)).await;
    let reason = refused(&bench, "borrowed").await;
    let says = "it is of the run \"run-borrowed\", and the announcement is of \"run-moved\"";
    assert!(reason.contains(says), "{reason}");
    assert!(!has_signed(&bench).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_of_made_up_commits_do_not_keep_honest_ones_waiting() {
    const MADE_UP: usize = 40;
    let bench = Bench::new().await;
    let stolen = commit_of("commit-1", "stolen", "master").sign(&bench.signer()).unwrap();
    for number in 0..MADE_UP {
        let build = bench.build(&format!("m{number}"), Some("nothing"), "master", &[]).await;
        let build = match number % 2 {
            0 => build,
            _ => carrying(build, &stolen),
        };
        bench.publish("builds", build).await;
    }
    let files = [package(bench.files.path())];
    bench.announce("honest", "master", &files).await;
    bench.result("honest", "signs").await;
    eventually("the others are refused for good", async || {
        let letters = bench.host.dead_letters().await;
        let is_final = letters
            .iter()
            .all(|letter| letter.cure.is_none() && letter.attempts == 0);
        (is_final && letters.len() == MADE_UP).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_signed_once_the_announcing_hosts_key_is_there() {
    let bench = Bench::new().await;
    let head = Other::new("head");
    let announcement = head.said(commit_of("commit-1", "late", "master"));
    bench.host.publish("commits", announcement.clone()).await;
    let files = [package(bench.files.path())];
    let build = bench
        .build("late", Some(&commit_id("commit-1")), "master", &files)
        .await;
    bench.publish("builds", carrying(build, &announcement)).await;
    let reason = refused(&bench, "late").await;
    for part in [
        "the announcement of its commit that it carries is refused",
        "foundry-host key import --role messages --host head --may DUTY FILE",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    // Another key is no help: the announcement is refused again.
    let mut logs = bench.host.host.logs();
    Other::new("b7").is_introduced("watch", bench.host.directory.path());
    let refused_again = tokio::time::timeout(Duration::from_secs(60), async {
        while !logs
            .recv()
            .await
            .unwrap()
            .line
            .contains("refused a message on foundry/builds")
        {}
    });
    refused_again.await.unwrap();
    assert!(!has_signed(&bench).await);
    head.is_introduced("watch", bench.host.directory.path());
    bench.result("late", "signs").await;
    eventually("no dead letter is left", async || {
        bench.host.dead_letters().await.is_empty().then_some(())
    })
    .await;
    let run = shown(&bench.host.host, "run-late").await;
    assert_eq!(run.state.status, RunStatus::Signed);
    let commit = &run.events[0];
    assert_eq!(
        (commit.id.clone(), commit.source.as_str(), commit.topic.as_str()),
        (commit_id("commit-1"), "head/bot", "commits")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_first_starts_after_the_commit_signs_its_build_and_shows_the_commit() {
    let bench = Bench::new().await;
    bench.host.host.stop("signbot").await.unwrap();
    let announcement = commit_of("commit-1", "before", "master").sign(&bench.signer()).unwrap();
    bench.host.publish("commits", announcement.clone()).await;
    let (directory, builder) = (tempfile::tempdir().unwrap(), Other::new("b1"));
    introduce("test", bench.host.directory.path(), "watch", directory.path());
    builder.is_introduced("build", directory.path());
    let host = start(&bench, "signer", directory.path()).await;
    let key = KeyStore::open(directory.path().join("keys"))
        .unwrap()
        .generate(Role::Packages, &NewKey::new("Packages <packages@example.org>"))
        .unwrap();
    host.load(signbot(&key.fingerprint.to_string())).await.unwrap();
    let build = bench.build("before", Some(&commit_id("commit-1")), "master", &[]).await;
    bench
        .host
        .publish("builds", builder.said(carrying(build, &announcement)))
        .await;
    let run = eventually("it is signed", async || {
        let run = host.ledger().run("run-before").await.unwrap()?;
        (run.state.status == RunStatus::Signed).then_some(run)
    })
    .await;
    let sources: Vec<_> = run.events.iter().map(|event| event.source.as_str()).collect();
    assert_eq!(sources, ["test/tester", "b1/bot", "signer/signbot"]);
    assert_eq!(run.events[0].event_type, "foundry.commit.v1");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_by_a_host_that_may_announce_nothing_is_refused_until_it_may() {
    let bench = Bench::new().await;
    let builder = Other::new("b1");
    builder.is_introduced("build", bench.host.directory.path());
    let announcement = builder.said(commit_of("commit-1", "own", "master"));
    let build = bench.build("own", Some(&commit_id("commit-1")), "master", &[]).await;
    bench
        .host
        .publish("builds", builder.said(carrying(build, &announcement)))
        .await;
    let reason = refused(&bench, "own").await;
    assert!(
        reason.contains("host b1 may build, and so no foundry.commit.v1 on commits"),
        "{reason}"
    );
    assert!(!has_signed(&bench).await);
    builder.is_introduced("build,watch", bench.host.directory.path());
    bench.result("own", "signs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_between_builder_and_commit_hands_the_announcement_on_and_cannot_set_another() {
    let bench = Bench::new().await;
    let directory = tempfile::tempdir().unwrap();
    introduce("test", bench.host.directory.path(), "watch", directory.path());
    let gate = start(&bench, "gate", directory.path()).await;
    gate.load(spec("relay").option("watch", "commits")).await.unwrap();
    let mut passed = sightings(&bench, "relay-out").await;

    // The bot publishes the data that it gets.
    let commit = changed(commit_of("commit-1", "linted", "master"), |commit| {
        commit.data.insert("announcement".to_owned(), json!("another"));
    });
    let announcement = commit.sign(&bench.signer()).unwrap();
    bench.host.publish("commits", announcement.clone()).await;
    let passed = passed.recv().await.unwrap().payload;
    assert_eq!(passed["data"]["announcement"], "another");
    let carried = passed["announcement"].as_str().unwrap();
    assert_eq!(carried.as_bytes(), announcement);

    let build = bench.build("linted", passed["id"].as_str(), "master", &[]).await;
    bench.publish("builds", carrying(build, carried.as_bytes())).await;
    bench.result("linted", "signs").await;
    gate.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_signbot_makes_of_a_build_carries_its_announcement() {
    let bench = Bench::new().await;
    let mut signed = sightings(&bench, "signs").await;
    let mut failed = sightings(&bench, "failures").await;
    bench.announce("signed", "master", &[]).await;
    let announcement = signed.recv().await.unwrap().payload["announcement"].clone();
    let announced: Value = serde_json::from_str(announcement.as_str().unwrap()).unwrap();
    assert_eq!(announced["id"], commit_id("commit-signed"));
    let odd = bench.files.path().join("odd_1.0_all.deb");
    fs::write(&odd, "no package").unwrap();
    bench.announce("odd", "master", &[odd]).await;
    let announcement = failed.recv().await.unwrap().payload["announcement"].clone();
    let announced: Value = serde_json::from_str(announcement.as_str().unwrap()).unwrap();
    assert_eq!(announced["id"], commit_id("commit-odd"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waited_while_its_host_was_upgraded_is_judged_by_the_record() {
    let bench = Bench::new().await;
    let since = bench.host.host.ledger().upgraded().announcements;
    let commit = commit_of("commit-1", "queued", "master");
    eventually("the commit is on record", async || {
        bench.publish("commits", commit.clone()).await;
        let events = bench.host.events().await;
        events
            .iter()
            .any(|event| event.id == commit_id("commit-1"))
            .then_some(())
    })
    .await;
    let build = async |id: &str, cause: &str, made: OffsetDateTime| {
        let build = bench.build(id, Some(cause), "master", &[]).await;
        changed(build, |build| build.time = made.format(&Rfc3339).unwrap())
    };
    let before = since - Duration::from_secs(1);
    let of_run = |event: Event| changed(event, |event| event.run = "run-queued".to_owned());
    let later = build("later", &commit_id("commit-1"), since).await;
    bench.publish("builds", of_run(later)).await;
    let reason = refused(&bench, "queued").await;
    assert!(reason.contains("it carries no announcement"), "{reason}");
    bench.publish("builds", build("gone", "nothing", before).await).await;
    let reason = refused(&bench, "gone").await;
    assert!(reason.contains("this host has no event nothing"), "{reason}");
    assert!(!has_signed(&bench).await);
    let queued = build("queued", &commit_id("commit-1"), before).await;
    bench.publish("builds", of_run(queued)).await;
    bench.result("queued", "signs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_is_not_asked_what_became_of_a_build_that_is_to_be_signed() {
    let bench = Bench::new().await;
    let other = tempfile::tempdir().unwrap();
    // Bound to signbot's group, so that nothing but its duty keeps it from being asked.
    introduce_in(
        &["pub/signbot"],
        "b1",
        other.path(),
        "build",
        bench.host.directory.path(),
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_a_commit_that_was_announced_to_another_pipeline_is_not_signed_unless_its_operator_says_so() {
    let bench = Bench::new().await;
    let head = Other::new("head");
    head.is_introduced("watch,foundry.commit.v1@commits-2", bench.host.directory.path());
    let files = [package(bench.files.path())];
    let of_another_pipeline = async |id: &str, by: &str| {
        let commit = commit_on("commits-2", &format!("commit-{id}"), id, "master");
        let announcement = match by {
            "head" => head.said(commit),
            _ => commit.sign(&bench.signer()).unwrap(),
        };
        carrying(bench.build(id, Some("c"), "master", &files).await, &announcement)
    };
    for (id, by) in [("heads", "head"), ("own", "test")] {
        bench.publish("builds", of_another_pipeline(id, by).await).await;
        let reason = refused(&bench, id).await;
        assert!(reason.contains("its commit was announced on commits-2"), "{reason}");
    }
    assert!(!has_signed(&bench).await);

    bench.host.host.stop("signbot").await.unwrap();
    let spec = signbot(&bench.key.fingerprint.to_string());
    let spec = spec
        .option("announced-on", "commits-2")
        .option("announced-on", "commits");
    bench.host.host.load(spec).await.unwrap();
    bench
        .publish("builds", of_another_pipeline("meant", "head").await)
        .await;
    bench.result("meant", "signs").await;
}
