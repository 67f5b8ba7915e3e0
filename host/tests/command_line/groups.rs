//! `groups`: the embedded broker's queues, from outside.

use std::process::{Child, Command, Stdio};

use super::home::{Home, eventually, load};
use super::sight::{broker_port, publish};

/// A member of a group that takes messages and never answers for them.
struct StuckMember(Child);

impl StuckMember {
    fn join(home: &Home, share: &str) -> Self {
        let password = std::fs::read_to_string(home.state().join("broker/owner.password")).unwrap();
        let child = Command::new("mosquitto_sub")
            .args(["-p", &broker_port(home), "-u", "owner", "-P", password.trim_end()])
            .args(["-V", "5", "-q", "1", "-t", share])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let name = share.split('/').nth(1).unwrap();
        eventually("it is a member", || group(home, name)["members"] == 1);
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn group(home: &Home, name: &str) -> serde_json::Value {
    let groups = home.json(&["groups", "list"]);
    let mut groups = groups["groups"].as_array().unwrap().iter();
    let found = groups.find(|group| group["name"] == name);
    found.cloned().unwrap_or_default()
}

#[test]
fn groups_are_listed_shown_and_removed() {
    let home = Home::new();
    let _host = home.host(&[]);
    home.ok(&load(&[&Home::guest("relay")]));
    let relay = home.json(&["groups", "list"])["groups"][0].clone();
    let name = relay["name"].as_str().unwrap();
    assert_eq!((&relay["members"], &relay["waiting"]), (&1.into(), &0.into()));
    let said = home.run(&["groups", "remove", name]);
    assert_eq!(said.code, 6, "{}", said.err);
    assert!(
        said.err.contains("has 1 members (stop them, or add --force)"),
        "{}",
        said.err
    );
    home.ok(&["stop", "relay"]);
    for payload in ["one", "two"] {
        publish(&home, "foundry/relay-in", payload);
    }
    let waiting = group(&home, name);
    assert_eq!((&waiting["members"], &waiting["waiting"]), (&0.into(), &2.into()));
    assert!(waiting["oldest"].as_u64().unwrap() > 1_600_000_000_000);
    let listed = home.ok(&["groups", "list"]);
    assert!(
        listed.starts_with("GROUP ") && listed.contains("foundry/relay-in"),
        "{listed}"
    );
    let shown = home.ok(&["groups", "show", name]);
    assert!(shown.contains("waiting   2\n"), "{shown}");
    home.ok(&["groups", "remove", &format!("$share/{name}/foundry/relay-in")]);
    assert!(group(&home, name).is_null());
    for what in ["show", "remove"] {
        assert_eq!(home.run(&["groups", what, name]).code, 4, "{what}");
    }
}

#[test]
fn a_group_is_called_as_its_bots_endpoint_and_as_its_share_name() {
    let home = Home::new();
    let _host = home.host(&[]);
    home.ok(&load(&[&Home::guest("relay"), "--endpoint", "pub/relay"]));
    let listed = home.ok(&["groups", "list"]);
    assert!(listed.contains("\npub/relay ") && !listed.contains("%2F"), "{listed}");
    let share = "$share/pub%2Frelay/foundry/relay-in";
    assert_eq!(group(&home, "pub/relay")["share"], share);
    let names = ["pub/relay", "pub%2Frelay", share, "$share/pub/relay/foundry/relay-in"];
    for name in names {
        let shown = home.ok(&["groups", "show", name]);
        assert!(
            shown.starts_with(&format!("group     pub/relay\nshare     {share}\n")),
            "{shown}"
        );
        assert_eq!(home.json(&["groups", "show", name])["group"]["name"], "pub/relay");
    }
    for name in names {
        home.ok(&load(&[
            &Home::guest("relay"),
            "--as",
            "other",
            "--endpoint",
            "pub/other",
            "--watch",
            "x",
        ]));
        home.ok(&["stop", "other"]);
        home.ok(&[
            "groups",
            "remove",
            &name.replace("relay-in", "x").replace("relay", "other"),
        ]);
        assert!(group(&home, "pub/other").is_null(), "{name}");
    }
    let missing = home.run(&["groups", "remove", "pub/nobody"]);
    assert_eq!(missing.code, 4);
    assert!(missing.err.contains("there is no group pub/nobody"), "{}", missing.err);
}

#[test]
fn dead_letters_of_a_group_are_shown_requeued_and_dropped() {
    let home = Home::new();
    let config = "[host]\nname = \"here\"\n[broker]\nlisten = \"127.0.0.1:0\"\nlimits = { group-deliveries = 1 }\n";
    std::fs::write(home.state().join("foundry.toml"), config).unwrap();
    let _host = home.host(&[]);
    // A death counts for the message that the member had for longest.
    for (dead, job) in [(1, "jobs/1"), (2, "jobs/2")] {
        let member = StuckMember::join(&home, "$share/workers/jobs/#");
        publish(&home, job, "work");
        eventually("it holds it", || group(&home, "workers")["leased"] == 1);
        member.kill();
        eventually("it is a dead letter", || group(&home, "workers")["dead"] == dead);
    }
    let letters = home.json(&["groups", "show", "workers"])["dead-letters"].clone();
    assert_eq!(
        (&letters[0]["topic"], &letters[0]["payload"], &letters[0]["reason"]),
        (&"jobs/1".into(), &"work".into(), &"attempts".into())
    );
    let shown = home.ok(&["groups", "show", "workers"]);
    assert!(shown.contains("jobs/2") && shown.contains("attempts"), "{shown}");
    let first = letters[0]["number"].as_str().unwrap();
    assert!(home.ok(&["dead-letters", "list"]).contains(first));
    let one = home.json(&["dead-letters", "show", first]);
    assert_eq!((&one["bot"], &one["kind"]), (&"workers".into(), &"group".into()));
    home.ok(&["dead-letters", "requeue", first]);
    let left = group(&home, "workers");
    assert_eq!((&left["waiting"], &left["dead"]), (&1.into(), &1.into()));
    home.ok(&["dead-letters", "drop", "--of", "workers"]);
    assert_eq!(home.json(&["groups", "show", "workers"])["group"]["dead"], 0);
    assert_eq!(home.run(&["dead-letters", "drop", "--of", "workers"]).code, 4);
    // The one that was requeued is processed.
    let password = std::fs::read_to_string(home.state().join("broker/owner.password")).unwrap();
    let output = Command::new("mosquitto_sub")
        .args(["-p", &broker_port(&home), "-u", "owner", "-P", password.trim_end()])
        .args(["-V", "5", "-q", "1", "-t", "$share/workers/jobs/#"])
        .args(["-C", "1", "-W", "20", "-F", "%t %p"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "jobs/1 work\n");
    eventually("nothing is left", || group(&home, "workers")["leased"] == 0);
}

#[test]
fn dead_letters_of_a_bot_are_shown_requeued_and_dropped() {
    let home = Home::new();
    let _host = home.host(&[]);
    let (hostile, relay, source) = (Home::guest("hostile"), Home::guest("relay"), Home::guest("source"));
    home.ok(&load(&["--allow-artifacts", &hostile]));
    // Nothing that the bot knows how to do.
    home.ok(&load(&[&source, "--publish-to", "hostile-in", "--total", "3"]));
    let letters = || home.json(&["dead-letters", "list"]);
    eventually("all are given up", || letters().as_array().unwrap().len() == 3);
    home.ok(&["stop", "hostile"]);
    let number = letters()[0]["seq"].to_string();
    let shown = home.ok(&["dead-letters", "show", &number]);
    assert!(
        shown.contains("kind        message") && shown.contains("don't know how"),
        "{shown}"
    );
    home.ok(&["dead-letters", "drop", &letters()[2]["seq"].to_string()]);

    // A better bot under the same name takes one, and then all that are left.
    let better = ["--as", "hostile", "--watch", "hostile-in", "--endpoint", "hostile"];
    home.ok(&load(&[&[relay.as_str()], better.as_slice()].concat()));
    // A session that lasts collects what the bot publishes. Clients without a user name have none.
    let password = std::fs::read_to_string(home.state().join("broker/owner.password")).unwrap();
    let watcher = |more: &[&str]| {
        let output = Command::new("mosquitto_sub")
            .args([
                "-p",
                &broker_port(&home),
                "-u",
                "owner",
                "-P",
                password.trim_end(),
                "-i",
                "watcher",
                "-c",
                "-q",
                "1",
                "-t",
                "foundry/relay-out",
            ])
            .args(more)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    watcher(&["-E"]);
    home.ok(&["dead-letters", "requeue", &number]);
    eventually("it is handled", || letters().as_array().unwrap().len() == 1);
    home.ok(&["dead-letters", "requeue", "--of", "hostile"]);
    eventually("the other as well", || letters().as_array().unwrap().is_empty());
    let published = watcher(&["-C", "2", "-W", "20"]);
    assert_eq!(published.lines().count(), 2, "{published}");
}
