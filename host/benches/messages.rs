//! What a message costs: through a bot that does nothing, through four bots in a chain, and from `git push` to a
//! published package; beside the cost of starting a process, which is what a bot that is a script pays at least.
//!
//! Run with `make bench`. Prints a table; nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement stops where it fails"
)]

#[path = "../../tests/pipeline/farm.rs"]
#[allow(dead_code, reason = "the suite uses more of it")]
mod farm;
#[path = "../../tests/pipeline/package.rs"]
#[allow(dead_code, reason = "the suite uses more of it")]
mod package;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use foundry_host::capability::Grants;
use foundry_host::runtime::wit::types::Message;
use foundry_host::runtime::{ComponentCache, Engine, Verdict};
use support::{TestHost, spec};

const INSTANCES: u32 = 20_000;
const PROCESSES: u32 = 500;
const CHAIN: usize = 2_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let process = spawn_true();
    row("spawning /bin/true", process, "us", 1.0);
    let message = runtime.block_on(through_noop());
    row(
        "a message through a no-op bot, fresh instance",
        message,
        "us",
        process / message,
    );
    let rate = runtime.block_on(through_chain());
    println!(
        "{:<55} {rate:>12.0} messages/s",
        "a chain of four relays: MQTT, ledger, signatures"
    );
    for (what, milliseconds) in push_to_published() {
        println!("{what:<55} {milliseconds:>12.0} ms");
    }
}

fn row(what: &str, value: f64, unit: &str, ratio: f64) {
    println!("{what:<55} {value:>12.1} {unit}   /bin/true costs {ratio:.1} times this");
}

/// Microseconds to start a process and wait for its end.
fn spawn_true() -> f64 {
    let start = Instant::now();
    for _ in 0..PROCESSES {
        Command::new("/bin/true").status().unwrap();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(PROCESSES)
}

/// Microseconds per message: instantiate, call, drop.
async fn through_noop() -> f64 {
    let host = TestHost::start().await;
    let engine = Engine::new().unwrap();
    let cache = ComponentCache::new(host.directory.path().join("bench"));
    let component = cache.load_file(&engine, &foundry_test_guests::path("noop")).unwrap();
    let admitted = component.admit(&engine, &Grants::default()).unwrap();
    let instances = support::instances(&host, engine, admitted);
    let message = Message {
        id: "1".into(),
        topic: "noop-in".into(),
        event_type: "test.x.v1".into(),
        source: "bench/bench".into(),
        subject: None,
        time: String::new(),
        run: "1".into(),
        attempt: 0,
        data: r#"{"repository":"https://example.org/x.git","branch":"master"}"#.into(),
    };
    for _ in 0..1000 {
        assert!(matches!(instances.handle(&message).await, Ok(Verdict::Done(_))));
    }
    let start = Instant::now();
    for _ in 0..INSTANCES {
        let verdict = instances.handle(&message).await;
        assert!(matches!(verdict, Ok(Verdict::Done(_))));
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(INSTANCES)
}

/// Messages per second through four bots that publish each message again, everything durable and signed.
async fn through_chain() -> f64 {
    let host = TestHost::start().await;
    for n in 1..=4 {
        let mut link = spec("relay")
            .named(&format!("link{n}"))
            .option("endpoint", format!("group{n}"))
            .option("watch", format!("t{n}"))
            .option(
                "publish-to",
                if n == 4 {
                    "relay-out".to_owned()
                } else {
                    format!("t{}", n + 1)
                },
            );
        link.instances = 16;
        host.host.load(link).await.unwrap();
    }
    let arrived = async || {
        let runs = host.host.ledger().runs(CHAIN as u32 + 10).await.unwrap();
        runs.iter()
            .flat_map(|run| &run.events)
            .filter(|event| event.topic == "relay-out")
            .count()
    };
    let source = spec("relay")
        .named("source")
        .option("endpoint", "source")
        .option("watch", "nothing")
        .option("publish-to", "t1")
        .option("first", CHAIN.to_string());
    let start = Instant::now();
    host.host.load(source).await.unwrap();
    while arrived().await < CHAIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (CHAIN * 4) as f64 / start.elapsed().as_secs_f64()
}

/// From the end of `git push` to the `dist` event, with the build itself and without it.
fn push_to_published() -> Vec<(&'static str, f64)> {
    let mut farm = farm::Farm::new();
    let repository = package::Repository::new(farm.path(), "bench-package");
    let first = repository.push("master");
    farm = farm.watchbot(&[repository.url()]).rest(&["master:stable"]);
    farm.start();
    farm.await_event("foundry.dist.v1", &first);
    repository.version("1.1");
    let commit = repository.push("master");
    let start = Instant::now();
    farm.await_event("foundry.dist.v1", &commit);
    let total = start.elapsed().as_secs_f64() * 1e3;
    let build = farm.await_event("foundry.build.v1", &commit)["data"]["durationMs"]
        .as_f64()
        .unwrap();
    vec![
        ("from git push to the package's publication (poll: 1 s)", total),
        ("  of that, the build", build),
        ("  without it", total - build),
    ]
}
