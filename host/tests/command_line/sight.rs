//! `logs`, `watch`, `runs` and `dead-letters`: what goes on.

use std::process::Command;

use serde_json::Value;

use super::home::{Home, Running, eventually, load};

/// A host with a relay that publishes messages of its own.
fn busy() -> (Home, Running) {
    let home = Home::new();
    let host = home.host(&[]);
    home.ok(&load(&[&Home::guest("relay"), "--first", "2", "--start", "300ms"]));
    (home, host)
}

pub fn broker_port(home: &Home) -> String {
    let status = home.json(&["status"]);
    status["broker"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned()
}

pub fn publish(home: &Home, topic: &str, payload: &str) {
    let port = broker_port(home);
    let password = std::fs::read_to_string(home.state().join("broker/owner.password")).unwrap();
    let status = Command::new("mosquitto_pub")
        .args(["-u", "owner", "-P", password.trim_end()])
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-V",
            "5",
            "-q",
            "1",
            "-t",
            topic,
            "-m",
            payload,
        ])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn watch_tells_signed_messages_from_forged_ones() {
    let (home, _host) = busy();
    let mut watch = home.start(&["watch", "relay-out"]);
    watch.read_until("watching foundry/relay-out");
    let mut lines = watch.output();
    assert!(lines.next().unwrap().starts_with("ok relay-out  "));
    publish(&home, "foundry/relay-out", r#"{"type": "test.relay.v1", "data": {}}"#);
    publish(&home, "foundry/relay-out", "\u{1b}[2Jnot even JSON");
    let refused: Vec<_> = lines.filter(|line| !line.starts_with("ok ")).take(2).collect();
    assert!(
        refused[0].starts_with("REFUSED relay-out") && refused[0].contains("there is no signature"),
        "{refused:?}"
    );
    assert!(
        refused[1].starts_with("REFUSED relay-out") && !refused[1].contains('\u{1b}'),
        "{refused:?}"
    );
}

#[test]
fn watch_takes_topics_with_and_without_the_prefix_and_prints_json() {
    let (home, _host) = busy();
    for topic in ["relay-out", "foundry/relay-out"] {
        let mut watch = home.start(&["watch", topic, "--json"]);
        let line: Value = serde_json::from_str(&watch.output().next().unwrap()).unwrap();
        assert_eq!(
            (&line["topic"], &line["seal"]),
            (&"relay-out".into(), &"verified".into())
        );
        assert_eq!(line["payload"]["type"], "test.relay.v1");
    }
}

#[test]
fn watch_of_everything_shows_presence() {
    let (home, _host) = busy();
    let mut watch = home.start(&["watch"]);
    let seen: Vec<_> = watch.output().take(3).collect();
    assert!(
        seen.iter()
            .any(|line| line.starts_with("ok bots/here/relay (retained)  running  relay")),
        "{seen:?}"
    );
}

#[test]
fn watch_of_a_filter_that_is_none_is_told() {
    let (home, _host) = busy();
    let said = home.run(&["watch", "a/#/b"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("cannot watch a/#/b"), "{}", said.err);
}

#[test]
fn runs_are_listed_and_shown_in_detail() {
    let (home, _host) = busy();
    eventually("there are two runs", || {
        home.json(&["runs"]).as_array().unwrap().len() == 2
    });
    let runs = home.json(&["runs"]);
    let id = runs[0]["id"].as_str().unwrap();
    let shown = home.ok(&["runs"]);
    assert!(shown.starts_with("RUN ") && shown.contains(id), "{shown}");
    let one = home.ok(&["runs", &id[..6]]);
    assert!(
        one.contains(&format!("run         {id}")) && one.contains("test.relay.v1  by here/relay"),
        "{one}"
    );
    assert_eq!(home.json(&["runs", id])["run"]["id"], id);
    assert_eq!(home.json(&["runs", "--limit", "1"]).as_array().unwrap().len(), 1);
    let said = home.run(&["runs", "ffffffffffffffff"]);
    assert_eq!(said.code, 4, "{}", said.err);
}

#[test]
fn a_list_of_runs_says_when_there_are_more() {
    let (home, _host) = busy();
    eventually("there are two runs", || {
        home.json(&["runs"]).as_array().unwrap().len() == 2
    });
    let all = home.run(&["runs", "-n", "2"]);
    assert_eq!((all.code, all.err.as_str()), (0, ""));
    let some = home.run(&["runs", "-n", "1"]);
    assert_eq!(some.code, 0);
    assert_eq!(some.out.lines().count(), 2, "{}", some.out);
    assert_eq!(some.err, "there are more runs (-n 5 shows the newest 5)\n");
    let json = home.run(&["runs", "-n", "1", "--json"]);
    let runs: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(runs.as_array().unwrap().len(), 1, "programs get what they asked for");
    assert_eq!(json.err, some.err);
    assert_eq!(home.run(&["runs", "-n", "1", "--quiet"]).err, "");
}

#[test]
fn waiting_for_a_run_prints_each_event_once_and_says_what_it_waits_for() {
    let (home, _host) = busy();
    eventually("there is a run", || {
        !home.json(&["runs"]).as_array().unwrap().is_empty()
    });
    let id = home.json(&["runs"])[0]["id"].as_str().unwrap().to_owned();
    let said = home.run(&["runs", "--wait", &id, "--timeout", "4s"]);
    assert_eq!(said.code, 1, "{}", said.err);
    let events: Vec<_> = said.out.lines().collect();
    assert_eq!(events.len(), 1, "{}", said.out);
    let time = events[0].split(' ').next().unwrap();
    assert!(time.ends_with('Z') && !time.contains('.'), "to the second: {time}");
    assert!(events[0].ends_with("test.relay.v1  by here/relay"), "{events:?}");
    assert_eq!(said.err.matches("waiting for the build").count(), 2, "{}", said.err);
    assert!(said.err.contains("still waiting for the build"), "{}", said.err);

    let commit = "0123456789012345678901234567890123456789";
    let said = home.run(&["runs", "--wait", commit, "--timeout", "3s"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(
        said.err
            .starts_with("waiting for the commit to be announced (is its branch watched?"),
        "{}",
        said.err
    );
}

#[test]
fn forged_messages_become_dead_letters_that_can_be_dropped() {
    let (home, _host) = busy();
    publish(&home, "foundry/relay-in", r#"{"type": "test.relay.v1"}"#);
    eventually("it is a dead letter", || {
        !home.json(&["dead-letters", "list"]).as_array().unwrap().is_empty()
    });
    let shown = home.ok(&["dead-letters", "list"]);
    assert!(shown.contains("relay  foundry/relay-in"), "{shown}");
    let number = home.json(&["dead-letters", "list"])[0]["seq"].to_string();
    let one = home.ok(&["dead-letters", "show", &number]);
    assert!(
        one.contains("reason ") && one.contains("\"type\": \"test.relay.v1\""),
        "{one}"
    );
    home.ok(&["dead-letters", "drop", &number]);
    assert_eq!(home.run(&["dead-letters", "drop", &number]).code, 4);
    assert_eq!(home.run(&["dead-letters", "show", &number]).code, 4);
}

#[test]
fn logs_end_with_what_was_said_and_follow_goes_on() {
    let home = Home::new();
    let mut host = home.host(&[]);
    home.ok(&load(&["--allow-artifacts", &Home::guest("hostile")]));
    publish(&home, "foundry/hostile-in", "forged");
    let said = || home.ok(&["logs", "hostile"]);
    eventually("the refusal is logged", || said().contains("hostile:"));
    let before = said().lines().count();
    let mut follow = home.start(&["logs", "-f", "hostile", "--lines", "1", "--json"]);
    let mut lines = follow.output();
    let first: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(first["bot"], "hostile");
    publish(&home, "foundry/hostile-in", "forged again");
    let second: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(second["level"], first["level"]);
    eventually("it is kept as well", || said().lines().count() > before);
    assert_eq!(home.ok(&["logs", "-n", "1"]).lines().count(), 1);
    // The end of the host is the end of the log, and no error.
    host.signal("-TERM");
    assert_eq!(follow.end().0, 0);
    assert_eq!(host.end().0, 0);
}

#[test]
fn logs_of_nobody_are_an_error() {
    let home = Home::new();
    let _host = home.host(&[]);
    let said = home.run(&["logs", "nobody"]);
    assert_eq!(said.code, 4);
    assert!(said.err.contains("no bot and no run is called nobody"), "{}", said.err);
}
