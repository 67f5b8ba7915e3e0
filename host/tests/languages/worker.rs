//! The other way in: a plain program as a member of a group, with gpg for its signatures.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use foundry_host::keys::{Binding, Groups, KeyStore, Role};
use foundry_host::supervisor::Host;
use serde_json::json;

use super::support::{TestHost, config, eventually, id_of, spec};

/// Debian's own interpreter, which has Debian's paho.
const PYTHON: &str = "/usr/bin/python3";

/// A program that ends with the test.
struct Worker {
    child: Child,
    said: std::sync::mpsc::Receiver<String>,
}

impl Worker {
    fn start(host: &TestHost, name: &str, keys: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/mqtt/worker.py");
        let state = host.directory.path();
        let mut child = Command::new(PYTHON)
            .arg(script)
            .args(["--broker", &format!("127.0.0.1:{}", host.host.broker().port)])
            .args(["--user", "owner", "--password-file"])
            .arg(state.join("broker/owner.password"))
            .args(["--name", name, "--group", "pub/greeters", "--watch", "foundry/orders"])
            .arg("--gnupg-home")
            .arg(keys)
            .args(["--key", "worker@example.org", "--trusted"])
            .arg(keys.join("hosts.gpg"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self { child, said }
    }

    fn until_ready(&self) {
        let line = self.said.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        assert_eq!(line, "is ready");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gpg(home: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new("gpg")
        .arg("--homedir")
        .arg(home)
        .args(["--batch", "--quiet", "--passphrase", ""])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "gpg {args:?}: {output:?}");
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_programs_take_part_in_a_group() {
    let keys = tempfile::Builder::new().prefix("gnupg-").tempdir().unwrap();
    gpg(
        keys.path(),
        &["--quick-generate-key", "Worker <worker@example.org>", "ed25519", "sign"],
    );
    // A host learns when it starts whom it believes.
    let directory = tempfile::tempdir().unwrap();
    let may = "example.greeting.v1@greetings".parse().unwrap();
    let groups = Groups::of(["pub/greeters".to_owned()]).unwrap();
    let binding = Binding::new("worker", may).unwrap().in_groups(groups);
    let store = KeyStore::open(directory.path().join("keys")).unwrap();
    store
        .import_bound(&gpg(keys.path(), &["--export"]), &[Role::Messages], Some(&binding))
        .unwrap();
    let host = Host::start(config(directory.path())).await.unwrap();
    let host = TestHost { host, directory };
    let trusted = store.export_keyring(Role::Messages).unwrap();
    std::fs::write(keys.path().join("hosts.gpg"), trusted).unwrap();
    host.host
        .load(spec("relay").option("watch", "greetings"))
        .await
        .unwrap();

    let workers = [
        Worker::start(&host, "worker/one", keys.path()),
        Worker::start(&host, "worker/two", keys.path()),
    ];
    workers.iter().for_each(Worker::until_ready);
    // One that nobody trusted signed, and then those that are handled.
    host.publish("orders", br#"{"id": "x", "data": {}}"#.to_vec()).await;
    let ids: Vec<_> = (0..10).map(|number| format!("order{number}")).collect();
    for id in &ids {
        let data = json!({ "text": "ünïcödé \u{1f980} \"quoted\"\n", "n": 7 });
        let event = host.signed("orders", id, "test.order.v1", data);
        host.publish("orders", event).await;
    }
    // The host believes the workers' signatures: its bot handles their greetings.
    for id in &ids {
        let run = format!("run-{id}");
        let event = eventually("a greeting", async || {
            let events = host.events().await;
            events
                .into_iter()
                .find(|event| event.run == run && event.topic == "relay-out")
        })
        .await;
        let told = id_of("orders", id, "test.order.v1");
        assert_eq!(event.data["text"], format!("hello, {told}"));
    }
    let relayed = host
        .events()
        .await
        .into_iter()
        .filter(|event| event.topic == "relay-out")
        .count();
    assert_eq!(relayed, ids.len(), "each message went to one of the group");
    assert_eq!(host.dead_letters().await, []);
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(keys.path())
        .args(["--kill", "all"])
        .status();
}
