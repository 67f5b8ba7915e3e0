//! Run a built bot in a world of its own, from `cargo test`.
//!
//! Runs the program `foundry-host test`: the one that `FOUNDRY_HOST` names, or that is in `PATH`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;

/// A bot, and what happens to it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Trial {
    component: PathBuf,
    arguments: Vec<String>,
    options: Vec<String>,
    event: Option<String>,
    state: BTreeMap<String, String>,
}

/// What became of a message.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    /// `done`, `retry`, `reject` or `fault`.
    pub outcome: String,
    /// The reason, unless it is done.
    pub why: Option<String>,
    /// Events, in the order of their sending.
    pub published: Vec<Published>,
    /// The bot's whole state afterwards; what is no text is in base64, after `base64:`.
    pub state: BTreeMap<String, String>,
    /// What it logged.
    pub log: Vec<Line>,
}

/// An event that would have been published.
#[derive(Debug, Clone, Deserialize)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Topic without prefix.
    pub topic: String,
    /// CloudEvents type.
    pub r#type: String,
    /// What it is about.
    pub subject: Option<String>,
    /// Data.
    pub data: serde_json::Value,
}

/// A line of the log.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// Text.
    pub line: String,
}

impl Trial {
    /// Of a component's file.
    pub fn of(component: impl AsRef<Path>) -> Self {
        Self {
            component: component.as_ref().to_owned(),
            arguments: Vec::new(),
            options: Vec::new(),
            event: None,
            state: BTreeMap::new(),
        }
    }

    /// It handles the event in a file.
    pub fn event_file(self, path: &str) -> Self {
        self.argument("--event").argument(path)
    }

    /// It handles an event of a type, with this data.
    pub fn event(mut self, event_type: &str, data: &serde_json::Value) -> Self {
        self.event = Some(serde_json::json!({ "type": event_type, "data": data }).to_string());
        self
    }

    /// A timer of it goes off.
    pub fn tick(self, timer: &str) -> Self {
        self.argument("--tick").argument(timer)
    }

    /// It has this in its state from earlier.
    pub fn state(mut self, key: &str, value: &str) -> Self {
        self.state.insert(key.to_owned(), value.to_owned());
        self
    }

    /// It is loaded with this option.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push(format!("--{name}={value}"));
        self
    }

    /// The event has been attempted before.
    pub fn attempt(self, attempt: u32) -> Self {
        self.argument("--attempt").argument(&attempt.to_string())
    }

    /// Git, builds and HTTP answer what this file has recorded: see `foundry-host test --record`.
    pub fn world(self, file: &str) -> Self {
        self.argument("--world").argument(file)
    }

    /// One more argument of `foundry-host test`, such as `--allow-artifacts`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Run it.
    ///
    /// # Panics
    /// If there is no `foundry-host`, or if it can't load the bot: the test can't go on.
    #[must_use]
    #[expect(clippy::panic, reason = "this is for tests, which fail where they panic")]
    pub fn run(self) -> Report {
        let program = std::env::var_os("FOUNDRY_HOST").unwrap_or_else(|| "foundry-host".into());
        let mut command = Command::new(&program);
        command.args(["test", "--json"]).args(&self.arguments);
        let mut scratch = Vec::new();
        if let Some(event) = &self.event {
            scratch.push(write(event));
            command.arg("--event").args(scratch.last());
        }
        if !self.state.is_empty() {
            scratch.push(write(&serde_json::to_string(&self.state).unwrap_or_default()));
            command.arg("--with-state").args(scratch.last());
        }
        command.arg(&self.component).args(&self.options);
        let ended = command.output();
        for file in scratch {
            let _ = std::fs::remove_file(file);
        }
        match ended {
            Err(error) => panic!("cannot run {}: {error}", program.display()),
            Ok(ended) => serde_json::from_slice(&ended.stdout)
                .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&ended.stderr))),
        }
    }
}

/// A file of this process's own with a text in it.
#[expect(clippy::panic, reason = "this is for tests, which fail where they panic")]
fn write(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("foundry-test-{}-{number}.json", std::process::id()));
    match std::fs::write(&path, text) {
        Ok(()) => path,
        Err(error) => panic!("cannot write {}: {error}", path.display()),
    }
}
