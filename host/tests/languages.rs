//! What every SDK's bots must be able to do, and what no bot may: the same orders for a bot in each language.
//!
//! The bots are built by `foundry_host::toolkit` with the tools that `scripts/language-tools` installs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

#[path = "support/conformer.rs"]
mod conformer;
#[path = "languages/describing.rs"]
mod describing;
#[path = "languages/hostile.rs"]
mod hostile;
#[path = "languages/ordinary.rs"]
mod ordinary;
#[path = "languages/python_base.rs"]
mod python_base;
#[path = "languages/released.rs"]
mod released;
mod support;
#[path = "languages/wasi.rs"]
mod wasi;
#[path = "languages/worker.rs"]
mod worker;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use foundry_host::capability::Level;
use foundry_host::capability::tape::Tape;
use foundry_host::runtime::{Fault, wasi_offer};
use foundry_host::supervisor::{
    BotSource, BotSpec, Inspector, LoadFailure, Outside, Trial, TrialError, TrialEvent, TrialOutcome, TrialReport,
};
use foundry_host::toolkit::Language;
use serde_json::{Value, json};

/// A bot in one language, compiled.
struct Subject {
    inspector: Inspector,
    component: PathBuf,
    directory: tempfile::TempDir,
}

impl Subject {
    fn of(language: Language) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let component = conformer::component(language, &directory.path().join("conformer"));
        Self {
            inspector: Inspector::new(directory.path().join("compiled")).unwrap(),
            component,
            directory,
        }
    }

    fn spec(&self) -> BotSpec {
        self.allowed("https://granted.example/*")
    }

    /// With a right to ask some URLs.
    fn allowed(&self, urls: &str) -> BotSpec {
        let mut spec = BotSpec::new(BotSource::File(self.component.clone()));
        spec.grants.http.push(urls.parse().unwrap());
        spec.grants.mail.push("*@granted.example".parse().unwrap());
        spec
    }

    async fn trial(&self) -> Trial {
        Trial::load(&self.inspector, &self.spec()).await.unwrap()
    }

    async fn order(&self, what: &str) -> TrialReport {
        self.trial().await.handle(order(what)).await.unwrap()
    }

    /// The same in a recorded world.
    async fn order_in(&self, world: Value, what: &str) -> TrialReport {
        let tape = ordinary::tape(world);
        let trial = Trial::load_in(&self.inspector, &self.spec(), tape, Outside::default())
            .await
            .unwrap();
        trial.handle(order(what)).await.unwrap()
    }
}

fn order(what: &str) -> TrialEvent {
    event(json!({ "do": what, "text": "\u{1f980} ünïcödé \"quoted\" \\ \n" }))
}

fn event(data: Value) -> TrialEvent {
    TrialEvent {
        event_type: "test.order.v1".to_owned(),
        topic: None,
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        subject: None,
        data: serde_json::from_value(data).unwrap(),
        attempt: 3,
    }
}

/// All that an SDK promises.
async fn conforms(language: Language) {
    let subject = Subject::of(language);
    describes_itself(&subject).await;
    sees_its_message_and_options(&subject).await;
    publishes_and_keeps_state(&subject).await;
    logs(&subject).await;
    ordinary::instincts_are_right(language, &subject).await;
    has_no_effect_unless_done(&subject).await;
    is_held_to_its_rights_and_limits(&subject).await;
    asks_only_what_is_granted(&subject).await;
    sends_mail_only_as_granted(&subject).await;
    released::is_loaded(language, &subject.inspector).await;
    hostile::harms_nobody(
        &subject.component,
        &ordinary::place_of_failure(language),
        subject.directory,
    )
    .await;
}

async fn describes_itself(subject: &Subject) {
    let (component, description) = subject.inspector.inspect(&subject.spec().source).await.unwrap();
    assert_eq!(description.name, "conformer");
    assert_eq!(description.version, "1.2.3");
    assert_eq!(description.summary, "does as it is told");
    assert_eq!(description.message_timeout, Some(77));
    let options: Vec<_> = description.options.iter().map(|option| option.name.as_str()).collect();
    assert_eq!(options, ["text", "many", "flag", "interval"]);
    assert_eq!(description.options[0].default.as_deref(), Some("default"));
    assert!(description.options[1].repeatable);
    let input = &description.inputs[0];
    assert_eq!(
        (input.option.as_str(), input.topic.as_str(), input.endpoint.as_str()),
        ("watch", "orders", "conformer")
    );
    assert_eq!(description.outputs[0].topic, "answers");
    assert_eq!(description.timers[0].name, "beat");
    // Nothing that would have to be granted but http and mail.
    for import in &component.imports {
        assert!(
            import.starts_with("foundry:bot/") || wasi_offer(import).is_some(),
            "it imports {import}"
        );
    }
}

