//! The broker as a process of its own, killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::v5::{V5, message, receiving};

const Q1: QoS = QoS::AtLeastOnce;
const JOBS: &str = "$share/workers/jobs/#";

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_foundry-broker"))
            .args(["127.0.0.1:0", data.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            address: line.trim().parse().unwrap(),
        }
    }

    /// SIGKILL.
    fn kill(mut self) {
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

#[test]
fn broker_killed_with_messages_waiting_leased_and_just_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Process::start(directory.path());
    let (mut member, _) = V5::with(broker.address, receiving("worker", 3));
    member.subscribe(JOBS, Q1);
    let mut publisher = V5::new(broker.address, "publisher");
    for job in 0..10 {
        assert_eq!(
            publisher.publish(message("jobs/x", Q1, job.to_string())),
            PubAckReason::Success
        );
    }
    let held: Vec<Publish> = (0..3).map(|_| member.recv_publish()).collect();
    broker.kill();
    let broker = Process::start(directory.path());
    let (mut member, _) = V5::with(broker.address, receiving("worker", 100));
    member.subscribe(JOBS, Q1);
    let jobs: Vec<String> = (0..10)
        .map(|_| String::from_utf8(member.take().payload.to_vec()).unwrap())
        .collect();
    assert_eq!(jobs, (0..10).map(|job: u32| job.to_string()).collect::<Vec<_>>());
    member.expect_silence();
    assert_eq!(held.len(), 3);
}

#[test]
fn broker_killed_while_publishers_publish_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    V5::new(Process::start(directory.path()).address, "worker").subscribe(JOBS, Q1);
    let mut next = 0_u32;
    for _ in 0..5 {
        let broker = Process::start(directory.path());
        let mut publisher = V5::new(broker.address, "publisher");
        // Many at once, and the broker dies with some of them under way.
        for pkid in 1..=200 {
            publisher.send(Packet::Publish(Publish {
                pkid,
                ..message("jobs/x", Q1, next.to_string())
            }));
            next += 1;
        }
        for _ in 0..50 {
            match publisher.recv() {
                Packet::PubAck(ack) => acknowledged.push(next - 200 + u32::from(ack.pkid) - 1),
                other => panic!("{other:?}"),
            }
        }
        broker.kill();
        while let Some(Packet::PubAck(ack)) = publisher.try_recv(support::SILENCE) {
            acknowledged.push(next - 200 + u32::from(ack.pkid) - 1);
        }
    }
    let broker = Process::start(directory.path());
    let (mut member, _) = V5::with(broker.address, receiving("worker", 100));
    member.subscribe(JOBS, Q1);
    let mut delivered = Vec::new();
    while let Some(Packet::Publish(publish)) = member.try_recv(support::SILENCE) {
        member.finish(&publish);
        delivered.push(std::str::from_utf8(&publish.payload).unwrap().parse::<u32>().unwrap());
    }
    assert!(acknowledged.len() >= 250);
    for job in &acknowledged {
        assert!(delivered.contains(job), "{job} was acknowledged and is lost");
    }
    let mut once = delivered.clone();
    once.dedup();
    assert_eq!(once, delivered, "delivered twice or out of order");
}

#[test]
fn second_broker_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _broker = Process::start(directory.path());
    let second = Command::new(env!("CARGO_BIN_EXE_foundry-broker"))
        .args(["127.0.0.1:0", directory.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!second.status.success());
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains("in use by another broker"), "{error}");
}
