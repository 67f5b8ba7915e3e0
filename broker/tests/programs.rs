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
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

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
