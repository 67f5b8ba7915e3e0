//! A host with its bots, as a process of its own, from a configuration file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::package::run;

/// How long anything in a pipeline may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A pipeline in a directory of its own.
pub struct Farm {
    pub directory: tempfile::TempDir,
    pub packages_key: String,
    pub repository_key: String,
    port: u16,
    program: PathBuf,
    host: Option<Child>,
    bots: String,
}

impl Farm {
    /// Keys and a port, no bots yet.
    pub fn new() -> Self {
        Self::of(Path::new(env!("CARGO_BIN_EXE_foundry-host")))
    }

    /// The same, of another build of the program.
    pub fn of(program: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("foundry-pipeline-").tempdir().unwrap();
        let mut farm = Self {
            directory,
            packages_key: String::new(),
            repository_key: String::new(),
            port: free_port(),
            program: program.to_owned(),
            host: None,
            bots: String::new(),
        };
        farm.packages_key = farm.key("packages");
        farm.repository_key = farm.key("repository");
        farm
    }

    /// Make a key; returns its fingerprint.
    pub fn key(&self, role: &str) -> String {
        let user = format!("Test {role} <{role}@example.org>");
        run(self
            .foundry()
            .args(["key", "generate", "--role", role, "--user-id", &user]));
        let keys = json(self.foundry().args(["key", "list", "--json"]));
        let has_role = |key: &&Value| key["roles"].as_array().unwrap().iter().any(|r| r == role);
        let key = keys.as_array().unwrap().iter().find(has_role).unwrap();
        key["fingerprint"].as_str().unwrap().to_owned()
    }

    /// Add a bot to the configuration: its name, and the rest of its table.
    pub fn bot(mut self, name: &str, table: &str) -> Self {
        write!(self.bots, "\n[bots.{name}]\n{table}\n").unwrap();
        self
    }

    /// Add another table to the configuration.
    pub fn table(mut self, table: &str) -> Self {
        write!(self.bots, "\n{table}\n").unwrap();
        self
    }

    /// A watchbot for repositories.
    pub fn watchbot(self, repositories: &[String]) -> Self {
        self.bot(
            "watchbot",
            &format!("use = \"watchbot\"\nrepository = {repositories:?}\ninterval = \"1s\""),
        )
    }

    /// The usual rest of a pipeline: one bot each, branches mapped to codenames.
    pub fn rest(self, codenames: &[&str]) -> Self {
        self.bot("buildbot", "use = \"buildbot\"\nallow-unsigned = true")
            .sign_and_dist(codenames)
    }

    /// signbot and distbot.
    pub fn sign_and_dist(self, codenames: &[&str]) -> Self {
        let sign = format!("use = \"signbot\"\ngpg-key = \"{}\"", self.packages_key);
        let dist = format!(
            "use = \"distbot\"\nname = \"test\"\ndescription = \"Packages for tests\"\noutput = \"{}\"\n\
             arch = [\"{}\"]\ncodename = {codenames:?}\ngpg-key = \"{}\"",
            self.repository().display(),
            architecture(),
            self.repository_key
        );
        self.bot("signbot", &sign).bot("distbot", &dist)
    }

    /// Write the configuration and start the host; returns when all bots run.
    pub fn start(&mut self) {
        let config = format!(
            "[host]\nname = \"farm\"\nstate = \"{}\"\n\n[broker]\nlisten = \"127.0.0.1:{}\"\n{}",
            self.state().display(),
            self.port,
            self.bots
        );
        let file = self.directory.path().join("foundry.toml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .unwrap();
        let host = self
            .foundry()
            .args(["run", "-c", file.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.host = Some(host);
        let bots = self.bots.matches("[bots.").count();
        self.eventually("all bots run", |farm| {
            let output = farm.foundry().args(["list", "--json"]).output().unwrap();
            let listed: Value = serde_json::from_slice(&output.stdout).ok()?;
            let running = listed
                .as_array()?
                .iter()
                .filter(|bot| bot["status"] == "running")
                .count();
            (running == bots).then_some(())
        });
    }

    /// End the host as a power cut would.
    pub fn kill(&mut self) {
        let mut host = self.host.take().unwrap();
        host.kill().unwrap();
        host.wait().unwrap();
    }

    /// The command line, for this farm's state.
    pub fn foundry(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("FOUNDRY_STATE", self.state())
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG");
        command
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The APT repository.
    pub fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// All runs, newest first.
    pub fn runs(&self) -> Vec<Value> {
        json(self.foundry().args(["runs", "--json"]))
            .as_array()
            .unwrap()
            .clone()
    }

    /// Events of a type, of all runs.
    pub fn events(&self, event_type: &str) -> Vec<Value> {
        let runs = self.runs();
        let events = runs.iter().flat_map(|run| run["events"].as_array().unwrap());
        events.filter(|event| event["type"] == event_type).cloned().collect()
    }

    /// Wait for an event about a commit.
    pub fn await_event(&self, event_type: &str, commit: &str) -> Value {
        self.eventually(&format!("{event_type} of {commit}"), |farm| {
            farm.events(event_type)
                .into_iter()
                .find(|event| event["data"]["ref"] == commit)
        })
    }

    /// Ask again and again until there is an answer.
    pub fn eventually<T>(&self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            if start.elapsed() > PATIENCE {
                panic!("never happened: {what}; the host said:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the host printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("host.log")
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        if let Some(host) = &mut self.host {
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}

/// Run a command that prints JSON.
pub fn json(command: &mut Command) -> Value {
    serde_json::from_str(&run(command)).unwrap()
}

pub fn architecture() -> String {
    run(Command::new("dpkg").arg("--print-architecture"))
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
