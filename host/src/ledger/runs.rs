//! Events of runs: what `runs` shows is put together from them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Ledger, LedgerError};
use crate::event::COMMIT;
use crate::run::{EventRow, Run};

/// An event is on record once: what comes a second time under its id is a repetition, since ids are checked.
pub(super) fn insert(c: &Connection, event: &EventRow) -> rusqlite::Result<()> {
    c.prepare_cached(&format!(
        "INSERT OR IGNORE INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ))?
    .execute(params![
        event.id,
        event.run,
        event.event_type,
        event.topic,
        event.source,
        event.subject,
        event.time,
        event.cause,
        event.group,
        event.data.to_string(),
    ])?;
    Ok(())
}

/// The columns of an event, in the order in which [`row`] reads them.
pub(super) const COLUMNS: &str = "id, run, type, topic, source, subject, time, cause, grp, data";

pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let data: String = row.get(9)?;
    Ok(EventRow {
        id: row.get(0)?,
        run: row.get(1)?,
        event_type: row.get(2)?,
        topic: row.get(3)?,
        source: row.get(4)?,
        subject: row.get(5)?,
        time: row.get(6)?,
        cause: row.get(7)?,
        group: row.get(8)?,
        data: serde_json::from_str(&data).unwrap_or_default(),
    })
}

impl Ledger {
    /// Keep an event that another host published.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn record_event(&self, event: EventRow) -> Result<(), LedgerError> {
        self.work(move |c| insert(c, &event)).await
    }

    /// Whether an event of that id is on record.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn is_recorded(&self, id: &str) -> Result<bool, LedgerError> {
        let id = id.to_owned();
        self.read(move |c| c.prepare_cached("SELECT 1 FROM events WHERE id = ?")?.exists([&id]))
            .await
    }

    /// Whether a run's commit is on record: whoever made the run up could not have that.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn is_announced(&self, run: &str) -> Result<bool, LedgerError> {
        let run = run.to_owned();
        self.read(move |c| {
            c.prepare_cached("SELECT 1 FROM events WHERE run = ? AND type = ?")?
                .exists([run.as_str(), COMMIT])
        })
        .await
    }

    /// A run by its id or the beginning of one, or the run of a commit that this host saw last, by the beginning of its
    /// id; none if there is no such run, or more than one begins so.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, LedgerError> {
        let id = id.to_owned();
        self.read(move |c| {
            let runs: Vec<String> = c
                .prepare_cached(BEGINNING)?
                .query_map([&id], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            match runs.as_slice() {
                [run] => events_of(c, run).map(Run::of),
                [] => match newest_of_commit(c, &id)? {
                    Some(run) => events_of(c, &run).map(Run::of),
                    None => Ok(None),
                },
                _ => Ok(None),
            }
        })
        .await
    }

    /// The newest runs, newest first: those whose first event this host saw last. Clocks of other hosts have no part in it.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn runs(&self, limit: u32) -> Result<Vec<Run>, LedgerError> {
        self.runs_after(None, limit).await
    }

    /// The same of those that come after a run, by its id; none if it is not on record.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn runs_after(&self, after: Option<String>, limit: u32) -> Result<Vec<Run>, LedgerError> {
        self.read(move |c| {
            let before = match &after {
                // An id that is not there has no first event, and nothing is less than that.
                Some(run) => c
                    .prepare_cached("SELECT min(rowid) FROM events WHERE run = ?")?
                    .query_row([run], |row| row.get(0))?,
                None => Some(i64::MAX),
            };
            let runs: Vec<String> = c
                .prepare_cached(NEWEST)?
                .query_map(params![before, limit], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut found = Vec::new();
            for run in runs {
                found.extend(Run::of(events_of(c, &run)?));
            }
            Ok(found)
        })
        .await
    }
}

/// The runs whose first event came last. Looks at the newest events alone, until there are enough: not at all that there ever were.
const NEWEST: &str = "
    SELECT run FROM events AS event
    WHERE rowid < ?1 AND NOT EXISTS (SELECT 1 FROM events WHERE run = event.run AND rowid < event.rowid)
    ORDER BY rowid DESC LIMIT ?2";

/// Runs whose ids begin so. The keys from the beginning on are in order: no others are looked at.
const BEGINNING: &str = "SELECT run FROM runs WHERE run >= ?1 AND run < ?1 || char(1114111) LIMIT 2";

/// The run of the newest commit whose id begins so, in the words of the index `events_commit`.
const OF_COMMIT: &str = "
    SELECT run FROM events
    WHERE type = 'foundry.commit.v1'
        AND CASE WHEN json_valid(data) THEN json_extract(data, '$.ref') END >= ?1
        AND CASE WHEN json_valid(data) THEN json_extract(data, '$.ref') END < ?1 || char(1114111)
    ORDER BY rowid DESC LIMIT 1";

