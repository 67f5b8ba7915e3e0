//! Works out by itself, from the files alone, what is needed: it shares nothing with the sweeper.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

/// What a state directory has.
pub struct Checked {
    /// Digests that messages, dead letters and states of bots name.
    pub needed: BTreeSet<String>,
    /// Digests that runs name which were seen at a time or later.
    pub young: BTreeSet<String>,
    /// The oldest time that a run was seen last, if there is one.
    pub oldest: Option<i64>,
}

/// Look at the ledger of a state directory. It has to be whole, with all events of each run or none.
pub fn check(state: &Path, young_since: i64) -> Checked {
    let ledger = Connection::open(state.join("ledger.sqlite")).unwrap();
    let is_whole: String = ledger
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(is_whole, "ok");
    let differing: i64 = ledger
        .query_row(
            "SELECT count(*) FROM (SELECT run, count(*) AS n FROM events GROUP BY run) AS e
             FULL OUTER JOIN runs USING (run) WHERE runs.events IS NOT e.n",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(differing, 0, "runs with some of their events");
    let mut needed = BTreeSet::new();
    for query in [
        "SELECT payload FROM outbox",
        "SELECT payload FROM dead_letters",
        "SELECT payload FROM unrecorded",
        "SELECT value FROM state",
    ] {
        named_by(&ledger, query, &mut needed);
    }
    let mut young = BTreeSet::new();
    let query = format!(
        "SELECT CAST(data AS BLOB) FROM events WHERE run IN (SELECT run FROM runs WHERE seen >= {young_since})"
    );
    named_by(&ledger, &query, &mut young);
    let oldest = ledger
        .query_row("SELECT min(seen) FROM runs", [], |row| row.get(0))
        .unwrap();
    Checked { needed, young, oldest }
}

fn named_by(ledger: &Connection, query: &str, into: &mut BTreeSet<String>) {
    let mut rows = ledger.prepare(query).unwrap();
    let mut rows = rows.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let bytes: Vec<u8> = row.get(0).unwrap();
        collect(&serde_json::from_slice(&bytes).unwrap(), into);
    }
}

/// Whatever is called a SHA-256.
fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(digest) if name == "sha256" => drop(into.insert(digest.clone())),
                    other => collect(other, into),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
        _ => {}
    }
}

/// Bytes of all files below a directory, and how many there are.
pub fn measure(directory: &Path) -> (u64, u64) {
    let (mut count, mut bytes) = (0, 0);
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    for entry in entries.map(Result::unwrap) {
        let about = entry.metadata().unwrap();
        let (files, size) = match about.is_dir() {
            true => measure(&entry.path()),
            false => (1, about.len()),
        };
        count += files;
        bytes += size;
    }
    (count, bytes)
}
