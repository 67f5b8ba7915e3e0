//! Third-party programs: Mosquitto's clients, in both protocol versions on one port.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use support::{TestBroker, eventually};

struct Subscriber {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Subscriber {
    fn start(broker: &TestBroker, arguments: &[&str]) -> Self {
        let port = broker.address.port().to_string();
        let mut child = Command::new("mosquitto_sub")
            .args(["-p", &port, "-v"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub (package mosquitto-clients) runs");
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn publish(broker: &TestBroker, arguments: &[&str]) {
    let port = broker.address.port().to_string();
    let status = Command::new("mosquitto_pub")
        .args(["-p", &port])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn mosquitto_clients_of_both_versions_meet_on_one_port() {
    let broker = TestBroker::start();
    publish(&broker, &["-t", "hello/retained", "-m", "early", "-r", "-q", "1"]);
    let mut subscribers: Vec<Subscriber> = ["311", "5"]
        .map(|version| Subscriber::start(&broker, &["-V", version, "-t", "hello/#", "-q", "2"]))
        .into_iter()
        .collect();
    // The retained message shows that the subscription stands.
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.line(), "hello/retained early");
    }
    for version in ["311", "5"] {
        for qos in ["0", "1", "2"] {
            publish(&broker, &["-V", version, "-q", qos, "-t", "hello/world", "-m", qos]);
            for subscriber in &mut subscribers {
                assert_eq!(subscriber.line(), format!("hello/world {qos}"));
            }
        }
    }
    for subscriber in subscribers {
        subscriber.kill();
    }
}

#[test]
fn mosquitto_sub_is_a_member_and_its_death_hands_over() {
    let broker = TestBroker::start();
    let share = "$share/workers/jobs/#";
    let mut first = Subscriber::start(&broker, &["-V", "5", "-q", "1", "-t", share]);
    eventually("the first member joined", || {
        broker.groups().iter().any(|group| group.members == 1)
    });
    publish(&broker, &["-q", "1", "-t", "jobs/1", "-m", "one"]);
    assert_eq!(first.line(), "jobs/1 one");
    first.kill();
    eventually("the first member left", || broker.group("workers").members == 0);
    publish(&broker, &["-q", "1", "-t", "jobs/2", "-m", "two"]);
    assert_eq!(broker.group("workers").waiting, 1);
    let mut second = Subscriber::start(&broker, &["-V", "311", "-q", "1", "-t", share]);
    assert_eq!(second.line(), "jobs/2 two");
    second.kill();
}

#[test]
fn mosquitto_sub_dies_and_its_will_is_published_and_retained() {
    let broker = TestBroker::start();
    let will = [
        "--will-topic",
        "hosts/a",
        "--will-payload",
        "gone",
        "--will-retain",
        "--will-qos",
        "1",
    ];
    let client = Subscriber::start(&broker, &[&["-t", "x"][..], &will].concat());
    let mut watcher = Subscriber::start(&broker, &["-t", "hosts/+", "-q", "1"]);
    publish(&broker, &["-t", "hosts/a", "-m", "here", "-r"]);
    assert_eq!(watcher.line(), "hosts/a here");
    std::thread::sleep(Duration::from_millis(100));
    client.kill();
    assert_eq!(watcher.line(), "hosts/a gone");
    watcher.kill();
    let mut late = Subscriber::start(&broker, &["-t", "hosts/+"]);
    assert_eq!(late.line(), "hosts/a gone");
    late.kill();
}

/// A Python with the package paho-mqtt in a directory of its own, made at the first use.
fn python_with_paho() -> PathBuf {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("paho");
    let python = environment.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program:?} {arguments:?}: {output:?}");
    };
    if !python.exists() {
        run(Path::new("python3"), &["-m", "venv", environment.to_str().unwrap()]);
    }
    run(&python, &["-m", "pip", "install", "--quiet", "paho-mqtt==2.1.0"]);
    python
}

#[test]
#[ignore = "installs paho-mqtt from PyPI"]
fn paho_worker_dies_with_ten_unacknowledged_and_another_gets_them() {
    let python = python_with_paho();
    let broker = TestBroker::start();
    let port = broker.address.port().to_string();
    let share = "$share/workers/jobs/#";
    let worker = |version: &str, hold: &str| {
        let mut child = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/paho_worker.py"))
            .args([&port, version, share, hold])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut worker = Subscriber { child, lines };
        assert_eq!(worker.line(), "subscribed");
        worker
    };
    for version in ["4", "5"] {
        let mut first = worker(version, "0");
        for job in 0..10 {
            publish(&broker, &["-q", "1", "-t", "jobs/x", "-m", &job.to_string()]);
        }
        let jobs: Vec<String> = (0..10).map(|job| job.to_string()).collect();
        assert_eq!((0..10).map(|_| first.line()).collect::<Vec<_>>(), jobs);
        let mut second = worker(version, "10");
        let died = Instant::now();
        first.kill();
        assert_eq!((0..10).map(|_| second.line()).collect::<Vec<_>>(), jobs);
        assert!(died.elapsed() < Duration::from_secs(1), "took {:?}", died.elapsed());
        eventually("all are acknowledged", || broker.group("workers").leased == 0);
        second.kill();
        eventually("all have left", || broker.group("workers").members == 0);
    }
}
