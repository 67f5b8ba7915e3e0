//! Machines' networks: a namespace for each, all on one switch.
//!
//! No namespace has a name. Each lives as long as a process that reads from a pipe of the test's, so that however the test ends,
//! nothing stays behind; the machine's own network is not touched.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::package::run;

/// Prints `up` once it is in its namespace, and lasts until its standard input is closed.
const KEEPER: &str = "ip link set lo up && echo up && exec cat >/dev/null";

/// A network namespace.
pub struct Namespace {
    keeper: Child,
}

impl Namespace {
    /// # Errors
    /// What the machine says where it can't have one.
    fn new() -> Result<Self, String> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", KEEPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let mut namespace = Self { keeper };
        match line.trim_end() {
            "up" => Ok(namespace),
            _ => Err(namespace.complaint()),
        }
    }

    fn complaint(&mut self) -> String {
        let mut said = String::new();
        let mut errors = self.keeper.stderr.take().unwrap();
        errors.read_to_string(&mut said).unwrap();
        said.trim_end().to_owned()
    }

    /// A program that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.keeper.id()))
            .arg("--")
            .arg(program);
        command
    }

    fn ip(&self, arguments: &str) {
        run(self.command("ip").args(arguments.split(' ')));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A switch, to which machines are attached.
pub struct Network {
    switch: Namespace,
    attached: std::cell::Cell<u8>,
}

impl Network {
    /// None where there can't be one, which is said.
    pub fn new() -> Option<Self> {
        match Namespace::new() {
            Ok(switch) => {
                switch.ip("link add br0 type bridge");
                switch.ip("link set br0 up");
                let attached = std::cell::Cell::new(0);
                Some(Self { switch, attached })
            }
            Err(why) => {
                let said = format!(
                    "SKIPPED: no network namespaces here (root, and Debian's iproute2 and util-linux, have them): {why}\n"
                );
                // Not by `eprintln`, whose text nobody sees of a test that passes.
                std::io::stderr().write_all(said.as_bytes()).unwrap();
                None
            }
        }
    }

    /// The network of one more machine, and its address.
    pub fn attach(&self) -> (Namespace, Ipv4Addr) {
        let number = self.attached.get() + 1;
        self.attached.set(number);
        let address = Ipv4Addr::new(10, 77, 0, number);
        let namespace = Namespace::new().unwrap();
        let keeper = namespace.keeper.id();
        self.switch
            .ip(&format!("link add v{number} type veth peer name eth0 netns {keeper}"));
        self.switch.ip(&format!("link set v{number} master br0 up"));
        namespace.ip(&format!("addr add {address}/24 dev eth0"));
        namespace.ip("link set eth0 up");
        (namespace, address)
    }
}
