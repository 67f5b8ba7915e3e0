//! Runs: each commit's way through the pipeline, put together from its events.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError};
use crate::event::Event;

/// An event that this host published or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Its id.
    pub id: String,
    /// Its run.
    pub run: String,
    /// CloudEvents type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Topic, without prefix.
    pub topic: String,
    /// `<host>/<bot>`.
    pub source: String,
    /// What it is about.
    pub subject: Option<String>,
    /// RFC 3339.
    pub time: String,
    /// The message that led to it.
    pub cause: Option<String>,
    /// Its data.
    pub data: serde_json::Value,
}

impl EventRow {
    /// An event of a topic, without prefix, as `runs` keeps it.
    #[must_use]
    pub fn of(event: &Event, topic: &str) -> Self {
        Self {
            id: event.id.clone(),
            run: event.run.clone(),
            event_type: event.event_type.clone(),
            topic: topic.to_owned(),
            source: event.source.clone(),
            subject: event.subject.clone(),
            time: event.time.clone(),
            cause: event.cause.clone(),
            data: serde_json::Value::Object(event.data.clone()),
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Announced.
    Announced,
    /// Built.
    Built,
    /// Signed.
    Signed,
    /// Published.
    Published,
    /// Some step failed.
    Failed,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub status: RunStatus,
    /// The repository, if an event names it.
    pub repository: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// The commit.
    #[serde(rename = "ref")]
    pub commit: Option<String>,
    /// The newest subject: what it is about.
    pub subject: Option<String>,
    /// When it began, RFC 3339.
    pub started: String,
    /// When its newest event was published, RFC 3339.
    pub updated: String,
    /// Its events, oldest first.
    pub events: Vec<EventRow>,
}

impl Run {
    /// Put a run together from its events, oldest first; none without events.
    #[must_use]
    pub fn of(events: Vec<EventRow>) -> Option<Self> {
        let (first, last) = (events.first()?, events.last()?);
        let text = |key: &str| {
            events
                .iter()
                .find_map(|event| event.data.get(key)?.as_str())
                .map(ToOwned::to_owned)
        };
        // A later success of the same stage outdates a failure: a run that was retried isn't failed.
        let status = events
            .iter()
            .fold(RunStatus::Announced, |status, event| match event.event_type.as_str() {
                "foundry.build.v1" => RunStatus::Built,
                "foundry.sign.v1" => RunStatus::Signed,
                "foundry.dist.v1" => RunStatus::Published,
                "foundry.failure.v1" => RunStatus::Failed,
                _ => status,
            });
        Some(Self {
            id: first.run.clone(),
            status,
            repository: text("repository"),
            branch: text("branch"),
            commit: text("ref"),
            subject: events.iter().rev().find_map(|event| event.subject.clone()),
            started: first.time.clone(),
            updated: last.time.clone(),
            events: events.clone(),
        })
    }
}

pub(super) fn insert(c: &Connection, event: &EventRow) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            event.id,
            event.run,
            event.event_type,
            event.topic,
            event.source,
            event.subject,
            event.time,
            event.cause,
            event.data.to_string(),
        ])?;
    Ok(())
}

fn row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let data: String = row.get(8)?;
    Ok(EventRow {
        id: row.get(0)?,
        run: row.get(1)?,
        event_type: row.get(2)?,
        topic: row.get(3)?,
        source: row.get(4)?,
        subject: row.get(5)?,
        time: row.get(6)?,
        cause: row.get(7)?,
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
        self.work(move |c| c.prepare_cached("SELECT 1 FROM events WHERE id = ?")?.exists([id]))
            .await
    }

    /// A run by its id or the beginning of one, or the newest run of a commit, by the beginning of its id; none if there
    /// is no such run, or more than one begins so.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, LedgerError> {
        let id = id.to_owned();
        self.work(move |c| {
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

    /// The newest runs, newest first.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn runs(&self, limit: u32) -> Result<Vec<Run>, LedgerError> {
        self.work(move |c| {
            let runs: Vec<String> = c
                .prepare_cached("SELECT run FROM events GROUP BY run ORDER BY min(time) DESC, run LIMIT ?")?
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

/// Shorter beginnings of a commit's id say too little.
const SHORTEST_COMMIT: usize = 7;

fn newest_of_commit(c: &Connection, commit: &str) -> rusqlite::Result<Option<String>> {
    if commit.len() < SHORTEST_COMMIT {
        return Ok(None);
    }
    c.prepare_cached(
        "SELECT run FROM events
         WHERE type = 'foundry.commit.v1' AND substr(json_extract(data, '$.ref'), 1, length(?1)) = ?1
         ORDER BY time DESC, rowid DESC LIMIT 1",
    )?
    .query_row([commit], |row| row.get(0))
    .optional()
}

fn events_of(c: &Connection, run: &str) -> rusqlite::Result<Vec<EventRow>> {
    c.prepare_cached(
        "SELECT id, run, type, topic, source, subject, time, cause, data FROM events WHERE run = ?
         ORDER BY time, rowid",
    )?
    .query_map([run], row)?
    .collect()
}
