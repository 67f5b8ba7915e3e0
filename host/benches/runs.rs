//! What looking costs a host that has much on record: `runs`, a run by its commit, `dead-letters` and `status` over 100,000 runs while messages flow as fast as
//! they go; and what of their rate is left with one `runs` a second, in alternated pairs.
//!
//! Run with `benches/run runs`. Prints a table; nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement stops where it fails"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use foundry_host::config::Config;
use foundry_host::control::{Client, Request, Service};
use foundry_host::ledger::Ledger;
use rusqlite::{Connection, params};

/// Runs on record, of four events each.
const RUNS: u32 = 100_000;

/// Pairs of spells, with and without looking.
const PAIRS: usize = 9;

/// How long a spell is.
const SPELL: Duration = Duration::from_secs(6);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked for: `runs` shows twenty, and says whether there are more.
const SHOWN: u32 = 21;

/// Quantile of Student's t distribution for a two-sided interval of 95 % with `PAIRS - 1` degrees of freedom.
const STUDENT: f64 = 2.306;

#[tokio::main]
async fn main() {
    let state = tempfile::tempdir().unwrap();
    println!("filling a ledger with {RUNS} runs");
    fill(&state.path().join("ledger.sqlite"));
    let service = Service::start(&config(state.path()), state.path()).await.unwrap();
    let client = Client::new(state.path());
    let idle = look(&client, 20).await;
    tokio::time::sleep(SPELL).await;
    let mut times = Vec::new();
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        // Which one is first changes: the flow's speed drifts.
        let (with, without) = if pair % 2 == 0 {
            let with = spell(&service, Some((&client, &mut times))).await;
            (with, spell(&service, None).await)
        } else {
            let without = spell(&service, None).await;
            (spell(&service, Some((&client, &mut times))).await, without)
        };
        println!("pair {pair}: {with:.0} messages/s with one `runs` a second, {without:.0} without");
        ratios.push(with / without);
    }
    let (mean, interval) = mean(&ratios);
    println!(
        "rate with one `runs` a second: {:.1} % of that without, ± {:.1} (95 %)",
        mean * 100.0,
        interval * 100.0
    );
    print("runs, nothing else to do", idle);
    print("runs, while messages flow", times);
    for (what, request) in [
        ("runs COMMIT", Request::Run { id: commit(17) }),
        (
            "runs NOTHING",
            Request::Run {
                id: "there is no such run".to_owned(),
            },
        ),
        (
            "dead-letters list",
            Request::DeadLetters {
                limit: 100,
                after: None,
                of: None,
            },
        ),
        ("status", Request::Status),
    ] {
        let mut times = Vec::new();
        for _ in 0..20 {
            times.push(ask(&client, request.clone()).await);
        }
        print(&format!("{what}, while messages flow"), times);
    }
    service.stop().await;
}

fn config(state: &Path) -> Config {
    let [source, relay] = ["source", "relay"].map(foundry_test_guests::path);
    let text = format!(
        "[host]\nname = \"bench\"\n[broker]\nlisten = \"127.0.0.1:0\"\n\
         [bots.source]\nuse = {source:?}\npublish-to = \"work\"\ngrants.publish = [\"work\"]\ntotal = 100000000\nbatch = 200\nevery = \"50ms\"\n\
         [bots.relay]\nuse = {relay:?}\nwatch = \"work\"\npublish-to = \"done\"\ngrants.read = [\"work\"]\ngrants.publish = [\"done\"]\n\
         stateless = true\ninstances = 8\n"
    );
    Config::parse(&state.join("foundry.toml"), &text).unwrap()
}

fn commit(number: u32) -> String {
    format!("{number:08x}{number:032x}")
}

/// Runs that are published, and a few that failed.
fn fill(path: &Path) {
    drop(Ledger::open(path).unwrap());
    let mut c = Connection::open(path).unwrap();
    let all = c.transaction().unwrap();
    {
        let mut insert = all
            .prepare("INSERT INTO events (id, run, type, topic, source, subject, time, cause, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .unwrap();
        for number in 0..RUNS {
            let run = format!(
                "{:032x}",
                u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            );
            let mut cause = None;
            for (stage, topic) in [
                ("commit", "commits"),
                ("build", "builds"),
                ("sign", "signs"),
                ("dist", "dists"),
            ] {
                let id = format!("{stage}-{number}");
                let data = serde_json::json!({
                    "repository": "https://git.example.org/hello.git", "branch": "main", "ref": commit(number), "architecture": "amd64",
                    "text": "x".repeat(600),
                });
                let event_type = format!("foundry.{stage}.v1");
                let time = "2026-11-30T12:00:00Z";
                insert
                    .execute(params![
                        id,
                        run,
                        event_type,
                        topic,
                        format!("bench/{stage}"),
                        "hello 1.0",
                        time,
                        cause,
                        data.to_string()
                    ])
                    .unwrap();
                cause = Some(id);
            }
        }
    }
    all.commit().unwrap();
}

/// Messages that the relay handles in a second.
async fn spell(service: &Service, mut looking: Option<(&Client, &mut Vec<Duration>)>) -> f64 {
    let handled = || service.host().status("relay").unwrap().handled;
    let (begun, before) = (Instant::now(), handled());
    while begun.elapsed() < SPELL {
        if let Some((client, times)) = &mut looking {
            times.push(look_once(client).await);
        }
        tokio::time::sleep(LOOK).await;
    }
    (handled() - before) as f64 / begun.elapsed().as_secs_f64()
}

async fn look(client: &Client, times: usize) -> Vec<Duration> {
    let mut all = Vec::new();
    for _ in 0..times {
        all.push(look_once(client).await);
    }
    all
}

/// As `runs` does.
async fn look_once(client: &Client) -> Duration {
    let request = Request::Runs {
        limit: SHOWN,
        after: None,
    };
    ask(client, request).await
}

async fn ask(client: &Client, request: Request) -> Duration {
    let begun = Instant::now();
    // That there is no such run is an answer.
    let _ = client.ask(request).await;
    begun.elapsed()
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{what:<40} median {:7.1} ms, 95 of 100 {:7.1} ms, longest {:7.1} ms",
        at(50),
        at(95),
        at(100)
    );
}

/// With the half-width of its interval.
fn mean(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, STUDENT * (variance / count).sqrt())
}
