//! Two hosts of one name: copies of one state directory, and others.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::{Host, HostConfig, HostError};
use futures::FutureExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::identity::copy;
use crate::mosquitto::Mosquitto;
use crate::proxy::Proxy;
use crate::support::{eventually, publish, signed_as, spec};
use crate::witness::Witness;
use crate::{at, broker};

/// Connections of a host with one bot at a broker elsewhere: publisher, peers, observer, onlooker, and the bot.
const LINES: usize = 5;

/// The name that more than one host has.
const NAME: &str = "builder";

/// A host of that name in a directory below the test's.
fn named(directory: &Path, state: &str, broker: &BrokerAddress) -> HostConfig {
    HostConfig {
        name: NAME.to_owned(),
        drain: Duration::from_millis(100),
        ..at(&directory.join(state), broker.clone())
    }
}

/// `foundry-host run` as a process of its own.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(directory: &Path, state: &str, port: u16, options: &[&str]) -> Self {
        Self::with_bots(directory, state, port, options, "")
    }

    /// With tables of bots in its configuration.
    pub fn with_bots(directory: &Path, state: &str, port: u16, options: &[&str], bots: &str) -> Self {
        let path = |ending: &str| directory.join(format!("{state}.{ending}"));
        let config = format!(
            "[host]\nname = {NAME:?}\nstate = {:?}\n[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n{bots}",
            directory.join(state)
        );
        std::fs::write(path("toml"), config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_foundry-host"))
            .arg("run")
            .arg("-c")
            .arg(path("toml"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let log = path("log");
        Self { child, log }
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub async fn says(&self, what: &str) {
        eventually(&format!("it says {what:?}"), async || {
            self.said().contains(what).then_some(())
        })
        .await;
    }

    /// Wait until it ends by itself.
    async fn end(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        eventually("the process ends", async || child.lock().unwrap().try_wait().unwrap()).await
    }

    /// Its connections stay, and it says nothing any more: what a broker sees of a machine that lost its power.
    fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Wait until nobody has a state directory's ledger open, so that it can be copied.
async fn closed(state: &Path) {
    let log = state.join("ledger.sqlite-wal");
    eventually("the ledger is closed", async || (!log.exists()).then_some(())).await;
}

/// The start numbers that presence of the name has shown as online, each once, in order.
fn starts(witness: &Witness) -> Vec<u64> {
    let online = witness.of(&format!("hosts/{NAME}"));
    let mut starts: Vec<_> = online
        .iter()
        .filter(|said| said["status"] == "online")
        .filter_map(|said| said["start"].as_u64())
        .collect();
    starts.dedup();
    starts
}

/// The start numbers that have shown themselves, or that hosts of the name said to each other; sorted.
fn all_starts(witness: &Witness) -> Vec<u64> {
    let mut all = starts(witness);
    for word in witness.of(&format!("peers/{NAME}")) {
        let said = ["start", "to"].map(|field| word["data"][field].as_u64());
        all.extend(said.into_iter().flatten());
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_beside_the_running_host_ends_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let witness = Witness::start(&address).await;
    let host = Host::start(named(directory.path(), "original", &address))
        .await
        .unwrap();
    host.load(spec("hostile")).await.unwrap();
    copy(&directory.path().join("original"), &directory.path().join("clone"));
    let mut clone = Process::start(directory.path(), "clone", address.port, &["--take-over"]);
    let end = clone.end().await;
    let said = clone.said();
    assert_eq!(end.code(), Some(6), "{said}");
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for part in [
        &format!("this is a copy of the host that runs on {machine}"),
        "host.name",
        "clone/identity.json",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let order = signed_as(
        NAME,
        &directory.path().join("original"),
        "hostile-in",
        "m",
        "test.order.v1",
        serde_json::json!({ "do": "done" }),
    );
    publish(&address, "foundry/hostile-in", order).await;
    eventually("the original goes on", async || {
        (host.status("hostile").ok()?.handled == 1).then_some(())
    })
    .await;
    assert_eq!(
        witness.saw("offline"),
        Vec::<String>::new(),
        "no session of the original was taken"
    );
    assert_eq!(host.ledger().dead_letters().await.unwrap(), []);
    host.shutdown().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_of_the_name_ends_whether_its_key_is_known_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let witness = Witness::start(&address).await;
    let host = Host::start(named(directory.path(), "first", &address)).await.unwrap();
    copy(
        &directory.path().join("first/keys"),
        &directory.path().join("known/keys"),
    );
    let known = Host::start(named(directory.path(), "known", &address)).await;
    let error = known.err().unwrap();
    assert!(matches!(error, HostError::NameTaken { .. }), "{error}");
    let stranger = Host::start(named(directory.path(), "stranger", &address)).await;
    let error = stranger.err().unwrap();
    assert!(matches!(error, HostError::NameClaimed { .. }), "{error}");
    assert!(error.to_string().contains("--take-over"), "{error}");
    assert_eq!(witness.saw("offline"), Vec::<String>::new());
    host.shutdown().await;
    broker.stop().await;
}

/// A host whose machine lost its power, and a copy of its state directory.
async fn gone(directory: &Path, port: u16, witness: &Witness) -> Process {
    let original = Process::start(directory, "original", port, &[]);
    original.says("is ready").await;
    eventually("the original shows itself", async || {
        (starts(witness).len() == 1).then_some(())
    })
    .await;
    original.freeze();
    copy(&directory.join("original"), &directory.join("clone"));
    original
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_after_the_host_has_gone_takes_over_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let witness = Witness::start(&address).await;
    let _original = gone(directory.path(), address.port, &witness).await;
    let clone = Process::start(directory.path(), "clone", address.port, &[]);
    clone.says("waiting for the broker to notice that it is gone").await;
    assert_eq!(starts(&witness).len(), 1);
    clone
        .says("took the name over from a host that was online and is gone")
        .await;
    clone.says("is ready").await;
    eventually("the clone shows itself", async || {
        (starts(&witness).len() == 2).then_some(())
    })
    .await;
    drop(clone);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn take_over_does_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let witness = Witness::start(&address).await;
    let _original = gone(directory.path(), address.port, &witness).await;
    let clone = Process::start(directory.path(), "clone", address.port, &["--take-over"]);
    clone.says("is ready").await;
    let said = clone.said();
    assert!(
        said.contains("took the name over from a host that seems to be online"),
        "{said}"
    );
    assert!(!said.contains("waiting for the broker"), "{said}");
    drop(clone);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_state_directory_starts() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let witness = Witness::start(&address).await;
    let run = async |state: &str| {
        let before = starts(&witness).len();
        let host = Host::start(named(directory.path(), state, &address)).await.unwrap();
        // One that ends as soon as it is connected may not have shown itself.
        let shown = async || (starts(&witness).len() > before).then_some(());
        eventually(&format!("{state} has shown itself"), shown).await;
        host.shutdown().await;
        drop(host);
        closed(&directory.path().join(state)).await;
    };
    run("state").await;
    copy(&directory.path().join("state"), &directory.path().join("backup"));
    // Of a host from before there were identities.
    copy(&directory.path().join("state"), &directory.path().join("old-backup"));
    std::fs::remove_file(directory.path().join("old-backup/identity.json")).unwrap();
    for backup in ["state", "backup", "old-backup"] {
        run(backup).await;
    }
    assert_eq!(starts(&witness).len(), 4, "each start has a number of its own");
    let presence = witness.of(&format!("hosts/{NAME}"));
    let mut identities: Vec<&Value> = presence.iter().map(|said| &said["identity"]).collect();
    identities.dedup();
    assert_eq!(
        identities.len(),
        2,
        "a backup has the identity of its host: {identities:?}"
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_line_is_no_clone() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    let address = BrokerAddress::local(broker.address());
    let proxy = Proxy::start(broker.address()).await;
    let host = Host::start(named(directory.path(), "state", &BrokerAddress::local(proxy.address)))
        .await
        .unwrap();
    host.load(spec("hostile")).await.unwrap();
    let witness = Witness::start(&address).await;
    for number in 1..=5 {
        // The broker still has the old connections when the new ones come.
        proxy.cut();
        let order = signed_as(
            NAME,
            &directory.path().join("state"),
            "hostile-in",
            &format!("m{number}"),
            "test.order.v1",
            serde_json::json!({ "do": "done" }),
        );
        publish(&address, "foundry/hostile-in", order).await;
        eventually(&format!("all sessions are back after cut {number}"), async || {
            let status = host.status("hostile").ok()?;
            (status.handled == number && host.publisher().connected && proxy.connections() == LINES).then_some(())
        })
        .await;
    }
    let said = witness.of(&format!("peers/{NAME}"));
    assert_eq!(said, Vec::<Value>::new(), "nobody had a reason to ask for another host");
    assert_eq!(host.lost_name().now_or_never(), None);
    host.shutdown().await;
    broker.stop().await;
}

/// Two copies, both started while the broker was away, meet when it is back.
async fn two_meet(directory: &Path, address: &BrokerAddress, begin: impl AsyncFnOnce()) {
    let config = |state| named(directory, state, address);
    let first = Host::start(config("first")).await.unwrap();
    first.shutdown().await;
    drop(first);
    closed(&directory.join("first")).await;
    copy(&directory.join("first"), &directory.join("second"));
    let (first, second) = tokio::join!(Host::start(config("first")), Host::start(config("second")));
    let (first, second) = (first.unwrap(), second.unwrap());
    begin().await;
    let witness = Witness::start(address).await;
    let ended = async {
        let (loser, why) = tokio::select! {
            why = first.lost_name() => (&first, why),
            why = second.lost_name() => (&second, why),
        };
        loser.shutdown().await;
        why
    };
    let why = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    assert!(why.contains("another host runs as builder, on "), "{why}");
    eventually("the one that started with the smaller number is alone", async || {
        let smaller = all_starts(&witness).into_iter().min();
        let last = witness.of(&format!("hosts/{NAME}")).pop()?;
        (last["status"] == "online" && last["start"].as_u64() == smaller).then_some(())
    })
    .await;
    assert_eq!(all_starts(&witness).len(), 2, "both were seen");
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clones_that_meet_the_one_with_the_greater_start_number_ends() {
    let directory = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap();
    drop(listener);
    let address = BrokerAddress::local(listen);
    let mut kept = None;
    two_meet(directory.path(), &address, async || {
        kept = Some(broker(directory.path(), |config| config.listen = listen).await);
    })
    .await;
    kept.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clones_that_meet_one_ends_with_mosquitto_which_tells_nobody_of_take_overs() {
    let directory = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(directory.path(), "");
    mosquitto.stop();
    two_meet(directory.path(), &mosquitto.address(), async || mosquitto.run()).await;
}
