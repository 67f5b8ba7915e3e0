//! Debian's Mosquitto on a machine, with the configuration of `docs/external-broker.md` for several machines.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::machine::Machine;

#[path = "../chaos/mosquitto.rs"]
mod documented;

/// The page's port.
const PORT: u16 = 8883;

/// A running Mosquitto.
pub struct Mosquitto(Child);

impl Mosquitto {
    /// For the head and these builders, whose certificates are on the head.
    pub fn start(machine: &Machine, builders: &[&str]) -> Self {
        let data = machine.file("mosquitto");
        fs::create_dir(&data).unwrap();
        fs::write(machine.file("foundry.acl"), access(builders)).unwrap();
        fs::write(machine.file("mosquitto.conf"), configuration(machine, &data)).unwrap();
        Self(begin(machine))
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn begin(machine: &Machine) -> Child {
    let child = machine
        .command("/usr/sbin/mosquitto")
        .args(["-c", "mosquitto.conf"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let probe = format!("exec 3<>/dev/tcp/{}/{PORT}", machine.address);
    while !machine
        .command("bash")
        .args(["-c", &probe])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "mosquitto does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

/// A block of the page, by the words behind its fence.
fn block(fence: &str) -> &'static str {
    let (_, rest) = documented::PAGE.split_once(&format!("```{fence}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// The page's configuration, with files of this machine's.
fn configuration(machine: &Machine, data: &Path) -> String {
    let shared = documented::configuration(data, PORT);
    let shared = shared
        .lines()
        .filter(|line| !line.starts_with("listener") && !line.starts_with("allow_anonymous"));
    let mut conf = String::new();
    shared.for_each(|line| writeln!(conf, "{line}").unwrap());
    // Settings of a listener follow it.
    for line in block("conf tls").lines() {
        match line.split_whitespace().next() {
            Some("listener") => writeln!(conf, "listener {PORT} {}", machine.address),
            Some(setting @ ("cafile" | "certfile" | "keyfile" | "acl_file")) => {
                let file = Path::new(line.split_whitespace().nth(1).unwrap()).file_name().unwrap();
                writeln!(conf, "{setting} {}", machine.directory.join(file).display())
            }
            _ => writeln!(conf, "{line}"),
        }
        .unwrap();
    }
    conf
}

/// The page's access list, with a builder's lines for each builder.
fn access(builders: &[&str]) -> String {
    let mut list = String::new();
    for part in block("acl").split("\n\n") {
        match part.contains("user builder") {
            true => {
                for builder in builders {
                    list += &part.replace("user builder", &format!("user {builder}"));
                    list += "\n\n";
                }
            }
            false => {
                list += part;
                list += "\n\n";
            }
        }
    }
    list
}
