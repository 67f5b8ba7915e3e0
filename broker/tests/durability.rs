//! The broker as a process of its own, killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::process::{Process, start_limited};
use support::v5::{V5, message, receiving};

const Q1: QoS = QoS::AtLeastOnce;
const JOBS: &str = "$share/workers/jobs/#";

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

fn publish(publisher: &mut V5, job: u32) -> PubAckReason {
    publisher.publish(message("jobs/x", Q1, format!("{job}{}", " ".repeat(2000))))
}

fn jobs_in(address: SocketAddr) -> Vec<u32> {
    let (mut member, _) = V5::with(address, receiving("worker", 100));
    member.subscribe(JOBS, Q1);
    let mut jobs = Vec::new();
    while let Some(Packet::Publish(publish)) = member.try_recv(support::SILENCE) {
        member.finish(&publish);
        jobs.push(std::str::from_utf8(&publish.payload).unwrap().trim().parse().unwrap());
    }
    jobs
}

#[test]
fn disk_full_refuses_and_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let broker = start_limited(directory.path(), 400);
    V5::new(broker.address, "worker").subscribe(JOBS, Q1);
    let mut publisher = V5::new(broker.address, "publisher");
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for job in 0..400 {
        match publish(&mut publisher, job) {
            PubAckReason::Success => acknowledged.push(job),
            PubAckReason::UnspecifiedError => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        acknowledged.len() > 20 && refused > 20,
        "{} and {refused}",
        acknowledged.len()
    );
    // Ordinary messages do not need the disk.
    let mut watcher = V5::new(broker.address, "watcher");
    watcher.subscribe("other", Q1);
    assert_eq!(publisher.publish(message("other", Q1, "x")), PubAckReason::Success);
    assert_eq!(watcher.take().payload, "x");
    // It ends in good order even so.
    let mut broker = broker;
    broker.terminate();
    // There is room again.
    let broker = Process::start(directory.path());
    let mut publisher = V5::new(broker.address, "publisher");
    assert_eq!(publish(&mut publisher, 1000), PubAckReason::Success);
    acknowledged.push(1000);
    assert_eq!(jobs_in(broker.address), acknowledged);
}

/// Leaves 50 jobs in a store, all in its journal.
fn filled(directory: &Path) {
    let broker = Process::start(directory);
    V5::new(broker.address, "worker").subscribe(JOBS, Q1);
    let mut publisher = V5::new(broker.address, "publisher");
    for job in 0..50 {
        assert_eq!(publish(&mut publisher, job), PubAckReason::Success);
    }
    broker.kill();
}

#[test]
fn torn_write_at_the_end_of_the_journal_costs_only_what_it_tore() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let journal = directory.path().join("groups.sqlite-wal");
    let length = std::fs::metadata(&journal).unwrap().len();
    // Half of the last page: as if the power had failed in the middle of the last, unacknowledged commit.
    let file = std::fs::File::options().write(true).open(&journal).unwrap();
    file.set_len(length - 2000).unwrap();
    let broker = Process::start(directory.path());
    let jobs = jobs_in(broker.address);
    assert!((48..50).contains(&jobs.len()), "{jobs:?}");
    assert_eq!(jobs, (0..jobs.len() as u32).collect::<Vec<_>>());
}

#[test]
fn corrupted_page_is_named_at_start() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    // A clean stop moves the journal's pages into the database.
    let mut broker = Process::start(directory.path());
    broker.terminate();
    let path = directory.path().join("groups.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 5 * 4096, "{}", bytes.len());
    for page in bytes.chunks_mut(4096).skip(1) {
        page[..64].fill(0xa5);
    }
    std::fs::write(&path, bytes).unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_foundry-broker"))
        .args(["127.0.0.1:0", directory.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("groups.sqlite is damaged"), "{error}");
    assert!(error.contains("restore it from a backup"), "{error}");
}

#[test]
fn file_that_is_no_database_is_named_at_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("groups.sqlite"),
        "not a database, but long enough to be looked at",
    )
    .unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_foundry-broker"))
        .args(["127.0.0.1:0", directory.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("groups.sqlite is damaged"), "{error}");
}
