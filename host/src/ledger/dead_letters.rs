//! Messages that were given up, with the reason.

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Ledger, LedgerError};

/// Dead letters that are kept; the oldest go first, so that a flood of forged events can't fill the disk.
const MAX_KEPT: i64 = 10_000;

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number.
    pub seq: i64,
    /// When it was given up, RFC 3339.
    pub at: String,
    /// The bot that it was for.
    pub bot: String,
    /// Full topic.
    pub topic: String,
    /// The event's id, if it has a valid one.
    pub id: Option<String>,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The message as it came, at most its first 64 KiB.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub payload: Vec<u8>,
}

fn as_text<S: serde::Serializer>(payload: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(payload))
}

fn from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    String::deserialize(deserializer).map(String::into_bytes)
}

impl DeadLetter {
    /// A message that is given up now.
    #[must_use]
    pub fn now(bot: &str, topic: &str, id: Option<String>, reason: String, attempts: u32, payload: &[u8]) -> Self {
        Self {
            seq: 0,
            at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            bot: bot.to_owned(),
            topic: topic.to_owned(),
            id,
            reason,
            attempts,
            payload: payload.get(..64 * 1024).unwrap_or(payload).to_owned(),
        }
    }
}

pub(super) fn insert(c: &Connection, dead: &DeadLetter) -> rusqlite::Result<()> {
    c.prepare_cached(
        "INSERT INTO dead_letters (at, bot, topic, id, reason, attempts, payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        dead.at,
        dead.bot,
        dead.topic,
        dead.id,
        dead.reason,
        dead.attempts,
        dead.payload
    ])?;
    c.prepare_cached("DELETE FROM dead_letters WHERE seq <= (SELECT max(seq) FROM dead_letters) - ?")?
        .execute([MAX_KEPT])?;
    Ok(())
}

fn row(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        seq: row.get(0)?,
        at: row.get(1)?,
        bot: row.get(2)?,
        topic: row.get(3)?,
        id: row.get(4)?,
        reason: row.get(5)?,
        attempts: row.get(6)?,
        payload: row.get(7)?,
    })
}

impl Ledger {
    /// Keep a message that was refused before it became anybody's.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn bury(&self, dead: DeadLetter) -> Result<(), LedgerError> {
        self.work(move |c| insert(c, &dead)).await
    }

    /// The dead letters, oldest first.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, LedgerError> {
        self.work(|c| {
            c.prepare_cached(
                "SELECT seq, at, bot, topic, id, reason, attempts, payload FROM dead_letters ORDER BY seq",
            )?
            .query_map([], row)?
            .collect()
        })
        .await
    }

    /// Take a dead letter out, to publish it again or to forget it.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn take_dead_letter(&self, seq: i64) -> Result<Option<DeadLetter>, LedgerError> {
        use rusqlite::OptionalExtension;
        self.work(move |c| {
            c.prepare_cached(
                "DELETE FROM dead_letters WHERE seq = ?
                 RETURNING seq, at, bot, topic, id, reason, attempts, payload",
            )?
            .query_row([seq], row)
            .optional()
        })
        .await
    }
}
