//! A bot that misbehaves in every way that a bot can, in a host with a neighbour, whose messages all get through meanwhile.
//! `hostile_bots.rs` looks closer at some of these ways.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use foundry_host::supervisor::{BotSource, BotSpec, Condition};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::support::{TestHost, eventually, granted_all_topics, id_of};

/// What the bot is told, how `foundry-host test` ends, what the dead letter says, and after how many attempts.
struct Case {
    what: &'static str,
    /// What it asks for over HTTP, if it does: a path of the test's server, or a URL.
    url: &'static str,
    exit: i32,
    reason: &'static str,
    attempts: u32,
}

const FAULT: i32 = 9;
const REJECT: i32 = 8;

const fn fault(what: &'static str, reason: &'static str) -> Case {
    Case {
        what,
        url: "",
        exit: FAULT,
        reason,
        attempts: 3,
    }
}

const fn refused(what: &'static str, url: &'static str, reason: &'static str) -> Case {
    Case {
        what,
        url,
        exit: REJECT,
        reason,
        attempts: 0,
    }
}

const CASES: [Case; 10] = [
    fault("write, then fail", "the bot trapped"),
    refused("other topic", "", "may not publish to builds"),
    fault(ENDLESS, "took more than 1 s"),
    refused("big state", "", "would become larger than"),
    fault("memory", "wanted more than 128 MiB of memory"),
    refused("ask", "https://elsewhere.example/", "not granted"),
    fault("recurse", "the bot "),
    refused("ask", "/forbidden", "not granted"),
    refused("ask", "/granted/redirect", "not granted"),
    refused("ask", "http://localhost:1/", "localhost leads to a private address"),
];

/// The order that only a limit of time ends. It is for a bot of its own, whose short limit no honest work has to keep.
const ENDLESS: &str = "loop";

/// The topic of the bot that is told to do something.
fn topic_of(what: &str) -> &'static str {
    if what == ENDLESS { "endless" } else { "orders" }
}

/// Failures of its code that quarantine a bot, at three for each message.
const LAST_STRAWS: [&str; 3] = ["straw0", "straw1", "straw2"];

/// The host, the hostile bot's component, and the server that it asks.
struct Scene<'a> {
    host: TestHost,
    component: &'a Path,
    place: &'a str,
    server: String,
}

/// Everything that it is told to do ends as it should, and between two misdeeds it works.
///
/// `place` is where it fails when it is told to.
pub async fn harms_nobody(component: &Path, place: &str, directory: tempfile::TempDir) {
    let scene = Scene {
        place,
        host: TestHost::start_in(directory).await,
        component,
        server: format!("http://{}", super::server()),
    };
    let mut greedy = scene.spec();
    greedy.grants.http.clear();
    let error = scene.host.host.load(greedy).await.unwrap_err().to_string();
    assert!(
        error.contains("/http@") && error.contains("add --allow-http URL"),
        "{error}"
    );
    scene.host.host.load(scene.spec()).await.unwrap();
    let mut endless = scene
        .spec()
        .named("endless")
        .option("watch", "endless")
        .option("endpoint", "endless");
    endless.timeout = Some(Duration::from_secs(1));
    scene.host.host.load(endless).await.unwrap();
    scene.host.load("relay").await;

    let (end, over) = watch::channel(false);
    let misdeeds = async {
        for (number, case) in CASES.iter().enumerate() {
            scene.commits(number, case).await;
        }
        scene.floods().await;
        scene.is_quarantined().await;
        end.send_replace(true);
    };
    tokio::join!(misdeeds, scene.neighbour_works_until(over));
    scene.host.host.shutdown().await;
}

