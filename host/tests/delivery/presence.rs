//! Whether `list` is true after a host's sudden death, and after the broker's.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::{Host, HostConfig};

use crate::mosquitto::Mosquitto;
use crate::support::{eventually, introduce, spec};
use crate::{at, broker};

/// A host as a process of its own, with a bot.
pub struct Victim(pub Child);

impl Victim {
    pub fn start(directory: &Path, port: u16, guest: &str) -> Self {
        let state = directory.join("victim");
        let file = directory.join("victim.toml");
        let component = foundry_test_guests::path(guest);
        let config = format!(
            "[host]\nname = \"victim\"\nstate = {state:?}\n[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n\
             [bots.{guest}]\nuse = {component:?}\n[bots.{guest}.grants]\nartifacts = true\n\
             read = [\"#\"]\npublish = [\"#\"]\n"
        );
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_foundry-host"))
            .arg("run")
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn status_becomes(host: &Host, of: &str, status: &str) {
    eventually(&format!("{of} is {status}"), async || {
        host.everyone()
            .into_iter()
            .find(|bot| bot.host == of && bot.status == status)
    })
    .await;
}

async fn a_killed_hosts_bots_are_offline(directory: &Path, broker: BrokerAddress, gets_its_share: bool) {
    let port = broker.port;
    introduce("victim", &directory.join("victim"), "all", directory);
    let witness = Host::start(at(directory, broker)).await.unwrap();
    let mut victim = Victim::start(directory, port, "relay");
    status_becomes(&witness, "victim", "running").await;
    victim.0.kill().unwrap();
    victim.0.wait().unwrap();
    status_becomes(&witness, "victim", "offline").await;
    let away = witness.everyone().into_iter().find(|bot| bot.host == "victim").unwrap();
    let says_so = away
        .detail
        .is_some_and(|detail| detail.contains("which wait for it, for a week at most"));
    assert_eq!(says_so, gets_its_share);
    let _victim = Victim::start(directory, port, "relay");
    status_becomes(&witness, "victim", "running").await;
    witness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_of_a_killed_host_are_offline_with_the_embedded_broker() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(directory.path(), |_| {}).await;
    a_killed_hosts_bots_are_offline(directory.path(), BrokerAddress::local(broker.address()), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_of_a_killed_host_are_offline_with_mosquitto() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    a_killed_hosts_bots_are_offline(directory.path(), mosquitto.address(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_was_stopped_while_the_broker_was_away_is_gone_once_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(directory.path(), "");
    let host = Host::start(at(directory.path(), mosquitto.address())).await.unwrap();
    host.load(spec("relay")).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let looker = HostConfig {
        name: "looker".to_owned(),
        ..at(other.path(), mosquitto.address())
    };
    introduce("test", directory.path(), "all", other.path());
    let looker = Host::start(looker).await.unwrap();
    status_becomes(&looker, "test", "running").await;
    mosquitto.stop();
    host.stop("relay").await.unwrap();
    mosquitto.run();
    eventually("nobody lists it any more", async || {
        looker.everyone().iter().all(|bot| bot.host != "test").then_some(())
    })
    .await;
    looker.shutdown().await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_comes_back_to_a_broker_that_has_forgotten_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(directory.path(), "");
    let host = Host::start(at(directory.path(), mosquitto.address())).await.unwrap();
    host.load(spec("relay")).await.unwrap();
    status_becomes(&host, "test", "running").await;
    mosquitto.stop();
    std::fs::remove_file(mosquitto.directory.join("mosquitto.db")).unwrap();
    mosquitto.run();
    let other = tempfile::tempdir().unwrap();
    let newcomer = HostConfig {
        name: "newcomer".to_owned(),
        ..at(other.path(), mosquitto.address())
    };
    introduce("test", directory.path(), "all", other.path());
    let newcomer = Host::start(newcomer).await.unwrap();
    status_becomes(&newcomer, "test", "running").await;
    newcomer.shutdown().await;
    host.shutdown().await;
}
