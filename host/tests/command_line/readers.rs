//! Bots that are loaded after their messages were published, and what a user sees until then.

use super::home::{Home, eventually, load};
use super::sight::publish;

const SOURCE: [&str; 4] = ["--publish-to", "commits", "--total", "3"];

/// A configuration by which `runs` shows what the two relays publish.
fn observing() -> Home {
    let home = Home::new();
    let mut config = std::fs::read_to_string(home.state().join("foundry.toml")).unwrap();
    config += "[messages]\nobserve = [\"i386\", \"amd64\"]\n";
    std::fs::write(home.state().join("foundry.toml"), config).unwrap();
    home
}

/// How many events there are on a topic in each run.
fn events_on(home: &Home, topic: &str) -> Vec<usize> {
    let runs = home.json(&["runs"]);
    let events = |run: &serde_json::Value| {
        let events = run["events"].as_array().unwrap().iter();
        events.filter(|event| event["topic"] == topic).count()
    };
    runs.as_array().unwrap().iter().map(events).collect()
}

/// The first minute of an hour is the same to a test as the second.
fn within_two_minutes(text: &str) -> String {
    text.replace("kept for 60 min", "kept for 59 min")
}

fn kept(home: &Home) -> u64 {
    let groups = home.json(&["groups", "list"]);
    let topics = groups["backlog"]["topics"].as_array().unwrap();
    let commits = topics.iter().find(|topic| topic["topic"] == "foundry/commits").unwrap();
    commits["messages"].as_u64().unwrap()
}

#[test]
fn the_second_bot_that_comes_late_handles_what_the_first_did_also_after_a_kill() {
    let home = observing();
    let mut host = home.host(&[]);
    home.ok(&load(&[&[Home::guest("source").as_str()], SOURCE.as_slice()].concat()));
    eventually("all are published", || kept(&home) == 3);
    let load_as = |name: &str| {
        let (relay, endpoint) = (Home::guest("relay"), format!("pub/{name}"));
        let options = [
            "--as",
            name,
            "--watch",
            "commits",
            "--endpoint",
            &endpoint,
            "--publish-to",
            name,
        ];
        home.ok(&load(&[&[relay.as_str()], options.as_slice()].concat()));
        eventually("it has handled all", || events_on(&home, name) == [1, 1, 1]);
    };
    load_as("i386");
    host.signal("-KILL");
    host.end();
    let _host = home.host(&[]);
    load_as("amd64");
    // The first had them, and its group is not new.
    assert_eq!(events_on(&home, "i386"), [1, 1, 1]);
    assert_eq!(home.json(&["dead-letters", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_topic_without_a_reader_is_named_with_the_bot_that_is_missing() {
    let home = Home::new();
    let _host = home.host(&[]);
    let quiet = home.ok(&["groups", "list"]);
    assert!(
        quiet.contains("TOPIC            GROUPS  KEPT") && !quiet.contains("no group reads"),
        "{quiet}"
    );
    publish(&home, "foundry/commits", "one");
    let listed = home.ok(&["groups", "list"]);
    let warning = "no group reads foundry/commits: its message is kept for 59 min; load buildbot\n";
    assert!(within_two_minutes(&listed).ends_with(warning), "{listed}");
    let backlog = home.json(&["groups", "list"])["backlog"].clone();
    assert_eq!(
        (&backlog["keep"], backlog["topics"].as_array().unwrap().len()),
        (&3600.into(), 4)
    );
    home.ok(&load(&[&Home::guest("relay"), "--watch", "commits"]));
    let listed = home.ok(&["groups", "list"]);
    assert!(!listed.contains("no group reads"), "{listed}");
}

#[test]
fn a_run_that_no_bot_reads_says_for_how_long_it_is_kept() {
    let home = Home::new();
    let _host = home.host(&[]);
    home.ok(&load(
        &[&[Home::guest("source").as_str()], &SOURCE[..3], &["1"]].concat(),
    ));
    eventually("the run is on record", || home.json(&["runs"])[0]["unread"].is_object());
    let says = "no bot reads `commits`: kept for 59 min; load buildbot";
    let listed = home.run(&["runs"]);
    assert_eq!(within_two_minutes(&listed.err), format!("{says}\n"));
    let runs = home.json(&["runs"]);
    assert_eq!(runs[0]["unread"]["topic"], "commits");
    let id = runs[0]["id"].as_str().unwrap();
    let shown = within_two_minutes(&home.ok(&["runs", id]));
    assert!(shown.contains(&format!("\nwaits       {says}\n")), "{shown}");
    let waited = home.run(&["runs", id, "--wait", "--timeout", "2s"]);
    let said = within_two_minutes(&waited.err).matches(says).count();
    assert_eq!((waited.code, said), (1, 1), "{}", waited.err);

    home.ok(&load(&[&Home::guest("relay"), "--watch", "commits"]));
    eventually("it has a reader", || home.json(&["runs"])[0]["unread"].is_null());
    assert_eq!(home.run(&["runs"]).err, "");
}

#[test]
fn without_a_backlog_nothing_is_said_of_readers() {
    let home = Home::new();
    let config = "[host]\nname = \"here\"\n[broker]\nlisten = \"127.0.0.1:0\"\n[messages]\nbacklog-age = 0\n";
    std::fs::write(home.state().join("foundry.toml"), config).unwrap();
    let _host = home.host(&[]);
    home.ok(&load(&[&[Home::guest("source").as_str()], SOURCE.as_slice()].concat()));
    eventually("the runs are on record", || {
        home.json(&["runs"]).as_array().unwrap().len() == 3
    });
    assert_eq!(home.run(&["runs"]).err, "");
    let listed = home.ok(&["groups", "list"]);
    assert!(!listed.contains("TOPIC"), "{listed}");
}
