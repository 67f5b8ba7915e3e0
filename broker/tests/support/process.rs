//! The broker as a process of its own, to be killed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    pub fn start(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foundry-broker"));
        Self::spawn(command.args(["127.0.0.1:0", data.to_str().unwrap(), "host"]))
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            address: line.trim().parse().unwrap(),
        }
    }

    /// How many files it has open.
    pub fn descriptors(&self) -> usize {
        let id = self.child.id();
        std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
    }

    /// SIGTERM, and waits.
    pub fn terminate(&mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A broker that cannot write files larger than `blocks` KiB: what a full disk looks like to SQLite.
pub fn start_limited(data: &Path, blocks: u32) -> Process {
    start_limited_with(data, blocks, "")
}

/// The same, with a backlog of these topics.
pub fn start_limited_with(data: &Path, blocks: u32, topics: &str) -> Process {
    let program = env!("CARGO_BIN_EXE_foundry-broker");
    let script = format!(
        "trap '' XFSZ; ulimit -f {blocks}; exec {program} 127.0.0.1:0 {} host {topics}",
        data.display()
    );
    Process::spawn(Command::new("bash").args(["-c", &script]))
}
