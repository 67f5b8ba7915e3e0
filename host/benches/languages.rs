//! What a bot costs in each language: size, build, compilation, load, and one message.
//!
//! Run with `make bench`. Prints a table; nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement stops where it fails"
)]

#[path = "../tests/support/conformer.rs"]
mod conformer;

use std::path::Path;
use std::time::{Duration, Instant};

use foundry_host::supervisor::{BotSource, BotSpec, Inspector, Trial, TrialEvent, TrialOutcome};
use foundry_host::toolkit::Language;
use serde_json::json;

const LANGUAGES: [Language; 4] = [Language::Rust, Language::C, Language::Javascript, Language::Python];

/// Messages whose mean is printed.
const MESSAGES: u32 = 200;

#[tokio::main]
async fn main() {
    println!("| language | component | first compilation | load of a known one | one message |");
    println!("|---|---|---|---|---|");
    for language in LANGUAGES {
        let directory = tempfile::tempdir().unwrap();
        let component = conformer::component(language, &directory.path().join("conformer"));
        let compiled = directory.path().join("compiled");
        let compile = inspect(&component, &compiled).await;
        // Another engine: all that it can know is on the disk.
        let load = inspect(&component, &compiled).await;
        let message = message(&component, &compiled).await;
        let size = std::fs::metadata(&component).unwrap().len();
        println!(
            "| {} | {} | {compile:.1?} | {load:.1?} | {message:.1?} |",
            language.name(),
            human(size)
        );
    }
}

/// How long it takes to learn what a component is.
async fn inspect(component: &Path, compiled: &Path) -> Duration {
    let inspector = Inspector::new(compiled).unwrap();
    let start = Instant::now();
    inspector.inspect(&BotSource::File(component.to_owned())).await.unwrap();
    start.elapsed()
}

/// A message that is read, answered with an event, and done: each in a fresh instance.
async fn message(component: &Path, compiled: &Path) -> Duration {
    let inspector = Inspector::new(compiled).unwrap();
    let mut spec = BotSpec::new(BotSource::File(component.to_owned()));
    spec.grants.http.push("https://granted.example/*".parse().unwrap());
    let trial = Trial::load(&inspector, &spec).await.unwrap();
    let event = TrialEvent {
        event_type: "test.order.v1".to_owned(),
        topic: None,
        id: "0123456789abcdef".to_owned(),
        subject: None,
        data: serde_json::from_value(json!({ "do": "echo", "text": "hello" })).unwrap(),
        attempt: 0,
    };
    let mut took = Duration::ZERO;
    for _ in 0..MESSAGES {
        let report = trial.handle(event.clone()).await.unwrap();
        assert_eq!(report.outcome, TrialOutcome::Done);
        took += report.took;
    }
    took / MESSAGES
}

fn human(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
