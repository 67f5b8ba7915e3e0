//! What an author does without reading a page first: the language's own print, clock and randomness, files, and errors that
//! nobody catches.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foundry_host::capability::Level;
use foundry_host::runtime::Fault;
use foundry_host::supervisor::{TrialOutcome, TrialReport};
use foundry_host::toolkit::Language;
use serde_json::{Value, json};

use super::conformer::REPOSITORY;
use super::{Subject, event, order};

/// Lines and bytes that one call may write into its log.
const LINES: usize = 10_000;
const BYTES: usize = 4 * 1024 * 1024;

/// All of it, as far as the language has it.
pub async fn instincts_are_right(language: Language, subject: &Subject) {
    prints(language, subject).await;
    prints_too_much(subject).await;
    sees_the_hosts_clock(language, subject).await;
    draws_numbers(language, subject).await;
    finds_no_files(language, subject).await;
    fails_with_its_place(language, subject).await;
}

fn lines(report: &TrialReport) -> Vec<(Level, &str)> {
    report.log.iter().map(|line| (line.level, line.line.as_str())).collect()
}

async fn prints(language: Language, subject: &Subject) {
    let report = subject.order("print").await;
    assert_eq!(report.outcome, TrialOutcome::Done);
    let expected = [
        (Level::Info, "printed: ünïcödé"),
        (Level::Warn, "a warning"),
        (Level::Info, "no end"),
    ];
    assert_eq!(lines(&report), expected, "{language:?}");

    // Rust's strings are UTF-8, and its bots print through the SDK.
    if language != Language::Rust {
        let report = subject.order("print badly").await;
        assert_eq!(report.outcome, TrialOutcome::Done);
        assert_eq!(lines(&report), [(Level::Info, "\u{fffd} café \u{1b}[31m")]);
    }
}

/// 100 MB, of which a bounded part is kept, and one line that says so.
async fn prints_too_much(subject: &Subject) {
    let report = subject.order("print 100 MB").await;
    assert_eq!(report.outcome, TrialOutcome::Done);
    let bytes: usize = report.log.iter().map(|line| line.line.len()).sum();
    assert!(
        report.log.len() <= LINES && bytes <= BYTES + 200,
        "{} lines, {bytes} bytes",
        report.log.len()
    );
    let last = report.log.last().unwrap();
    assert!(last.line.starts_with("too many log lines"), "{last:?}");
    let said = report.log.iter().filter(|line| line.line.starts_with("too many"));
    assert_eq!(said.count(), 1);
}

async fn sees_the_hosts_clock(language: Language, subject: &Subject) {
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let report = subject.order("clock").await;
    let data = &report.published[0].data;
    let seconds = |name: &str| data[name].as_f64().unwrap();
    let apart = (seconds("now") - begun.as_secs_f64()).abs();
    assert!(apart < 300.0, "{language:?}: {data:?}");
    assert!((seconds("now") - seconds("host")).abs() < 300.0, "{data:?}");
    // Where the language can sleep, it did so for as long as it was told.
    if matches!(language, Language::Python | Language::C) {
        assert!(seconds("slept") >= 0.05, "{data:?}");
    }

    // A recorded clock is the one that every way to ask for the time shows.
    let world = json!({ "clock": ["2001-02-03T04:05:06.5Z"] });
    let report = subject.order_in(world, "clock").await;
    let data = &report.published[0].data;
    assert_eq!(data["host"], json!(981_173_106.5), "{data:?}");
    assert_eq!(data["now"], json!(981_173_106.5), "{data:?}");
}