impl Scene<'_> {
    fn spec(&self) -> BotSpec {
        let mut spec = granted_all_topics(BotSpec {
            memory: Some(128 * 1024 * 1024),
            ..BotSpec::new(BotSource::File(self.component.to_owned()))
        });
        spec.grants.mail.push("*@granted.example".parse().unwrap());
        spec.grants.http = self.granted().map(|pattern| pattern.parse().unwrap()).into();
        spec
    }

    /// The second and the third fit what they must not lead to.
    fn granted(&self) -> [String; 3] {
        [
            format!("{}/granted/*", self.server),
            "http://*:1/".to_owned(),
            format!("http://*:{}/*", self.server.rsplit(':').next().unwrap()),
        ]
    }

    fn order(&self, what: &str, url: &str) -> Value {
        let url = match url.strip_prefix('/') {
            Some(path) => format!("{}/{path}", self.server),
            None => url.to_owned(),
        };
        json!({ "do": what, "text": url })
    }

    async fn tell(&self, id: &str, order: Value) {
        let topic = topic_of(order["do"].as_str().unwrap());
        let event = self.host.signed(topic, id, "test.order.v1", order);
        self.host.publish(topic, event).await;
    }

    async fn commits(&self, number: usize, case: &Case) {
        let (id, next) = (format!("misdeed{number}"), format!("work{number}"));
        let what = case.what;
        self.tell(&id, self.order(what, case.url)).await;
        let told = id_of(topic_of(what), &id, "test.order.v1");
        let letter = eventually(what, async || {
            let letters = self.host.dead_letters().await;
            letters.into_iter().find(|dead| dead.id.as_ref() == Some(&told))
        })
        .await;
        assert!(letter.reason.contains(case.reason), "{what}: {}", letter.reason);
        assert_eq!(letter.attempts, case.attempts, "{what}");

        let failure = self.event(&id, "failures").await;
        assert_eq!(failure["stage"], "conformer", "{what}");
        assert_eq!(failure["reason"], letter.reason, "{what}");
        self.event_of_work(&next).await;

        let log = self.log(&id);
        assert!(log.contains(&format!("given up: {}", letter.reason)), "{what}: {log}");
        for attempt in 2..=case.attempts {
            assert!(log.contains(&format!("; attempt {attempt} in ")), "{what}: {log}");
        }
        if what == "write, then fail" {
            assert!(log.contains("told to fail"), "{log}");
            assert!(
                letter.reason.contains(self.place),
                "{} has no {}",
                letter.reason,
                self.place
            );
            self.shows_in_runs(&id, &letter.reason).await;
        }
        assert_eq!(self.exit_code(what, case.url).await, Some(case.exit), "{what}");
    }

    /// What `foundry-host runs` prints.
    async fn shows_in_runs(&self, id: &str, reason: &str) {
        let run = self
            .host
            .host
            .ledger()
            .run(&format!("run-{id}"))
            .await
            .unwrap()
            .unwrap();
        let failures = run
            .events
            .iter()
            .filter(|event| event.event_type == "foundry.failure.v1");
        let reasons: Vec<_> = failures.map(|event| event.data["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, [reason]);
    }

    async fn floods(&self) {
        self.tell("flood", self.order("flood", "")).await;
        self.event_of_work("after-the-flood").await;
        let lines = self.log("flood").lines().count();
        assert!((9_000..=10_000).contains(&lines), "{lines} lines");
        let log = self.log("flood");
        let last = log.lines().last().unwrap();
        assert!(last.starts_with("too many log lines; the rest is dropped"), "{last}");
        assert_eq!(self.exit_code("flood", "").await, Some(0));
        assert_eq!(self.exit_code("write, then retry", "").await, Some(7));
        let condition = self.host.host.status("conformer").unwrap().condition;
        assert_eq!(condition, Condition::Running);
    }

    async fn is_quarantined(&self) {
        for id in LAST_STRAWS {
            self.tell(id, self.order("write, then fail", "")).await;
        }
        eventually("quarantine", async || {
            let status = self.host.host.status("conformer").unwrap();
            (status.condition == Condition::Quarantined).then_some(())
        })
        .await;
        // Whatever it wrote and published before it failed never happened.
        let state = self.host.host.ledger().state("conformer", "half").await.unwrap();
        assert_eq!(state, None);
        let events = self.host.events().await;
        assert!(!events.iter().any(|event| {
            LAST_STRAWS.iter().any(|id| event.run == format!("run-{id}")) && event.topic == "answers"
        }));
    }

    /// The neighbour gets one message after the other, and answers each.
    async fn neighbour_works_until(&self, mut over: watch::Receiver<bool>) {
        for number in 0.. {
            let id = format!("neighbour{number}");
            let event = self.host.signed("relay-in", &id, "test.other.v1", json!({}));
            self.host.publish("relay-in", event).await;
            self.event(&id, "relay-out").await;
            let pause = Duration::from_millis(200);
            if tokio::time::timeout(pause, over.wait_for(|over| *over)).await.is_ok() {
                break;
            }
        }
    }

    /// It does what it is told.
    async fn event_of_work(&self, id: &str) {
        self.tell(id, self.order("echo", "")).await;
        self.event(id, "answers").await;
    }

    /// The data of what came of an event on a topic.
    async fn event(&self, id: &str, topic: &str) -> Value {
        let run = format!("run-{id}");
        eventually(&format!("{id} on {topic}"), async || {
            let events = self.host.events().await;
            events
                .into_iter()
                .find(|event| event.run == run && event.topic == topic)
        })
        .await
        .data
    }

    /// All lines of an event's run.
    fn log(&self, id: &str) -> String {
        let logs = &self.host.host.services().logs;
        let lines = logs.of_run(&format!("run-{id}")).unwrap();
        let lines: Vec<_> = lines.into_iter().map(|line| line.line).collect();
        lines.join("\n")
    }

    /// How the same order ends in `foundry-host test`.
    async fn exit_code(&self, what: &str, url: &str) -> Option<i32> {
        let file = self.host.directory.path().join("order.json");
        let event = json!({ "type": "test.order.v1", "data": self.order(what, url) });
        std::fs::write(&file, event.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_foundry-host"));
        command
            .args([
                "test",
                "--memory",
                "128M",
                "--timeout",
                if what == ENDLESS { "1s" } else { "2m" },
                "--state",
            ])
            .arg(self.host.directory.path())
            .args(self.granted().iter().flat_map(|pattern| ["--allow-http", pattern]))
            .args(["--allow-mail", "*@granted.example", "--event"])
            .arg(file)
            .arg(self.component);
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
        ended.await.unwrap().status.code()
    }
}
