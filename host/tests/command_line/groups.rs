//! `groups`: the embedded broker's queues, from outside.

use std::process::{Child, Command, Stdio};

use super::home::{Home, eventually};
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
    let found = groups.as_array().unwrap().iter().find(|group| group["name"] == name);
    found.cloned().unwrap_or_default()
}

#[test]
fn groups_are_listed_shown_and_removed() {
    let home = Home::new();
    let _host = home.host(&[]);
    home.ok(&["load", &Home::guest("relay")]);
    let relay = home.json(&["groups", "list"])[0].clone();
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
    for what in ["show", "remove", "requeue", "discard"] {
        assert_eq!(home.run(&["groups", what, name]).code, 4, "{what}");
    }
}

#[test]
fn dead_letters_of_a_group_are_shown_requeued_and_discarded() {
    let home = Home::new();
    let config = "[host]\nname = \"here\"\n[broker]\nlisten = \"127.0.0.1:0\"\nlimits = { group-deliveries = 1 }\n";
    std::fs::write(home.state().join("foundry.toml"), config).unwrap();
    let _host = home.host(&[]);
    let member = StuckMember::join(&home, "$share/workers/jobs/#");
    for job in ["jobs/1", "jobs/2"] {
        publish(&home, job, "work");
    }
    eventually("it holds both", || group(&home, "workers")["leased"] == 2);
    member.kill();
    eventually("they are dead letters", || group(&home, "workers")["dead"] == 2);
    let letters = home.json(&["groups", "show", "workers"])["dead-letters"].clone();
    assert_eq!(
        (&letters[0]["topic"], &letters[0]["payload"], &letters[0]["reason"]),
        (&"jobs/1".into(), &"work".into(), &"attempts".into())
    );
    let shown = home.ok(&["groups", "show", "workers"]);
    assert!(shown.contains("jobs/2") && shown.contains("attempts"), "{shown}");
    let first = letters[0]["number"].to_string();
    assert_eq!(home.json(&["groups", "requeue", "workers", &first])["requeued"], 1);
    let group = group(&home, "workers");
    assert_eq!((&group["waiting"], &group["dead"]), (&1.into(), &1.into()));
    assert_eq!(home.json(&["groups", "discard", "workers"])["discarded"], 1);
    assert_eq!(home.json(&["groups", "show", "workers"])["group"]["dead"], 0);
}