async fn sees_its_message_and_options(subject: &Subject) {
    let report = subject.order("message").await;
    let expected = json!({
        "id": "0123456789abcdef0123456789abcdef", "topic": "orders", "type": "test.order.v1", "source": "test/tester",
        "subject": null, "run": "0123456789ab", "attempt": 3,
    });
    assert_eq!(Value::Object(report.published[0].data.clone()), expected);

    let report = subject.order("options").await;
    let expected = json!({ "text": "default", "many": [], "flag": false });
    assert_eq!(Value::Object(report.published[0].data.clone()), expected);

    let spec = subject
        .spec()
        .option("text", "t")
        .option("many", "1")
        .option("many", "2")
        .option("flag", "true");
    let trial = Trial::load(&subject.inspector, &spec).await.unwrap();
    let report = trial.handle(order("options")).await.unwrap();
    let expected = json!({ "text": "t", "many": ["1", "2"], "flag": true });
    assert_eq!(Value::Object(report.published[0].data.clone()), expected);

    let spec = subject.spec().option("text", "unacceptable");
    match Trial::load(&subject.inspector, &spec).await.err() {
        Some(TrialError::Load(LoadFailure::Refused { why, .. })) => assert_eq!(why, "that text is unacceptable"),
        other => panic!("{other:?}"),
    }
}

async fn publishes_and_keeps_state(subject: &Subject) {
    let report = subject.order("echo").await;
    assert_eq!(report.outcome, TrialOutcome::Done);
    let event = &report.published[0];
    assert_eq!(event.data["text"], "\u{1f980} ünïcödé \"quoted\" \\ \n");
    assert_eq!(
        (event.topic.as_str(), event.event_type.as_str()),
        ("answers", "test.answer.v1")
    );
    assert_eq!(event.subject.as_deref(), Some("an answer"));
    // The same attempt gives the same id.
    assert_eq!(event.id, subject.order("echo").await.published[0].id);

    let trial = subject.trial().await;
    let first = trial.handle(order("state")).await.unwrap();
    assert_eq!(first.outcome, TrialOutcome::Done);
    assert_eq!(
        Value::Object(first.published[0].data.clone()),
        json!({ "before": "", "none": true })
    );
    let kept: Vec<_> = first
        .state
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()))
        .collect();
    assert_eq!(kept, [("bytes", &[0, 255, 0][..]), ("text", "ünïcödé".as_bytes())]);
    let second = trial.handle(order("state")).await.unwrap();
    assert_eq!(second.published[0].data["before"], "ünïcödé");

    let ticked = trial.tick("beat").await.unwrap();
    assert_eq!(
        Value::Object(ticked.published[0].data.clone()),
        json!({ "timer": "beat" })
    );
}

async fn logs(subject: &Subject) {
    let report = subject.order("log").await;
    let lines: Vec<_> = report.log.iter().map(|line| (line.level, line.line.as_str())).collect();
    let expected = [
        (Level::Trace, "a trace"),
        (Level::Debug, "a debug"),
        (Level::Info, "an info"),
        (Level::Warn, "a warning: ünïcödé"),
        (Level::Error, "an error"),
    ];
    assert_eq!(lines, expected);
}

async fn has_no_effect_unless_done(subject: &Subject) {
    let retry = TrialOutcome::Retry {
        after: Duration::from_millis(1500),
        why: "not yet".to_owned(),
    };
    for (what, outcome) in [
        ("write, then retry", retry),
        ("write, then reject", TrialOutcome::Reject("never".to_owned())),
    ] {
        let report = subject.order(what).await;
        assert_eq!(report.outcome, outcome);
        assert!(report.published.is_empty() && report.state.is_empty(), "{report:?}");
    }
    let report = subject.order("write, then fail").await;
    assert!(
        matches!(report.outcome, TrialOutcome::Fault(Fault::Trap(_))),
        "{:?}",
        report.outcome
    );
    assert!(report.published.is_empty() && report.state.is_empty(), "{report:?}");
    let error = report
        .log
        .iter()
        .find(|line| line.line.contains("told to fail"))
        .unwrap();
    assert_eq!(error.level, Level::Error);
}

