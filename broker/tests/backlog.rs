//! Groups that are created after their messages were published.

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
use std::time::Duration;

use foundry_broker::Config;
use foundry_broker::killpoint;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::process::{Process, start_limited_with};
use support::v5::{V5, message, receiving};
use support::{TestBroker, eventually};

const Q1: QoS = QoS::AtLeastOnce;

fn broker(configure: impl FnOnce(&mut Config)) -> TestBroker {
    TestBroker::with(|config| {
        config.backlog.topics = vec!["foundry/commits".to_owned(), "foundry/builds".to_owned()];
        configure(config);
    })
}

fn publish(address: SocketAddr, topic: &str, text: &str) {
    let port = address.port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "5", "-p", &port, "-q", "1", "-t", topic, "-m", text]);
    assert!(command.status().unwrap().success());
}

/// What `count` messages a member gets with Mosquitto's own client.
fn take(address: SocketAddr, filter: &str, count: usize) -> Vec<String> {
    let port = address.port().to_string();
    let count = count.to_string();
    let output = Command::new("mosquitto_sub")
        .args(["-p", &port, "-q", "1", "-t", filter, "-C", &count, "-W", "10"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

/// Everything that a member gets until nothing more comes, acknowledged.
fn drain(address: SocketAddr, filter: &str) -> Vec<String> {
    let packets = drain_packets(address, filter).into_iter();
    packets
        .map(|publish| String::from_utf8(publish.payload.to_vec()).unwrap())
        .collect()
}

fn drain_packets(address: SocketAddr, filter: &str) -> Vec<Publish> {
    let (mut member, _) = V5::with(address, receiving("drain", 1000));
    member.subscribe(filter, Q1);
    let mut got = Vec::new();
    while let Some(Packet::Publish(publish)) = member.try_recv(support::SILENCE) {
        member.finish(&publish);
        got.push(publish);
    }
    member.disconnect();
    got
}

#[test]
fn the_second_group_gets_what_was_published_before_it_like_the_first() {
    let broker = broker(|_| {});
    for text in ["one", "two"] {
        publish(broker.address, "foundry/commits", text);
    }
    publish(broker.address, "foundry/builds", "build");
    assert_eq!(take(broker.address, "$share/i386/foundry/commits", 2), ["one", "two"]);
    assert_eq!(take(broker.address, "$share/amd64/foundry/commits", 2), ["one", "two"]);
    publish(broker.address, "foundry/commits", "three");
    for group in ["i386", "amd64"] {
        let share = format!("$share/{group}/foundry/commits");
        assert_eq!(drain(broker.address, &share), ["three"], "{group}");
    }
    let late = drain_packets(broker.address, "$share/late/foundry/commits");
    let late: Vec<_> = late.iter().map(|publish| (publish.dup, &publish.payload[..])).collect();
    assert_eq!(late, [(false, &b"one"[..]), (false, b"two"), (false, b"three")]);
}

#[test]
fn a_group_that_comes_after_the_time_gets_none_of_what_is_older() {
    let broker = broker(|config| config.backlog.age = Duration::from_secs(1));
    publish(broker.address, "foundry/commits", "old");
    std::thread::sleep(Duration::from_millis(1100));
    publish(broker.address, "foundry/commits", "new");
    assert_eq!(drain(broker.address, "$share/late/foundry/commits"), ["new"]);
    // A group that had it in time keeps it for as long as it takes.
    assert!(broker.wait(broker.operator().create_group("$share/early/foundry/commits")));
    std::thread::sleep(Duration::from_millis(1100));
    eventually("the end of the backlog", || {
        let status = broker.wait(broker.operator().backlog());
        status.topics.iter().all(|topic| topic.messages == 0)
    });
    assert_eq!(drain(broker.address, "$share/early/foundry/commits"), ["new"]);
}

#[test]
fn wildcards_that_cover_a_topic_get_its_backlog_and_ordinary_subscriptions_do_not() {
    let broker = broker(|_| {});
    publish(broker.address, "foundry/commits", "commit");
    publish(broker.address, "foundry/builds", "build");
    publish(broker.address, "foundry/logs", "line");
    assert_eq!(drain(broker.address, "$share/all/foundry/#"), ["commit", "build"]);
    assert_eq!(drain(broker.address, "$share/level/+/builds"), ["build"]);
    assert_eq!(drain(broker.address, "$share/other/foundry/+/x"), Vec::<String>::new());
    assert_eq!(drain(broker.address, "foundry/#"), Vec::<String>::new());
}

#[test]
fn a_group_that_is_removed_and_comes_again_begins_again() {
    let broker = broker(|_| {});
    publish(broker.address, "foundry/commits", "one");
    let share = "$share/builders/foundry/commits";
    assert_eq!(drain(broker.address, share), ["one"]);
    assert_eq!(drain(broker.address, share), Vec::<String>::new());
    assert!(broker.wait(broker.operator().remove_group(share)));
    assert_eq!(drain(broker.address, share), ["one"]);
}

#[test]
fn the_oldest_go_when_there_are_too_many_or_too_large_and_no_group_loses_them() {
    let mut broker = broker(|config| {
        config.backlog.messages = 3;
        config.backlog.bytes = 100;
    });
    assert!(broker.wait(broker.operator().create_group("$share/early/foundry/#")));
    for text in ["one", "two", "three", "four"] {
        publish(broker.address, "foundry/commits", text);
    }
    assert_eq!(
        drain(broker.address, "$share/count/foundry/#"),
        ["two", "three", "four"]
    );
    let large = "x".repeat(60);
    publish(broker.address, "foundry/builds", &large);
    // 14 bytes of topic and 60 of payload; "four" makes 19 more, and "three" would be too much.
    assert_eq!(drain(broker.address, "$share/bytes/foundry/#"), ["four", &large]);
    broker.restart();
    assert_eq!(drain(broker.address, "$share/restarted/foundry/#"), ["four", &large]);
    assert_eq!(
        drain(broker.address, "$share/early/foundry/#"),
        ["one", "two", "three", "four", &large]
    );
}

#[test]
fn a_message_that_has_expired_is_not_given_to_new_groups() {
    let broker = broker(|_| {});
    let mut publisher = V5::new(broker.address, "publisher");
    let properties = PublishProperties {
        message_expiry_interval: Some(1),
        ..PublishProperties::default()
    };
    let short = Publish {
        properties: Some(properties),
        ..message("foundry/commits", Q1, "short")
    };
    assert_eq!(publisher.publish(short), PubAckReason::Success);
    publish(broker.address, "foundry/commits", "long");
    assert_eq!(drain(broker.address, "$share/soon/foundry/#"), ["short", "long"]);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(drain(broker.address, "$share/late/foundry/#"), ["long"]);
}

#[test]
fn without_a_backlog_a_group_begins_with_what_comes() {
    let mut broker = broker(|config| config.backlog.age = Duration::ZERO);
    publish(broker.address, "foundry/commits", "one");
    assert_eq!(drain(broker.address, "$share/late/foundry/#"), Vec::<String>::new());
    let status = broker.wait(broker.operator().backlog());
    assert_eq!((status.keep, status.topics.len()), (0, 0));
    broker.restart();
    assert_eq!(drain(broker.address, "$share/later/foundry/#"), Vec::<String>::new());
}

#[test]
fn an_operator_sees_what_is_kept_and_who_reads_it() {
    let broker = broker(|_| {});
    publish(broker.address, "foundry/commits", "one");
    assert_eq!(drain(broker.address, "$share/all/foundry/+"), ["one"]);
    assert_eq!(drain(broker.address, "$share/builders/foundry/commits"), ["one"]);
    let status = broker.wait(broker.operator().backlog());
    assert_eq!(status.keep, 3600);
    let [builds, commits] = &status.topics[..] else {
        panic!("{status:?}")
    };
    assert_eq!(
        (builds.topic.as_str(), builds.readers, builds.messages),
        ("foundry/builds", 1, 0)
    );
    assert_eq!(builds.age, None);
    assert_eq!((commits.readers, commits.messages, commits.bytes), (2, 1, 18));
    assert!(commits.age.unwrap() < 60);
}

/// A broker as a process of its own, with a backlog.
fn process(data: &Path, kill_at: Option<&str>) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foundry-broker"));
    command.args(["127.0.0.1:0", data.to_str().unwrap(), "host", "foundry/commits"]);
    command.env_remove(killpoint::VARIABLE);
    if let Some(point) = kill_at {
        command.env(killpoint::VARIABLE, point);
    }
    Process::spawn(&mut command)
}

#[test]
fn broker_killed_between_a_message_and_its_groups() {
    let directory = tempfile::tempdir().unwrap();
    let broker = process(directory.path(), None);
    publish(broker.address, "foundry/commits", "one");
    assert_eq!(drain(broker.address, "$share/first/foundry/commits"), ["one"]);
    broker.kill();
    let broker = process(directory.path(), None);
    publish(broker.address, "foundry/commits", "two");
    broker.kill();
    let broker = process(directory.path(), None);
    assert_eq!(drain(broker.address, "$share/second/foundry/commits"), ["one", "two"]);
    // It was a group before it got its second message, and is not created again.
    assert_eq!(drain(broker.address, "$share/first/foundry/commits"), ["two"]);
}

#[test]
fn broker_killed_while_a_group_is_filled_fills_it_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let broker = process(directory.path(), Some("broker-group-filled"));
    for text in ["one", "two"] {
        publish(broker.address, "foundry/commits", text);
    }
    let (mut member, _) = V5::with(broker.address, receiving("member", 10));
    member.send(Packet::Subscribe(Subscribe::new(
        Filter::new("$share/builders/foundry/commits", Q1),
        None,
    )));
    assert!(member.wire.is_closed());
    // It has ended already, and this waits until its data is free.
    broker.kill();
    let broker = process(directory.path(), None);
    assert_eq!(drain(broker.address, "$share/builders/foundry/commits"), ["one", "two"]);
    assert_eq!(
        drain(broker.address, "$share/builders/foundry/commits"),
        Vec::<String>::new()
    );
}

#[test]
fn a_full_disk_refuses_what_cannot_be_kept_and_later_groups_get_none_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let broker = start_limited_with(directory.path(), 400, "foundry/commits");
    let mut publisher = V5::new(broker.address, "publisher");
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for job in 0..300 {
        let text = format!("{job}{}", " ".repeat(2000));
        match publisher.publish(message("foundry/commits", Q1, text)) {
            PubAckReason::Success => acknowledged.push(job.to_string()),
            PubAckReason::UnspecifiedError => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        acknowledged.len() > 20 && refused > 20,
        "{} and {refused}",
        acknowledged.len()
    );
    broker.kill();
    let broker = process(directory.path(), None);
    let got = drain(broker.address, "$share/late/foundry/commits");
    let got: Vec<&str> = got.iter().map(|text| text.trim_end()).collect();
    assert_eq!(got, acknowledged);
}

/// A publisher that never stops, and groups that come in the middle of it.
#[test]
fn groups_created_in_the_middle_of_a_stream_miss_nothing_and_get_nothing_twice() {
    const JOBS: usize = 600;
    let broker = broker(|_| {});
    let address = broker.address;
    let streaming = std::thread::spawn(move || {
        let mut child: Child = Command::new("mosquitto_pub")
            .args([
                "-V",
                "5",
                "-p",
                &address.port().to_string(),
                "-q",
                "1",
                "-t",
                "foundry/commits",
                "-l",
            ])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        for job in 0..JOBS {
            use std::io::Write;
            writeln!(input, "{job}").unwrap();
        }
        drop(input);
        assert!(child.wait().unwrap().success());
    });
    let members: Vec<_> = (0..6)
        .map(|group| {
            std::thread::sleep(Duration::from_millis(8));
            let share = format!("$share/group-{group}/foundry/commits");
            let mut child = Command::new("mosquitto_sub")
                .args(["-p", &address.port().to_string(), "-q", "1", "-t", &share])
                .args(["-C", &JOBS.to_string(), "-W", "20"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = BufReader::new(child.stdout.take().unwrap());
            (child, output)
        })
        .collect();
    streaming.join().unwrap();
    let jobs: Vec<String> = (0..JOBS).map(|job| job.to_string()).collect();
    for (mut child, output) in members {
        let got: Vec<String> = output.lines().map(Result::unwrap).collect();
        child.wait().unwrap();
        assert_eq!(got, jobs);
    }
}
