//! Mosquitto with the certificates and the access list of the documentation: each account reaches what its host needs.

use std::path::Path;
use std::process::{Command, Output};

use foundry_host::config::Config;
use foundry_host::supervisor::{Host, HostConfig};

use crate::mosquitto::{Mosquitto, documented};
use crate::presence::status_becomes;
use crate::support::{introduce, spec};
use crate::tls::certificates_for;

/// Those who have an account.
const NAMES: [&str; 3] = ["head", "builder", "watcher"];

/// A block of the page, by the words behind its fence.
fn block(fence: &str) -> &'static str {
    let (_, rest) = documented::PAGE.split_once(&format!("```{fence}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// The page's configuration for several machines, with files of the test's own.
fn configuration(directory: &Path, data: &Path, port: u16) -> String {
    let replaced = |line: &str| {
        let file = |name: &str| directory.join(name).display().to_string();
        match line.split_whitespace().next() {
            Some("listener") => format!("listener {port} 127.0.0.1\n"),
            Some("cafile") => format!("cafile {}\n", file("ca.pem")),
            Some("certfile") => format!("certfile {}\n", file("server.pem")),
            Some("keyfile") => format!("keyfile {}\n", file("server.key")),
            Some("acl_file") => format!("acl_file {}\n", file("foundry.acl")),
            _ => format!("{line}\n"),
        }
    };
    let shared = documented::configuration(data, port);
    let shared = shared
        .lines()
        .filter(|line| !line.starts_with("listener") && !line.starts_with("allow_anonymous"));
    let shared: Vec<_> = shared.collect();
    // Settings of a listener follow it, so that it comes last.
    shared.join("\n") + "\n" + &block("conf tls").lines().map(replaced).collect::<String>()
}

struct World {
    directory: tempfile::TempDir,
    mosquitto: Mosquitto,
}

impl World {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        certificates_for(path, &NAMES);
        std::fs::write(path.join("foundry.acl"), block("acl")).unwrap();
        let mosquitto = Mosquitto::configured(path, |data, port| configuration(path, data, port));
        Self { directory, mosquitto }
    }

    /// One of Mosquitto's clients with somebody's certificate.
    fn client(&self, program: &str, name: &str, arguments: &[&str]) -> Output {
        let command = Command::new(program)
            .current_dir(self.directory.path())
            .args([
                "-V",
                "5",
                "-h",
                "127.0.0.1",
                "-p",
                &self.mosquitto.port.to_string(),
                "-q",
                "1",
            ])
            .args([
                "--cafile",
                "ca.pem",
                "--cert",
                &format!("{name}.pem"),
                "--key",
                &format!("{name}.key"),
            ])
            .args(arguments)
            .output();
        command.unwrap()
    }

    /// Whether the broker takes a message of somebody.
    fn takes(&self, name: &str, topic: &str) -> bool {
        let topic = format!("foundry/{topic}");
        let said = self.client("mosquitto_pub", name, &["-t", &topic, "-m", name, "-r"]);
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success(), "{name} on {topic}: {errors}");
        !errors.contains("Not authorized")
    }

    fn host(&self, name: &str) -> HostConfig {
        let text = format!(
            "[host]\nname = \"{name}\"\n[broker]\nurl = \"mqtts://127.0.0.1:{}\"\nca = \"ca.pem\"\n\
             certificate = \"{name}.pem\"\nkey = \"{name}.key\"\n",
            self.mosquitto.port
        );
        let config = Config::parse(&self.directory.path().join("foundry.toml"), &text).unwrap();
        config.host(self.state(name))
    }

    fn state(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }
}

#[test]
fn each_account_speaks_where_its_host_has_something_to_say() {
    let world = World::start();
    for (topic, may) in [
        ("commits", vec!["head"]),
        ("builds", vec!["builder"]),
        ("signs", vec!["head"]),
        ("dists", vec!["head"]),
        ("failures", vec!["head", "builder"]),
        ("hosts/head", vec!["head"]),
        ("hosts/builder", vec!["builder"]),
        ("bots/head/sign", vec!["head"]),
        ("bots/builder/build", vec!["builder"]),
        ("peers/head", vec!["head", "builder"]),
        ("logs/head/r1/sign", vec!["head"]),
        ("logs/builder/r1/build", vec!["builder"]),
        ("logs/r1/build", vec![]),
        ("control", vec![]),
        ("elsewhere", vec![]),
    ] {
        for name in NAMES {
            assert_eq!(world.takes(name, topic), may.contains(&name), "{name} on {topic}");
        }
    }
    // What was taken is what others see.
    let seen = world.client(
        "mosquitto_sub",
        "watcher",
        &["-t", "foundry/#", "--retained-only", "-v", "-W", "2"],
    );
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(
        seen.contains("foundry/signs head\n") && !seen.contains("foundry/signs builder"),
        "{seen}"
    );
}

#[test]
fn a_builder_does_not_hear_what_other_hosts_are_asked() {
    let world = World::start();
    assert!(world.takes("head", "peers/builder") && world.takes("head", "peers/head"));
    let heard = world.client(
        "mosquitto_sub",
        "builder",
        &["-t", "foundry/peers/+", "--retained-only", "-v", "-W", "2"],
    );
    assert_eq!(String::from_utf8_lossy(&heard.stdout), "foundry/peers/builder head\n");
}

#[test]
fn nobody_gets_in_without_a_certificate() {
    let world = World::start();
    let port = world.mosquitto.port.to_string();
    let arguments = [
        "-V",
        "5",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "--cafile",
        "ca.pem",
        "-t",
        "foundry/signs",
        "-m",
        "x",
    ];
    let said = Command::new("mosquitto_pub")
        .current_dir(world.directory.path())
        .args(arguments)
        .output()
        .unwrap();
    assert!(!said.status.success(), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_know_each_other_see_each_others_bots_and_find_nothing_wrong() {
    let world = World::start();
    introduce("head", &world.state("head"), "head", &world.state("builder"));
    introduce("builder", &world.state("builder"), "builder", &world.state("head"));
    let head = Host::start(world.host("head")).await.unwrap();
    let builder = Host::start(world.host("builder")).await.unwrap();
    for host in [&head, &builder] {
        host.load(spec("relay")).await.unwrap();
    }
    status_becomes(&head, "builder", "running").await;
    status_becomes(&builder, "head", "running").await;
    for host in [&head, &builder] {
        assert_eq!((host.publisher().trouble, host.concerns()), (None, Vec::new()));
    }
    builder.shutdown().await;
    head.shutdown().await;
}