/// A server that goes on until the test ends: an answer below `/granted/`, a redirect out of there, and what it leads to.
fn server() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let mut request = BufReader::new(connection.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && request.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let (status, more, body) = match head.split(' ').nth(1) {
                Some("/granted/redirect") => ("302 Found", "location: /forbidden\r\n", ""),
                _ => ("200 OK", "", "ünïcödé"),
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    address
}

async fn asks_only_what_is_granted(subject: &Subject) {
    let server = server();
    let ask = async |granted: &str, url: &str| {
        let trial = Trial::load(&subject.inspector, &subject.allowed(granted))
            .await
            .unwrap();
        trial.handle(event(json!({ "do": "ask", "text": url }))).await.unwrap()
    };
    let granted = format!("http://{server}/granted/*");
    let report = ask(&granted, &format!("http://{server}/granted/x")).await;
    assert_eq!(report.outcome, TrialOutcome::Done);
    assert_eq!(
        Value::Object(report.published[0].data.clone()),
        json!({ "status": 200, "text": "ünïcödé" })
    );
    for (granted, url) in [
        (&*granted, "https://elsewhere.example/".to_owned()),
        (&*granted, format!("http://{server}/forbidden")),
        (&*granted, format!("http://{server}/granted/redirect")),
        // A pattern that fits, but doesn't name this machine.
        (
            &*format!("http://*:{}/*", server.port()),
            format!("http://{server}/granted/x"),
        ),
    ] {
        match ask(granted, &url).await.outcome {
            TrialOutcome::Reject(why) => assert!(why.starts_with("not granted: "), "{url}: {why}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}

async fn sends_mail_only_as_granted(subject: &Subject) {
    let mail = json!({ "to": ["jo@granted.example"], "subject": "a subject", "text": "ünïcödé" });
    let world = json!({ "mails": [
        { "asked": mail, "answer": "250 taken" },
        { "asked": mail, "error": { "try-later": "451 busy" } },
        { "asked": mail, "error": { "refused-address": ["jo@granted.example", "550 gone"] } },
        { "asked": mail, "error": { "refused": "554 spam" } },
    ] });
    let tape = Tape::playing(serde_json::from_value(world).unwrap());
    let trial = Trial::load_in(&subject.inspector, &subject.spec(), tape, Outside::default())
        .await
        .unwrap();
    let send = async |to: &str| trial.handle(event(json!({ "do": "mail", "text": to }))).await.unwrap();
    let report = send("jo@granted.example").await;
    assert_eq!(report.outcome, TrialOutcome::Done);
    let id = report.published[0].data["id"].as_str().unwrap();
    assert!(id.starts_with('<') && id.ends_with("@localhost>"), "{id}");
    let later = TrialOutcome::Retry {
        after: Duration::from_millis(1500),
        why: "the server refuses the mail for now: 451 busy".to_owned(),
    };
    assert_eq!(send("jo@granted.example").await.outcome, later);
    for (to, why) in [
        ("jo@granted.example", "the server refuses jo@granted.example: 550 gone"),
        ("jo@granted.example", "the server refuses the mail: 554 spam"),
        ("jo@elsewhere.example", "not granted: jo@elsewhere.example"),
    ] {
        assert_eq!(send(to).await.outcome, TrialOutcome::Reject(why.to_owned()));
    }
}

async fn is_held_to_its_rights_and_limits(subject: &Subject) {
    let rejected = async |what: &str| match subject.order(what).await.outcome {
        TrialOutcome::Reject(why) => why,
        other => panic!("{what}: {other:?}"),
    };
    assert_eq!(rejected("other topic").await, "may not publish to builds");
    assert!(rejected("big state").await.contains("would become larger than"));
    assert_eq!(rejected("dance").await, "don't know how to dance");

    let report = subject.order("flood").await;
    assert_eq!(report.outcome, TrialOutcome::Done);
    assert!(report.log.len() <= 10_000, "{} lines", report.log.len());
    assert!(report.log.last().unwrap().line.contains("too many log lines"));

    let spec = BotSpec {
        timeout: Some(Duration::from_secs(2)),
        memory: Some(128 * 1024 * 1024),
        ..subject.spec()
    };
    let confined = Trial::load(&subject.inspector, &spec).await.unwrap();
    let fault = async |what: &str| match confined.handle(order(what)).await.unwrap().outcome {
        TrialOutcome::Fault(fault) => fault,
        other => panic!("{what}: {other:?}"),
    };
    assert_eq!(fault("loop").await, Fault::TimedOut(Duration::from_secs(2)));
    assert_eq!(fault("memory").await, Fault::Memory(128 * 1024 * 1024));
    assert!(matches!(fault("recurse").await, Fault::Trap(_) | Fault::Memory(_)));
    // And after all that it still works.
    assert_eq!(
        confined.handle(order("echo")).await.unwrap().outcome,
        TrialOutcome::Done
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_bot_conforms() {
    conforms(Language::Rust).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_bot_conforms() {
    conforms(Language::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_javascript_bot_conforms() {
    conforms(Language::Javascript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_c_bot_conforms() {
    conforms(Language::C).await;
}
