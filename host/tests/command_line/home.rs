//! A user with a home directory, and what they run in it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What the user waits for at most. Tests run beside builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A home directory. Hosts that were started in it end with it.
pub struct Home {
    directory: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Home {
    /// With a configuration by which hosts in the background take any free port.
    pub fn new() -> Self {
        let home = Self::bare();
        // Whatever the shell that runs the tests allows.
        std::fs::DirBuilder::new().mode(0o700).create(home.state()).unwrap();
        std::fs::write(
            home.state().join("foundry.toml"),
            "[host]\nname = \"here\"\n[broker]\nlisten = \"127.0.0.1:0\"\n",
        )
        .unwrap();
        home
    }

    /// The same, by which messages in hand may take longer to be finished than any test: what does not wait for them ends.
    pub fn patient() -> Self {
        let home = Self::new();
        let file = home.state().join("foundry.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace("[broker]", "drain = \"24h\"\n[broker]")).unwrap();
        home
    }

    /// With nothing in it.
    pub fn bare() -> Self {
        let directory = tempfile::Builder::new().prefix("foundry-").tempdir().unwrap();
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Write a file, and say where it is.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program, with arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_foundry-host")), args)
    }

    /// A program, with arguments and an environment that depends on nothing outside.
    pub fn command_of(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("FOUNDRY_STATE", self.state())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Run a command to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    /// Run a command that has to succeed, and give its output.
    pub fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "foundry-host {args:?} said:\n{}{}", said.out, said.err);
        said.out
    }

    /// Run a command that has to succeed with JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// Start a host in the foreground, and wait until it is ready.
    pub fn host(&self, args: &[&str]) -> Running {
        let running = self.start(&[&["run"], args].concat());
        running.read_until("is ready");
        running
    }

    /// Start a command, and go on.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let err = child.stderr.take().unwrap();
        Running {
            err: std::sync::Mutex::new(Lines::of(err)),
            child,
        }
    }

    /// A test guest's file.
    pub fn guest(name: &str) -> String {
        foundry_test_guests::path(name).to_str().unwrap().to_owned()
    }

    /// A text without what differs from one run to the next.
    pub fn redacted(&self, text: &str) -> String {
        text.replace(self.path().to_str().unwrap(), "[home]")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A host in the background is not ours to wait for.
        let _ = self.command(&["shutdown", "--quiet"]).output();
    }
}

pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command that runs. It is killed when it is dropped.
pub struct Running {
    pub child: Child,
    err: std::sync::Mutex<Lines>,
}

/// Lines that a thread reads, so that waiting for one has an end.
struct Lines {
    lines: std::sync::mpsc::Receiver<String>,
}

impl Lines {
    fn of(source: ChildStderr) -> Self {
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { lines }
    }
}

impl Running {
    /// Wait for a line on standard error, and give all up to it.
    pub fn read_until(&self, what: &str) -> String {
        let err = self.err.lock().unwrap();
        let begun = Instant::now();
        let mut text = String::new();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let Ok(line) = err.lines.recv_timeout(left) else {
                panic!("{what:?} was never said, but:\n{text}")
            };
            text.push_str(&line);
            text.push('\n');
            if line.contains(what) {
                return text;
            }
        }
    }

    /// All that it says on standard error until it ends.
    pub fn rest(&self) -> String {
        let err = self.err.lock().unwrap();
        err.lines.iter().map(|line| line + "\n").collect()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Wait for the end: exit code, and how long it took.
    pub fn end(&mut self) -> (i32, Duration) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code().unwrap_or(-1), begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it never ended");
    }

    /// Lines of standard output.
    pub fn output(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words of `load`, with all topics that a bot from a file can be granted.
pub fn load<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let granting = ["load", "--allow-read", "#@#", "--allow-publish", "#"];
    granting.iter().chain(words).copied().collect()
}

/// Try until it is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
