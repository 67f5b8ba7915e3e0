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
                .prepare_cached("SELECT DISTINCT run FROM events WHERE substr(run, 1, length(?1)) = ?1 LIMIT 2")?
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
        self.read(move |c| {
            let runs: Vec<String> = c
                .prepare_cached(NEWEST)?
                .query_map([limit], |row| row.get(0))?
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
    WHERE NOT EXISTS (SELECT 1 FROM events WHERE run = event.run AND rowid < event.rowid)
    ORDER BY rowid DESC LIMIT ?";

/// Shorter beginnings of a commit's id say too little.
const SHORTEST_COMMIT: usize = 7;

fn newest_of_commit(c: &Connection, commit: &str) -> rusqlite::Result<Option<String>> {
    if commit.len() < SHORTEST_COMMIT {
        return Ok(None);
    }
    c.prepare_cached(
        "SELECT run FROM events
         WHERE type = 'foundry.commit.v1' AND substr(json_extract(data, '$.ref'), 1, length(?1)) = ?1
         ORDER BY rowid DESC LIMIT 1",
    )?
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
        let plan = ledger
            .read(|c| {
                c.prepare(&format!("EXPLAIN QUERY PLAN {NEWEST}"))?
                    .query_map([2], |row| row.get::<_, String>(3))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await
            .unwrap();
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
    }
}