/// Shorter beginnings of a commit's id say too little.
const SHORTEST_COMMIT: usize = 7;

fn newest_of_commit(c: &Connection, commit: &str) -> rusqlite::Result<Option<String>> {
    if commit.len() < SHORTEST_COMMIT {
        return Ok(None);
    }
    c.prepare_cached(OF_COMMIT)?
        .query_row([commit], |row| row.get(0))
        .optional()
}

/// In the order in which this host saw them: rows are only ever added.
fn events_of(c: &Connection, run: &str) -> rusqlite::Result<Vec<EventRow>> {
    c.prepare_cached(&format!("SELECT {COLUMNS} FROM events WHERE run = ? ORDER BY rowid"))?
        .query_map([run], row)?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(source: &str) -> EventRow {
        EventRow {
            id: "c1".to_owned(),
            run: "c1".to_owned(),
            event_type: "foundry.build.v1".to_owned(),
            topic: "builds".to_owned(),
            source: source.to_owned(),
            subject: None,
            time: "2026-11-30T12:00:00Z".to_owned(),
            cause: None,
            group: Some("pub/buildbot".to_owned()),
            data: serde_json::json!({ "a": 1 }),
        }
    }

    #[tokio::test]
    async fn an_event_is_on_record_as_it_came_first() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        for source in ["b1/build", "b2/build"] {
            ledger.record_event(event(source)).await.unwrap();
        }
        let run = ledger.run("c1").await.unwrap().unwrap();
        assert_eq!(run.events, [event("b1/build")]);
    }

    #[tokio::test]
    async fn the_newest_runs_are_those_that_began_last_and_no_older_event_is_read_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        for (id, run) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "c"), ("5", "b")] {
            let event = EventRow {
                id: id.to_owned(),
                run: run.to_owned(),
                ..event("b1/build")
            };
            ledger.record_event(event).await.unwrap();
        }
        let runs = ledger.runs(2).await.unwrap();
        let found: Vec<_> = runs.iter().map(|run| (run.id.as_str(), run.events.len())).collect();
        assert_eq!(found, [("c", 1), ("b", 2)]);
        let plan = plan(&ledger, NEWEST).await;
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }

    #[tokio::test]
    async fn runs_come_page_by_page() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        for (id, run) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")] {
            let event = EventRow {
                id: id.to_owned(),
                run: run.to_owned(),
                ..event("b1/build")
            };
            ledger.record_event(event).await.unwrap();
        }
        for (after, expected) in [
            (None, ["c", "b"].as_slice()),
            (Some("b"), &["a"]),
            (Some("a"), &[]),
            (Some("x"), &[]),
        ] {
            let runs = ledger.runs_after(after.map(ToOwned::to_owned), 2).await.unwrap();
            let found: Vec<_> = runs.iter().map(|run| run.id.as_str()).collect();
            assert_eq!(found, expected, "after {after:?}");
        }
    }

    /// How SQLite goes about a query.
    async fn plan(ledger: &Ledger, query: &str) -> String {
        let explain = format!("EXPLAIN QUERY PLAN {query}");
        let parameters = 1 + usize::from(query.contains("?2"));
        let plan = ledger.read(move |c| {
            c.prepare(&explain)?
                .query_map(rusqlite::params_from_iter((0..parameters).map(|_| "2")), |row| {
                    row.get::<_, String>(3)
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        plan.await.unwrap().join("; ")
    }

    #[tokio::test]
    async fn a_run_is_found_by_how_it_or_its_commit_begins_and_no_other_is_read_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        for (id, run, commit) in [
            ("1", "ab1", "0123456aa"),
            ("2", "ab2", "0123456bb"),
            ("3", "ac9", "fedcba9"),
            ("4", "é", "no commit's id"),
        ] {
            let event = EventRow {
                id: id.to_owned(),
                run: run.to_owned(),
                event_type: COMMIT.to_owned(),
                data: serde_json::json!({ "ref": commit }),
                ..event("b1/watch")
            };
            ledger.record_event(event).await.unwrap();
        }
        for (asked, expected) in [
            ("ab1", Some("ab1")),
            ("ab", None),
            ("ac", Some("ac9")),
            ("\u{e9}", Some("é")),
            ("0123456a", Some("ab1")),
            ("0123456", Some("ab2")),
            ("fedcba9", Some("ac9")),
            ("fedcba", None),
            ("%", None),
            ("AB1", None),
        ] {
            let found = ledger.run(asked).await.unwrap().map(|run| run.id);
            assert_eq!(found.as_deref(), expected, "{asked}");
        }
        for query in [BEGINNING, OF_COMMIT] {
            let plan = plan(&ledger, query).await;
            assert!(plan.contains("SEARCH") && !plan.contains("SCAN"), "{plan}");
        }
        assert!(plan(&ledger, OF_COMMIT).await.contains("events_commit"));
    }
}
