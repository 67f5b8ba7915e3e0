//! `runs`: how far a commit has come, from the events in a real ledger.

use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::home::{Home, Running, eventually};

/// A commit's id, as all events here have it.
const COMMIT: &str = "0123456789012345678901234567890123456789";

/// The ledger of a running host, to which another host's events come.
struct Ledger(Connection);

impl Ledger {
    fn of(home: &Home) -> Self {
        let ledger = Connection::open(Path::new(&home.state()).join("ledger.sqlite")).unwrap();
        ledger.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        Self(ledger)
    }

    /// An event that is seen now, whatever its time says. Its id is that of its run, a hyphen, and `name`.
    fn sees(&self, run: &str, name: &str, of: &str, from: (&str, &str), time: &str, more: Value) {
        let (what, source) = from;
        let mut data = json!({ "repository": "r", "branch": "main", "ref": COMMIT });
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let cause = (!of.is_empty()).then(|| format!("{run}-{of}"));
        let event_type = format!("foundry.{what}.v1");
        self.0
            .execute(
                "INSERT INTO events (id, run, type, topic, source, subject, time, cause, data)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    format!("{run}-{name}"),
                    run,
                    event_type,
                    format!("{what}s"),
                    source,
                    format!("{what} of {run}"),
                    format!("2026-11-30T{time}Z"),
                    cause,
                    data.to_string(),
                ],
            )
            .unwrap();
    }

    fn commit(&self, run: &str) {
        self.sees(run, "c", "", ("commit", "head/watch"), "09:00:00", json!({}));
    }

    fn build(&self, run: &str, name: &str, source: &str, architecture: &str, time: &str) {
        let more = json!({ "architecture": architecture });
        self.sees(run, name, "c", ("build", source), time, more);
    }

    fn failure(&self, run: &str, of: &str, (stage, source): (&str, &str), reason: &str) {
        let more = json!({ "stage": stage, "reason": reason });
        self.sees(run, source, of, ("failure", source), "09:01:30", more);
    }

    /// From a build to its publication.
    fn published(&self, run: &str, build: &str) {
        let (sign, dist) = (format!("s-{build}"), format!("d-{build}"));
        self.sees(run, &sign, build, ("sign", "head/sign"), "09:01:10", json!({}));
        self.sees(run, &dist, &sign, ("dist", "head/dist"), "09:01:12", json!({}));
    }
}

/// A host, and its ledger.
fn host() -> (Home, Running, Ledger) {
    let home = Home::new();
    let host = home.host(&[]);
    let ledger = Ledger::of(&home);
    (home, host, ledger)
}

#[test]
fn waiting_ends_with_a_publication_although_the_builders_clock_is_ahead() {
    let (home, _host, ledger) = host();
    ledger.commit("run1");
    ledger.build("run1", "b", "builder/build", "amd64", "09:03:30");
    ledger.published("run1", "b");
    let said = home.run(&["runs", "--wait", "run1", "--timeout", "5s"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let types: Vec<_> = said
        .out
        .split_whitespace()
        .filter(|word| word.starts_with("foundry."))
        .collect();
    let expected = ["commit", "build", "sign", "dist"].map(|what| format!("foundry.{what}.v1"));
    assert_eq!(types, expected, "{}", said.out);
    assert!(
        said.out
            .contains("\nstatus      published\nchain       amd64 published\n"),
        "{}",
        said.out
    );
}

#[test]
fn a_run_of_which_an_architecture_failed_says_so_everywhere() {
    let (home, _host, ledger) = host();
    ledger.commit("run2");
    ledger.failure("run2", "c", ("build", "arm/build"), "no such package");
    ledger.build("run2", "b", "amd/build", "amd64", "09:01:30");
    ledger.published("run2", "b");
    ledger.failure("run2", "b", ("lintbot", "head/lint"), "it crashed");
    let said = home.run(&["runs", "--wait", COMMIT, "--timeout", "5s"]);
    assert_eq!(said.code, 1, "{}", said.err);
    let states = "\nstatus      partly failed\nchain       amd64 published\nchain       arm/build failed: build failed: no such \
                  package\nbeside      lintbot failed: it crashed\n";
    assert!(said.out.contains(states), "{}", said.out);
    assert!(said.out.contains("\nbuild failed: no such package\n"), "{}", said.out);
    assert!(home.ok(&["runs", "run2"]).contains(states));
    let listed = home.ok(&["runs"]);
    assert!(listed.contains("  partly failed  "), "{listed}");
    assert!(
        listed.contains("  amd64 published, arm/build failed  dist of run2"),
        "{listed}"
    );
    let run = &home.json(&["runs"])[0];
    assert_eq!(
        (&run["status"], &run["finished"]),
        (&json!("partly-failed"), &json!(true))
    );
    assert_eq!(
        (&run["chains"][0]["architecture"], &run["chains"][0]["status"]),
        (&json!("amd64"), &json!("published"))
    );
    assert_eq!(run["chains"][1]["failure"]["reason"], "no such package");
    assert_eq!(run["other-failures"][0]["stage"], "lintbot");
}

#[test]
fn waiting_goes_on_until_each_architecture_that_began_is_published() {
    let (home, _host, ledger) = host();
    ledger.commit("run3");
    ledger.build("run3", "amd", "amd/build", "amd64", "09:01:00");
    ledger.build("run3", "arm", "arm/build", "arm64", "09:01:00");
    ledger.published("run3", "amd");
    let mut wait = home.start(&["runs", "--wait", "run3"]);
    wait.read_until("waiting for the packages to be signed");
    assert_eq!(home.json(&["runs"])[0]["status"], "published");
    ledger.published("run3", "arm");
    let lines: Vec<_> = wait.output().collect();
    assert_eq!(wait.end().0, 0, "{lines:#?}");
    let printed = lines.iter().filter(|line| line.contains("foundry.dist.v1")).count();
    assert_eq!(printed, 2, "{lines:#?}");
    assert!(lines.contains(&"chain       arm64 published".to_owned()), "{lines:#?}");
}

#[test]
fn waiting_ends_at_once_when_an_architecture_fails_though_another_goes_on() {
    let (home, _host, ledger) = host();
    ledger.commit("run4");
    ledger.build("run4", "b", "amd/build", "amd64", "09:01:00");
    let mut wait = home.start(&["runs", "--wait", "run4"]);
    wait.read_until("waiting for the packages to be signed");
    ledger.failure("run4", "c", ("build", "arm/build"), "no such package");
    let lines: Vec<_> = wait.output().collect();
    assert_eq!(wait.end().0, 1, "{lines:#?}");
    assert!(lines.contains(&"chain       amd64 built".to_owned()), "{lines:#?}");
}

#[test]
fn the_newest_runs_are_those_that_this_host_saw_last() {
    let (home, _host, ledger) = host();
    ledger.commit("first");
    ledger.sees("second", "c", "", ("commit", "past/watch"), "08:00:00", json!({}));
    eventually("both are listed", || {
        home.json(&["runs"]).as_array().unwrap().len() == 2
    });
    assert_eq!(home.json(&["runs"])[0]["id"], "second");
    assert_eq!(home.json(&["runs", COMMIT])["run"]["id"], "second");
}
