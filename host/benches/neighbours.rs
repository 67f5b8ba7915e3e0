//! What a bot's messages feel of other bots that misbehave: the time from a message's publication to its answer, in a
//! quiet host and beside each kind of misdeed. And what a helper process costs that reads a package.
//!
//! Run with `benches/run neighbours`. Prints a table; nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement stops where it fails"
)]

#[path = "../tests/support/conformer.rs"]
mod conformer;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use foundry_host::supervisor::{BotSource, BotSpec};
use foundry_host::toolkit::Language;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use support::TestHost;
use tokio::sync::mpsc;

/// Messages whose times are compared.
const MESSAGES: usize = 300;

/// Helper processes that are timed.
const HELPERS: usize = 100;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(10);

/// Between two orders to a bot that misbehaves.
const ORDERS: Duration = Duration::from_millis(50);

/// How long a misdeed goes on before anything is measured.
const SETTLING: Duration = Duration::from_secs(2);

/// What the bots are told.
const MISDEEDS: [&str; 5] = ["loop", "memory", "recurse", "write, then fail", "flood"];

/// Each misdeed by so many bots at once.
const VILLAINS: usize = 2;

#[tokio::main]
async fn main() {
    println!(
        "a helper process: {:.1} ms until it has answered\n",
        helper().as_secs_f64() * 1000.0
    );
    let directory = tempfile::tempdir().unwrap();
    println!("| meanwhile | median | 95 of 100 | median beside quiet |");
    println!("|---|---|---|---|");
    let quiet = Times::of(None).await;
    quiet.print("nothing", &quiet);
    for language in [Language::Rust, Language::Javascript] {
        let component = conformer::component(language, &directory.path().join(language.name()));
        for misdeed in MISDEEDS {
            let times = Times::of(Some((&component, misdeed))).await;
            times.print(&format!("{VILLAINS} bots in {}: {misdeed}", language.name()), &quiet);
        }
    }
}

/// What a helper process costs, in the median: it is started, shut in, asked, and ended.
fn helper() -> Duration {
    foundry_host::confine::run_helpers_by(env!("CARGO_BIN_EXE_foundry-host"));
    let package = tempfile::tempfile().unwrap();
    let mut times: Vec<_> = (0..HELPERS)
        .map(|_| {
            let begun = Instant::now();
            // It has no bytes, which is told by the helper.
            let error = foundry_host::package::files(&package).unwrap_err();
            assert!(error.is_by_package(), "{error}");
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[HELPERS / 2]
}

/// Sorted.
struct Times(Vec<Duration>);

impl Times {
    async fn of(villains: Option<(&Path, &str)>) -> Self {
        let host = TestHost::start().await;
        host.load("relay").await;
        let mut client = Client::connect(&host).await;
        let torment = match villains {
            None => None,
            Some((component, misdeed)) => Some(torment(&host, component, misdeed).await),
        };
        let mut times = Vec::with_capacity(MESSAGES);
        for number in 0..MESSAGES {
            let event = host.signed("relay-in", &format!("n{number}"), "test.other.v1", json!({}));
            let start = Instant::now();
            client.publish("relay-in", event).await;
            client.answer(&format!("run-n{number}")).await;
            times.push(start.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(torment) = torment {
            torment.abort();
        }
        host.host.shutdown().await;
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, percent: usize) -> f64 {
        self.0[self.0.len() * percent / 100].as_secs_f64() * 1e3
    }

    fn print(&self, what: &str, quiet: &Self) {
        let [median, most] = [50, 95].map(|percent| self.at(percent));
        println!(
            "| {what} | {median:.1} ms | {most:.1} ms | {:.1} |",
            median / quiet.at(50)
        );
    }
}

/// Bots that do little but wrong, as long as the task runs: between two misdeeds each works, so that it isn't quarantined.
async fn torment(host: &TestHost, component: &Path, misdeed: &str) -> tokio::task::JoinHandle<()> {
    for number in 0..VILLAINS {
        let name = format!("villain{number}");
        let mut villain = support::granted_all_topics(BotSpec::new(BotSource::File(component.to_owned())))
            .named(&name)
            .option("watch", &name)
            .option("endpoint", &name);
        villain.grants.without = ["http", "mail"].map(|right| right.parse().unwrap()).into();
        host.host.load(villain).await.unwrap();
    }
    let client = Client::connect(host).await;
    let state = host.directory.path().to_owned();
    let misdeed = misdeed.to_owned();
    let task = tokio::spawn(async move {
        for number in 0.. {
            for villain in 0..VILLAINS {
                for what in [misdeed.as_str(), "echo"] {
                    let id = format!("villain{villain}-{number}-{}", what.len());
                    let order = json!({ "do": what, "text": "x" });
                    let event = support::signed(&state, &format!("villain{villain}"), &id, "test.order.v1", order);
                    client.publish(&format!("villain{villain}"), event).await;
                }
            }
            tokio::time::sleep(ORDERS).await;
        }
    });
    tokio::time::sleep(SETTLING).await;
    task
}

/// A connection that publishes, and hears what the relay answers.
struct Client {
    client: AsyncClient,
    prefix: String,
    answers: mpsc::UnboundedReceiver<String>,
}

impl Client {
    async fn connect(host: &TestHost) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let broker = host.host.broker();
        let name = format!("measurer-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(name, &broker.host, broker.port);
        if let Some((user, password)) = &broker.login {
            options.set_credentials(user, password);
        }
        let (client, mut events) = AsyncClient::new(options, 100);
        let answers = host.topics().full("relay-out");
        let prefix = host.topics().full("");
        client.subscribe(answers, QoS::AtLeastOnce).await.unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        let (subscribed, ready) = tokio::sync::oneshot::channel();
        let mut subscribed = Some(subscribed);
        tokio::spawn(async move {
            // Ends with the broker.
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(subscribed.take().map(|ready| ready.send(()))),
                    Event::Incoming(Packet::Publish(message)) => {
                        let event: Value = serde_json::from_slice(&message.payload).unwrap();
                        let _ = sender.send(event["run"].as_str().unwrap().to_owned());
                    }
                    _ => {}
                }
            }
        });
        ready.await.unwrap();
        Self {
            client,
            prefix,
            answers: receiver,
        }
    }

    async fn publish(&self, topic: &str, event: Vec<u8>) {
        let topic = format!("{}{topic}", self.prefix);
        // The host may have come to its end.
        let _ = self.client.publish(topic, QoS::AtLeastOnce, false, event).await;
    }

    async fn answer(&mut self, run: &str) {
        while self.answers.recv().await.unwrap() != run {}
    }
}
