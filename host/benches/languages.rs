//! What a bot costs in each language: its size, its build, its load, and one message; cold and warm told apart.
//!
//! Run with `benches/run languages`, or with the names of some as arguments. Prints the table of docs/writing-bots.md;
//! nothing here passes or fails. The bots are those that `foundry-host new` makes, built by `foundry-host build`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement stops where it fails"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use foundry_host::supervisor::{BotSource, BotSpec, Inspector, Trial, TrialEvent, TrialOutcome};
use foundry_host::toolkit::Language;
use serde_json::Value;

const LANGUAGES: [Language; 5] = [
    Language::Rust,
    Language::C,
    Language::Javascript,
    Language::Typescript,
    Language::Python,
];

/// Messages whose median is printed.
const MESSAGES: usize = 201;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts");

#[tokio::main]
async fn main() {
    println!(
        "| language | component | first build | next build | first load | load after a change | load again | one message |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    // Cargo has an argument of its own.
    let some: Vec<_> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    for language in LANGUAGES {
        if !some.is_empty() && !some.iter().any(|name| name == language.name()) {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let bot = Bot::new(language, directory.path());
        let compiled = directory.path().join("compiled");
        let first_build = bot.build();
        let size = std::fs::metadata(&bot.component).unwrap().len();
        let first_load = load(&bot.component, &compiled).await;
        bot.change();
        let next_build = bot.build();
        let changed_load = load(&bot.component, &compiled).await;
        let known_load = load(&bot.component, &compiled).await;
        let message = message(&bot, &compiled).await;
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            bot.language,
            human_size(size),
            human(first_build),
            human(next_build),
            human(first_load),
            human(changed_load),
            human(known_load),
            human(message),
        );
    }
}

/// A project with a bot.
struct Bot {
    language: &'static str,
    project: PathBuf,
    component: PathBuf,
    tools: String,
    rustc: String,
}

impl Bot {
    fn new(language: Language, directory: &Path) -> Self {
        let tools = match language {
            Language::Rust => String::new(),
            Language::Typescript => script("language-tools", &["javascript"]),
            other => script("language-tools", &[other.name()]),
        };
        let project = directory.join("greeter");
        let bot = Self {
            language: language.name(),
            component: project.join("build/greeter.wasm"),
            project,
            tools,
            rustc: script("guest-toolchain", &[]),
        };
        let made = foundry_host(&["new", "--lang", bot.language, "greeter"])
            .current_dir(directory)
            .output();
        succeeded(&made.unwrap());
        bot
    }

    /// As its author builds it.
    fn build(&self) -> Duration {
        let mut command = foundry_host(&["build"]);
        command
            .current_dir(&self.project)
            // Not the host's: what a build compiled would make the first load a warm one.
            .env("FOUNDRY_STATE", self.project.join("../author"))
            .env("FOUNDRY_TOOLS", &self.tools)
            .env("RUSTC", &self.rustc);
        // What the cargo around this says is about other crates.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO") && name != "CARGO_HOME") {
            command.env_remove(name);
        }
        let start = Instant::now();
        succeeded(&command.output().unwrap());
        start.elapsed()
    }

    /// A change that every author makes: another version.
    fn change(&self) {
        for name in ["Cargo.toml", "bot.py", "bot.js", "bot.ts", "bot.c"] {
            let file = self.project.join(name);
            if let Ok(text) = std::fs::read_to_string(&file) {
                let changed = text.replacen("0.1.0", "0.2.0", 1);
                assert_ne!(text, changed, "{name} has no version");
                std::fs::write(&file, changed).unwrap();
            }
        }
    }

    /// The commit that a new project is tested with.
    fn event(&self) -> TrialEvent {
        let text = std::fs::read_to_string(self.project.join("commit.json")).unwrap();
        let event: Value = serde_json::from_str(&text).unwrap();
        TrialEvent {
            event_type: event["type"].as_str().unwrap().to_owned(),
            topic: None,
            id: "0123456789abcdef".to_owned(),
            subject: None,
            data: event["data"].as_object().unwrap().clone(),
            attempt: 0,
        }
    }
}

fn foundry_host(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foundry-host"));
    command.args(arguments);
    command
}

fn script(name: &str, arguments: &[&str]) -> String {
    let ended = Command::new(Path::new(SCRIPTS).join(name))
        .args(arguments)
        .output()
        .unwrap();
    succeeded(&ended)
}

fn succeeded(ended: &std::process::Output) -> String {
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).trim().to_owned()
}

/// How long it takes to have a component ready and to ask it what it is, by a host that knows what is on the disk.
async fn load(component: &Path, compiled: &Path) -> Duration {
    let inspector = Inspector::new(compiled).unwrap();
    let start = Instant::now();
    inspector.inspect(&BotSource::File(component.to_owned())).await.unwrap();
    start.elapsed()
}

/// A commit that is greeted and counted: each in a fresh instance.
async fn message(bot: &Bot, compiled: &Path) -> Duration {
    let inspector = Inspector::new(compiled).unwrap();
    let spec = BotSpec::new(BotSource::File(bot.component.clone()));
    let trial = Trial::load(&inspector, &spec).await.unwrap();
    let event = bot.event();
    let mut times = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        let report = trial.handle(event.clone()).await.unwrap();
        assert_eq!(report.outcome, TrialOutcome::Done);
        times.push(report.took);
    }
    times.sort_unstable();
    times[MESSAGES / 2]
}

fn human_size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn human(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0..0.001 => format!("{:.0} µs", seconds * 1e6),
        0.001..0.1 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}
