//! Members that leave their groups at Mosquitto, where a group is nothing but its members: what comes meanwhile is for others, and never lost.

use std::path::Path;

use foundry_host::bus::BrokerAddress;
use foundry_host::supervisor::Host;

use crate::ability::{help, hinder, second};
use crate::at;
use crate::mosquitto::Mosquitto;
use crate::presence::status_becomes;
use crate::support::{eventually, publish};
use crate::waiting::{load, order};

const TOPIC: &str = "foundry/hostile-in";

async fn publish_some(broker: &BrokerAddress, state: &Path, number: u64) {
    for number in 0..number {
        publish(broker, TOPIC, order(state, &format!("m{number}"), "done")).await;
    }
}

fn handled(hosts: &[&Host]) -> u64 {
    hosts.iter().map(|host| host.status("hostile").unwrap().handled).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_only_member_cannot_work_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    let broker = mosquitto.address();
    let host = Host::start(at(directory.path(), broker.clone())).await.unwrap();
    load(&host).await;
    status_becomes(&host, "test", "running").await;
    hinder(&host);
    status_becomes(&host, "test", "unable").await;
    publish_some(&broker, directory.path(), 3).await;
    help(&host);
    eventually("it handles them", async || (handled(&[&host]) == 3).then_some(())).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_all_members_are_stopped_at_the_same_moment_waits_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(directory.path(), "");
    let broker = mosquitto.address();
    let start = async || {
        let one = Host::start(at(directory.path(), broker.clone())).await.unwrap();
        let two = second(directory.path(), broker.clone()).await;
        for host in [&one, &two] {
            load(host).await;
        }
        (one, two)
    };
    let (one, two) = start().await;
    status_becomes(&one, "two", "running").await;
    status_becomes(&two, "test", "running").await;
    tokio::join!(one.shutdown(), two.shutdown());
    drop((one, two));
    publish_some(&broker, directory.path(), 4).await;
    let (one, two) = start().await;
    eventually("they handle them", async || (handled(&[&one, &two]) == 4).then_some(())).await;
    tokio::join!(one.shutdown(), two.shutdown());
}
