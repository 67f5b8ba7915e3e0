//! A process that is killed and started again.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use foundry_broker::killpoint;
use rustix::process::{Pid, Signal, kill_process};

/// How to start it, and how it is.
pub struct Process {
    pub name: &'static str,
    command: Vec<String>,
    directory: PathBuf,
    /// Points at which it can be told to die; none if only the test kills it.
    pub points: &'static [&'static str],
    /// Whether it may be killed at all, or has to be asked to end.
    pub killable: bool,
    child: Option<Child>,
    armed: Option<String>,
    again: Option<Instant>,
}

/// How a process came to its end.
pub enum End {
    At(String),
    Killed,
    Asked,
}

impl Process {
    pub fn new(
        name: &'static str,
        command: Vec<String>,
        directory: PathBuf,
        points: &'static [&'static str],
        killable: bool,
    ) -> Self {
        Self {
            name,
            command,
            directory,
            points,
            killable,
            child: None,
            armed: None,
            again: None,
        }
    }

    /// Start it, to die at a point if one is given, such as `before-commit:3`.
    pub fn start(&mut self, armed: Option<String>) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .env("FOUNDRY_LOG", "warn,foundry_host::supervisor=debug")
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        match &armed {
            Some(point) => command.env(killpoint::VARIABLE, point),
            None => command.env_remove(killpoint::VARIABLE),
        };
        self.child = Some(command.spawn().unwrap());
        self.armed = armed;
        self.again = None;
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it has been down for as long as it was meant to be.
    pub fn is_due(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() >= again)
    }

    pub fn kill(&mut self) {
        self.child.as_mut().unwrap().kill().unwrap();
    }

    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Its number, while it runs.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Have it do nothing more, and return when none of its threads does: those that wait for a disk come back first.
    pub fn halt(&self) {
        self.signal(Signal::STOP);
        let begun = Instant::now();
        while !self.threads().iter().all(|state| *state == 'T') {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{} does not stop",
                self.name
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Let it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// The states of its threads, as proc(5) has them.
    fn threads(&self) -> Vec<char> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let state = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            stat.rsplit_once(") ")?.1.chars().next()
        };
        tasks.filter_map(state).collect()
    }

    /// Its program with its arguments.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// How it ended, if it has; it is started again after a pause.
    pub fn ended(&mut self, pause: Duration) -> Option<End> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        self.again = Some(Instant::now() + pause);
        Some(self.end(status))
    }

    fn end(&mut self, status: ExitStatus) -> End {
        match (status.signal().map(Signal::from_named_raw), self.armed.take()) {
            (Some(Some(Signal::ABORT)), Some(point)) => End::At(point.split(':').next().unwrap_or_default().to_owned()),
            (Some(Some(Signal::KILL)), _) => End::Killed,
            // Asked before it could listen to that.
            (Some(Some(Signal::TERM)), _) => End::Asked,
            _ if status.success() => End::Asked,
            _ => panic!("{} ended by itself with {status}:\n{}", self.name, self.said()),
        }
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