async fn draws_numbers(language: Language, subject: &Subject) {
    let drawn = async |id: &str| {
        let mut event = order("random");
        event.id = id.to_owned();
        let report = subject.trial().await.handle(event).await.unwrap();
        assert_eq!(report.outcome, TrialOutcome::Done, "{:?}", report.log);
        report.published[0].data["numbers"].as_array().unwrap().clone()
    };
    let (first, other) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let numbers = drawn(first).await;
    assert_eq!(numbers, drawn(first).await, "a repeated attempt repeats them");
    let others = drawn(other).await;
    // Rust for this target has no randomness at all.
    assert_eq!(numbers.is_empty(), language == Language::Rust);
    for number in &numbers {
        assert!(!others.contains(number), "{language:?}: {number} in two messages");
    }
    for (at, number) in numbers.iter().enumerate() {
        assert!(!numbers[..at].contains(number), "{language:?}: {number} twice");
    }
}

/// Refused with the language's own error; the bot goes on.
async fn finds_no_files(language: Language, subject: &Subject) {
    if language == Language::Javascript {
        // It has no way to ask for one.
        return;
    }
    let report = subject.order("files").await;
    assert_eq!(report.outcome, TrialOutcome::Done, "{:?}", report.log);
    let data = &report.published[0].data;
    for what in ["read", "write"] {
        let error = data[what].as_str().unwrap();
        assert!(!error.is_empty() && error != "none", "{language:?}: {data:?}");
    }
}

async fn fails_with_its_place(language: Language, subject: &Subject) {
    let place = place_of_failure(language);
    let report = subject.order("write, then fail").await;
    match &report.outcome {
        TrialOutcome::Fault(Fault::Trap(text)) => assert!(
            text.contains(&place) && text.contains("told to fail") && !text.contains("unreachable"),
            "{text} has no {place}"
        ),
        other => panic!("{other:?}"),
    }
    if language == Language::C {
        match subject.order("assert").await.outcome {
            TrialOutcome::Fault(Fault::Trap(text)) => {
                let expected = format!("bot.c:{}: Assertion failed: ", line_of(&source(language), "assert(!"));
                assert!(text.starts_with(&expected), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    if matches!(language, Language::C | Language::Python) {
        match subject.order("exit").await.outcome {
            TrialOutcome::Fault(Fault::Exit { why }) => {
                assert_eq!(why.as_deref(), Some("leaving"), "{language:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    // What it waits for ends with its time.
    if matches!(language, Language::C | Language::Python) {
        let spec = foundry_host::supervisor::BotSpec {
            timeout: Some(Duration::from_secs(1)),
            ..subject.spec()
        };
        let trial = foundry_host::supervisor::Trial::load(&subject.inspector, &spec)
            .await
            .unwrap();
        let report = trial.handle(event(json!({ "do": "sleep" }))).await.unwrap();
        assert_eq!(
            report.outcome,
            TrialOutcome::Fault(Fault::TimedOut(Duration::from_secs(1)))
        );
        assert_eq!(lines(&report), [(Level::Info, "going to sleep")]);
    }
}

/// Where the conformer fails when it is told to: its file as the author knows it, and the line.
pub fn place_of_failure(language: Language) -> String {
    let line = line_of(&source(language), "told to");
    match language {
        Language::Rust => format!("src/lib.rs:{line}:"),
        Language::Python => format!("bot.py:{line}: RuntimeError: "),
        Language::Javascript | Language::Typescript => format!("bot.js:{line}: Error: "),
        Language::C => format!("bot.c:{line}: "),
    }
}

fn source(language: Language) -> String {
    let file = match language {
        Language::Rust => "tests/guests/conformer/src/lib.rs",
        Language::Python => "tests/languages/conformance/python/bot.py",
        Language::Javascript | Language::Typescript => "tests/languages/conformance/javascript/bot.js",
        Language::C => "tests/languages/conformance/c/bot.c",
    };
    std::fs::read_to_string(Path::new(REPOSITORY).join(file)).unwrap()
}

fn line_of(source: &str, text: &str) -> usize {
    1 + source.lines().position(|line| line.contains(text)).unwrap()
}

/// A world as a file has it.
pub fn tape(world: Value) -> foundry_host::capability::tape::Tape {
    foundry_host::capability::tape::Tape::playing(serde_json::from_value(world).unwrap())
}
