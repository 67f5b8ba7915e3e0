//! What the hosts' ledgers say: how many effects each stage had, and which jobs are through.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

/// The stages of the chain, by their bots' names.
pub const STAGES: [&str; 3] = ["stage1", "stage2", "stage3"];

/// The topic of what the last stage publishes.
pub const DONE: &str = "done";

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Effects of each stage, over all hosts: a count that its bot keeps in its state.
    pub effects: [u64; STAGES.len()],
    /// Jobs that the last stage has published.
    pub done: BTreeSet<u64>,
    /// Events that wait for the broker.
    pub outbox: u64,
    pub dead_letters: u64,
}

impl Tally {
    /// Add what a host's ledger says. One that isn't there yet, or is without tables yet, says nothing.
    pub fn add(&mut self, ledger: &Path) -> rusqlite::Result<()> {
        if !ledger.exists() {
            return Ok(());
        }
        let db = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 {
            return Ok(());
        }
        for (stage, effects) in STAGES.iter().zip(&mut self.effects) {
            let seen: Option<Vec<u8>> = db
                .query_row(
                    "SELECT value FROM state WHERE bot = ? AND key = 'seen'",
                    [stage],
                    |row| row.get(0),
                )
                .optional()?;
            let seen = seen.map_or(0, |seen| String::from_utf8(seen).unwrap().parse().unwrap());
            *effects += seen;
        }
        let mut done = db.prepare("SELECT json_extract(data, '$.n') FROM events WHERE topic = ?")?;
        for n in done.query_map([DONE], |row| row.get::<_, i64>(0))? {
            self.done.insert(n?.cast_unsigned());
        }
        let count =
            |table: &str| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        self.outbox += count("outbox")?.cast_unsigned();
        self.dead_letters += count("dead_letters")?.cast_unsigned();
        Ok(())
    }
}
