//! `gc`, and what `status` tells of all that is kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::home::{Home, load};

/// An artifact of long ago that nothing refers to.
fn old_artifact(home: &Home) -> std::path::PathBuf {
    let directory = home.state().join("artifacts/sha256/ab");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("ab".repeat(32));
    std::fs::write(&file, "bytes").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(30 * 86_400);
    File::open(&file).unwrap().set_modified(long_ago).unwrap();
    file
}

fn of_kind<'a>(reports: &'a Value, kind: &str) -> &'a Value {
    let found = reports.as_array().unwrap().iter().find(|report| report["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {reports}"))
}

#[test]
fn gc_says_what_would_go_then_removes_it_and_status_tells_what_is_left() {
    let home = Home::new();
    home.ok(&load(&[&Home::guest("relay")]));
    let artifact = old_artifact(&home);
    assert_eq!(
        home.json(&["status"])["kept"],
        serde_json::json!([]),
        "nobody has looked yet"
    );
    let would = home.json(&["gc", "--dry-run"]);
    assert_eq!(
        of_kind(&would, "artifacts")["removed"],
        serde_json::json!({ "count": 1, "bytes": 5 })
    );
    assert!(artifact.exists());
    let said = home.ok(&["gc"]);
    assert!(said.contains("artifacts") && said.contains("20.0 GiB"), "{said}");
    assert!(!artifact.exists());
    let status = home.json(&["status"]);
    assert_eq!(of_kind(&status["kept"], "artifacts")["kept"]["count"], 0);
    assert!(status["disk"]["free"].as_u64().unwrap() > 0, "{status}");
    let said = home.ok(&["status"]);
    for word in ["disk ", "no builds below 1.0 GiB", "KEPT", "run logs", "90 days"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn gc_works_without_a_host_and_as_its_configuration_says() {
    let home = Home::new();
    let none = home.run(&["gc"]);
    assert_eq!(none.code, 3, "no host has used the directory: {}", none.err);
    home.ok(&load(&[&Home::guest("relay")]));
    home.ok(&["shutdown"]);
    let artifact = old_artifact(&home);
    let file = home.state().join("foundry.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (setting, is_there) in [("artifacts = \"40d\"", true), ("artifacts = \"20d\"", false)] {
        std::fs::write(&file, format!("{text}[retention]\n{setting}\n")).unwrap();
        let dry = home.json(&["gc", "--dry-run"]);
        assert_eq!(of_kind(&dry, "artifacts")["removed"]["count"] == 0, is_there, "{dry}");
        assert!(artifact.exists());
        home.ok(&["gc", "--quiet"]);
        assert_eq!(artifact.exists(), is_there, "{setting}");
    }
    std::fs::write(&file, format!("{text}[retention]\nartifacts = \"1h\"\n")).unwrap();
    let refused = home.run(&["gc"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(
        refused.err.contains("foundry.toml:6: retention.artifacts"),
        "{}",
        refused.err
    );
}

/// What is in each file of a directory tree, by path.
fn everything(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                pending.push(entry.path());
                found.insert(entry.path(), Vec::new());
            } else if kind.is_file() {
                found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_dry_run_without_a_host_changes_no_file_and_says_the_same_of_a_ledger_of_an_older_version() {
    let home = Home::new();
    home.ok(&load(&[&Home::guest("relay")]));
    home.ok(&["shutdown"]);
    old_artifact(&home);
    // What a killed host leaves: a checkout, a build's directory, a cache and a layer without their locks.
    for left in [
        "git/checkouts/gone-1/tree",
        "build/builds/b1/out",
        "git/repositories/ab/objects/pack",
        "build/layers/ab",
        "build/archives/ab",
    ] {
        std::fs::create_dir_all(home.state().join(left)).unwrap();
        std::fs::write(home.state().join(left).join("file"), "bytes").unwrap();
    }
    let ledger = home.state().join("ledger.sqlite");
    let says = || {
        let before = everything(&home.state());
        let would = home.json(&["gc", "--dry-run"]);
        let after = everything(&home.state());
        let names = |all: &BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after));
        assert!(before == after, "some file is another");
        of_kind(&would, "artifacts")["removed"].clone()
    };
    let now = says();
    assert_eq!(now["count"], 1);
    let c = rusqlite::Connection::open(&ledger).unwrap();
    c.execute_batch("DROP INDEX events_commit; PRAGMA user_version = 6; PRAGMA journal_mode = DELETE")
        .unwrap();
    drop(c);
    assert_eq!(says(), now);
    home.ok(&["gc"]);
    let c = rusqlite::Connection::open(&ledger).unwrap();
    let version: i64 = c.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert!(version > 6, "a sweep that removes something brings it to this version");
}
