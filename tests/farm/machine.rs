//! One machine: its network, its directory, its host.

use std::cell::RefCell;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::network::{Namespace, Network};
use crate::package::run;

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A machine with one host.
pub struct Machine {
    pub name: String,
    pub address: Ipv4Addr,
    /// Where its operator works: `foundry` in his home.
    pub directory: PathBuf,
    namespace: Namespace,
    host: RefCell<Option<Child>>,
    environment: Vec<(String, String)>,
}

impl Machine {
    pub fn new(name: &str, network: &Network, root: &Path) -> Self {
        let (namespace, address) = network.attach();
        let directory = root.join(name).join("foundry");
        fs::create_dir_all(&directory).unwrap();
        Self {
            name: name.to_owned(),
            address,
            directory,
            namespace,
            host: RefCell::new(None),
            environment: Vec::new(),
        }
    }

    /// Its host runs with that in its environment.
    pub fn with(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// A program that runs on it, where its operator works.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command(program);
        command
            .current_dir(&self.directory)
            .env("HOME", self.directory.parent().unwrap())
            .env("FOUNDRY_STATE", self.state())
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    pub fn foundry(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_foundry-host"));
        command.args(arguments);
        command
    }

    /// What a command of the host's says in JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&run(self.foundry(arguments).arg("--json"))).unwrap()
    }

    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts its host and does not wait for it.
    pub fn begin(&self) {
        let log = File::options().create(true).append(true).open(self.file("host.log"));
        let log = log.unwrap();
        let mut command = self.foundry(&["run", "-c", "foundry.toml"]);
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let before = self.host.borrow_mut().replace(command.spawn().unwrap());
        assert!(before.is_none(), "{} runs already", self.name);
    }

    /// Starts its host, and waits until its bots are loaded.
    pub fn start(&self) {
        self.begin();
        self.eventually("it is ready", || {
            let status = self.foundry(&["status"]).output().unwrap();
            status.status.success().then_some(())
        });
    }

    /// Ends its host as a power cut would.
    pub fn kill(&self) {
        let mut host = self.host.take().unwrap();
        host.kill().unwrap();
        host.wait().unwrap();
    }

    /// Ends its host in peace.
    pub fn stop(&self) {
        let mut host = self.host.take().unwrap();
        kill_process(Pid::from_child(&host), Signal::TERM).unwrap();
        assert!(host.wait().unwrap().success(), "{}", self.log());
    }

    /// The number of its host's process.
    pub fn process(&self) -> u32 {
        self.host.borrow().as_ref().unwrap().id()
    }

    /// How its host ends by itself.
    pub fn end(&self) -> ExitStatus {
        let status = self.eventually("its host ends", || {
            self.host.borrow_mut().as_mut().unwrap().try_wait().unwrap()
        });
        self.host.take();
        status
    }

    /// What its host printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("host.log")).unwrap_or_default()
    }

    /// Asks again and again until there is an answer.
    pub fn eventually<T>(&self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        eventually(what, &[self], ask)
    }
}

/// Asks again and again until there is an answer; without one, what the hosts of those machines printed says more.
pub fn eventually<T>(what: &str, machines: &[&Machine], ask: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        if start.elapsed() > PATIENCE {
            let logs = machines
                .iter()
                .map(|machine| format!("\n{} said:\n{}", machine.name, machine.log()));
            panic!("never happened: {what}{}", logs.collect::<String>());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(host) = self.host.get_mut() {
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}
