//! A message's way through a host: attempts, settlement, and the outbox of what it led to.

use rusqlite::{Connection, OptionalExtension, params};
use time::OffsetDateTime;

use super::dead_letters::{self, DeadLetter};
use super::runs::{self, EventRow};
use super::{Ledger, LedgerError};
use crate::runtime::StateWrite;

/// A signed event that waits for the broker's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Position in the outbox.
    pub seq: i64,
    /// Full topic.
    pub topic: String,
    /// The signed event.
    pub payload: Vec<u8>,
}

/// Everything that takes effect when a message, or a timer's tick, is over: in one transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settlement {
    /// The bot.
    pub bot: String,
    /// Group and event id of the message; none for a tick.
    pub message: Option<(String, String)>,
    /// State writes.
    pub writes: Vec<StateWrite>,
    /// Full topic and signed payload of each event to publish.
    pub publish: Vec<(String, Vec<u8>)>,
    /// The same events, for `runs`.
    pub events: Vec<EventRow>,
    /// The message itself, if it was given up.
    pub dead: Option<DeadLetter>,
}

impl Ledger {
    /// Make a settlement's effects true, all of them or none.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing took effect then.
    pub async fn settle(&self, settlement: Settlement) -> Result<(), LedgerError> {
        let publishes = !settlement.publish.is_empty();
        self.work(move |c| settle(c, &settlement)).await?;
        if publishes {
            self.outbox_changed.notify_one();
        }
        Ok(())
    }

    /// Whether a group has settled an event already.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn is_processed(&self, group: &str, id: &str) -> Result<bool, LedgerError> {
        let (group, id) = (group.to_owned(), id.to_owned());
        self.work(move |c| {
            c.prepare_cached("SELECT 1 FROM processed WHERE grp = ? AND id = ?")?
                .exists(params![group, id])
        })
        .await
    }

    /// How many attempts at an event have failed.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn attempts(&self, group: &str, id: &str) -> Result<u32, LedgerError> {
        let (group, id) = (group.to_owned(), id.to_owned());
        self.work(move |c| {
            c.prepare_cached("SELECT count FROM attempts WHERE grp = ? AND id = ?")?
                .query_row(params![group, id], |row| row.get(0))
                .optional()
                .map(Option::unwrap_or_default)
        })
        .await
    }

    /// Count a failed attempt; returns how many there are now.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn count_attempt(&self, group: &str, id: &str) -> Result<u32, LedgerError> {
        let (group, id) = (group.to_owned(), id.to_owned());
        self.work(move |c| {
            c.prepare_cached(
                "INSERT INTO attempts VALUES (?, ?, 1)
                 ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count",
            )?
            .query_row(params![group, id], |row| row.get(0))
        })
        .await
    }

    /// The outbox's oldest rows after a position.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn outbox(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, LedgerError> {
        self.work(move |c| {
            c.prepare_cached("SELECT seq, topic, payload FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?")?
                .query_map(params![after, limit], |row| {
                    Ok(OutboxRow {
                        seq: row.get(0)?,
                        topic: row.get(1)?,
                        payload: row.get(2)?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// Forget outbox rows that the broker has acknowledged.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn published(&self, seqs: Vec<i64>) -> Result<(), LedgerError> {
        self.work(move |c| {
            let mut delete = c.prepare_cached("DELETE FROM outbox WHERE seq = ?")?;
            for seq in seqs {
                delete.execute([seq])?;
            }
            Ok(())
        })
        .await
    }

    /// Forget processed ids that are older than any event that would still be accepted.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn forget_processed_before(&self, time: OffsetDateTime) -> Result<usize, LedgerError> {
        self.work(move |c| c.execute("DELETE FROM processed WHERE at < ?", [time.unix_timestamp()]))
            .await
    }
}

fn settle(c: &Connection, settlement: &Settlement) -> rusqlite::Result<()> {
    if let Some((group, id)) = &settlement.message {
        let settled = c
            .prepare_cached("INSERT OR IGNORE INTO processed VALUES (?, ?, ?)")?
            .execute(params![group, id, OffsetDateTime::now_utc().unix_timestamp()])?;
        if settled == 0 {
            // Somebody else of the group on this host had the same message in hand, and was faster.
            return Ok(());
        }
        c.prepare_cached("DELETE FROM attempts WHERE grp = ? AND id = ?")?
            .execute(params![group, id])?;
    }
    for write in &settlement.writes {
        match &write.value {
            Some(value) => c
                .prepare_cached("INSERT INTO state VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")?
                .execute(params![settlement.bot, write.key, value])?,
            None => c
                .prepare_cached("DELETE FROM state WHERE bot = ? AND key = ?")?
                .execute(params![settlement.bot, write.key])?,
        };
    }
    for (topic, payload) in &settlement.publish {
        c.prepare_cached("INSERT INTO outbox (topic, payload) VALUES (?, ?)")?
            .execute(params![topic, payload])?;
    }
    for event in &settlement.events {
        runs::insert(c, event)?;
    }
    if let Some(dead) = &settlement.dead {
        dead_letters::insert(c, dead)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        (directory, ledger)
    }

    fn settlement() -> Settlement {
        Settlement {
            bot: "b".into(),
            message: Some(("g".into(), "m1".into())),
            writes: vec![StateWrite {
                key: "k".into(),
                value: Some(b"v".to_vec()),
            }],
            publish: vec![("foundry/builds".into(), b"{}".to_vec())],
            ..Settlement::default()
        }
    }

    #[tokio::test]
    async fn a_settlement_is_all_there() {
        let (_directory, ledger) = ledger();
        assert!(!ledger.is_processed("g", "m1").await.unwrap());
        assert_eq!(ledger.count_attempt("g", "m1").await.unwrap(), 1);
        assert_eq!(ledger.count_attempt("g", "m1").await.unwrap(), 2);
        ledger.settle(settlement()).await.unwrap();
        assert!(ledger.is_processed("g", "m1").await.unwrap());
        assert!(!ledger.is_processed("other", "m1").await.unwrap());
        assert_eq!(ledger.attempts("g", "m1").await.unwrap(), 0);
        assert_eq!(ledger.state("b", "k").await.unwrap().unwrap(), b"v");
        assert_eq!(ledger.outbox(0, 10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_message_that_two_members_had_in_hand_takes_effect_once() {
        let (_directory, ledger) = ledger();
        let second = Settlement {
            writes: vec![StateWrite {
                key: "k".into(),
                value: Some(b"second".to_vec()),
            }],
            ..settlement()
        };
        ledger.settle(settlement()).await.unwrap();
        ledger.settle(second).await.unwrap();
        assert_eq!(ledger.state("b", "k").await.unwrap().unwrap(), b"v");
        assert_eq!(ledger.outbox(0, 10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_was_settled_is_there_after_a_reopening() {
        let (directory, ledger) = ledger();
        ledger.settle(settlement()).await.unwrap();
        drop(ledger);
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        assert!(ledger.is_processed("g", "m1").await.unwrap());
        let rows = ledger.outbox(0, 10).await.unwrap();
        ledger
            .published(rows.iter().map(|row| row.seq).collect())
            .await
            .unwrap();
        assert_eq!(ledger.outbox(0, 10).await.unwrap(), []);
    }
}
