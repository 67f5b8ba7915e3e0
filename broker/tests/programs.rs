//! Third-party programs: Mosquitto's clients, in both protocol versions on one port.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use support::process::Process;
use support::{TestBroker, eventually};

struct Subscriber {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What it said before it was ready.
    early: VecDeque<String>,
}

impl Subscriber {
    fn start(broker: &TestBroker, arguments: &[&str]) -> Self {
        let port = broker.address.port().to_string();
        let child = Command::new("mosquitto_sub")
            .args(["-p", &port, "-v"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub (package mosquitto-clients) runs");
        Self::of(child)
    }

    fn of(mut child: Child) -> Self {
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            early: VecDeque::new(),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads on until it says `ready`; what it says before is kept.
    fn await_line(&mut self, ready: &str) {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ended before it was ready");
            if line == ready {
                return;
            }
            self.early.push_back(line);
        }
    }

    /// The next message.
    fn message(&mut self) -> String {
        match self.early.pop_front() {
            Some(line) => line,
            None => self.line(),
        }
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

/// A broker as a process of its own, which is killed and started again on the same data.
struct Farm {
    directory: tempfile::TempDir,
    broker: Option<Process>,
}

impl Farm {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let broker = Some(Process::start(directory.path()));
        let farm = Self { directory, broker };
        farm.publish(&["-r", "-t", "ready", "-m", "now"]);
        farm
    }

    fn publish(&self, arguments: &[&str]) {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-p", &self.port(), "-q", "1"]).args(arguments);
        assert!(command.status().unwrap().success());
    }

    fn port(&self) -> String {
        self.broker.as_ref().unwrap().address.port().to_string()
    }

    fn kill_and_start(&mut self) {
        self.broker.take().unwrap().kill();
        self.broker = Some(Process::start(self.directory.path()));
    }

    /// Ten jobs, each acknowledged to its publisher.
    fn publish_ten(&self) {
        for job in 0..10 {
            self.publish(&["-t", "jobs/x", "-m", &job.to_string()]);
        }
    }
}

fn stop(worker: &Subscriber) {
    let id = worker.child.id().to_string();
    assert!(Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
}

/// Ten jobs are in the hands of a worker that dies; another has them within a second. It dies with ten more in hand, and
/// the broker after it; a third gets those.
fn ten_jobs_outlive_their_holders(farm: &mut Farm, worker: impl Fn(&Farm, Hands) -> Subscriber, payload: &str) {
    let jobs: Vec<String> = (0..10).map(|job| payload.replace('N', &job.to_string())).collect();
    let take = |worker: &mut Subscriber| (0..10).map(|_| worker.message()).collect::<Vec<_>>();
    let first = worker(farm, Hands::Full);
    farm.publish_ten();
    let mut second = worker(farm, Hands::Free);
    let died = Instant::now();
    first.kill();
    assert_eq!(take(&mut second), jobs);
    assert!(died.elapsed() < Duration::from_secs(1), "took {:?}", died.elapsed());
    // Its last acknowledgement comes after its last line.
    std::thread::sleep(Duration::from_millis(300));
    second.kill();
    let last = worker(farm, Hands::Full);
    farm.publish_ten();
    last.kill();
    farm.kill_and_start();
    let mut third = worker(farm, Hands::Free);
    assert_eq!(take(&mut third), jobs);
    // Nothing comes twice: what is published now comes next.
    farm.publish_ten();
    assert_eq!(take(&mut third), jobs);
    third.kill();
}

/// Does a worker acknowledge what it gets?
#[derive(Clone, Copy, PartialEq)]
enum Hands {
    Free,
    Full,
}

const SHARE: &str = "$share/workers/jobs/#";

#[test]
fn mosquitto_sub_dies_with_ten_unacknowledged_and_another_gets_them_even_after_the_broker_died() {
    for version in ["311", "5"] {
        let worker = |farm: &Farm, hands| {
            // The retained message comes when the subscriptions stand.
            let child = Command::new("mosquitto_sub")
                .args([
                    "-p",
                    &farm.port(),
                    "-V",
                    version,
                    "-q",
                    "1",
                    "-v",
                    "-t",
                    SHARE,
                    "-t",
                    "ready",
                ])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut worker = Subscriber::of(child);
            worker.await_line("ready now");
            if hands == Hands::Full {
                // A stopped program answers nothing, and its connection stands.
                stop(&worker);
            }
            worker
        };
        ten_jobs_outlive_their_holders(&mut Farm::new(), worker, "jobs/x N");
    }
}

/// A Python with the package paho-mqtt in a directory of its own, made at the first use.
fn python_with_paho() -> PathBuf {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("paho-2.1.0");
    let python = environment.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program:?} {arguments:?}: {output:?}");
    };
    if !environment.join("whole").exists() {
        run(Path::new("python3"), &["-m", "venv", environment.to_str().unwrap()]);
        run(&python, &["-m", "pip", "install", "--quiet", "paho-mqtt==2.1.0"]);
        std::fs::write(environment.join("whole"), "").unwrap();
    }
    python
}

#[test]
fn paho_worker_dies_with_ten_unacknowledged_and_another_gets_them_even_after_the_broker_died() {
    let python = python_with_paho();
    for version in ["4", "5"] {
        let worker = |farm: &Farm, hands| {
            let hold = if hands == Hands::Full { "0" } else { "1" };
            let child = Command::new(&python)
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/paho_worker.py"))
                .args([&farm.port(), version, SHARE, hold])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut worker = Subscriber::of(child);
            worker.await_line("subscribed");
            worker
        };
        ten_jobs_outlive_their_holders(&mut Farm::new(), worker, "N");
    }
}
