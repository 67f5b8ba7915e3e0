//! Events that are decided and not yet acknowledged by the broker, and how many there may be.

use std::ops::AddAssign;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::dead_letters::{self, DeadLetter, DeadLetterKind};
use super::{Ledger, LedgerError};

/// A signed event that waits for the broker's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Position in the outbox.
    pub seq: i64,
    /// Full topic.
    pub topic: String,
    /// The signed event.
    pub payload: Vec<u8>,
    /// Whether another host may have published the same event.
    pub again: bool,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Events.
    pub rows: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// How much the outbox may hold before bots take no more messages. It is a high-water mark, not a wall: what is in hand
/// is still settled, since that must never fail for a full outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Events.
    pub rows: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            rows: 10_000,
            bytes: 64 * 1024 * 1024,
        }
    }
}

/// The outbox's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxStatus {
    /// What it holds.
    pub size: Size,
    /// Whether bots have to wait until it has drained to half of its limits.
    pub full: bool,
    limits: OutboxLimits,
}

impl OutboxStatus {
    pub(super) fn of(size: Size, limits: OutboxLimits) -> Self {
        let mut status = Self {
            size,
            full: false,
            limits,
        };
        status.judge();
        status
    }

    /// What it may hold.
    #[must_use]
    pub fn limits(&self) -> OutboxLimits {
        self.limits
    }

    fn judge(&mut self) {
        let Size { rows, bytes } = self.size;
        let share = |of: u64| rows >= self.limits.rows / of || bytes >= self.limits.bytes / of;
        // Two marks, so that bots don't start and stop with every event.
        self.full = if self.full { share(2) } else { share(1) };
    }
}

pub(super) fn insert(c: &Connection, topic: &str, payload: &[u8], again: bool) -> rusqlite::Result<Size> {
    c.prepare_cached("INSERT INTO outbox (topic, payload, again) VALUES (?, ?, ?)")?
        .execute(params![topic, payload, again])?;
    Ok(Size {
        rows: 1,
        bytes: payload.len() as u64,
    })
}

pub(super) fn measure(c: &Connection) -> rusqlite::Result<Size> {
    c.query_row(
        "SELECT count(*), coalesce(sum(length(payload)), 0) FROM outbox",
        [],
        |row| {
            Ok(Size {
                rows: row.get::<_, i64>(0)?.unsigned_abs(),
                bytes: row.get::<_, i64>(1)?.unsigned_abs(),
            })
        },
    )
}

/// Take a row out; none if it is gone.
fn remove(c: &Connection, seq: i64) -> rusqlite::Result<Option<OutboxRow>> {
    c.prepare_cached("DELETE FROM outbox WHERE seq = ? RETURNING seq, topic, payload, again")?
        .query_row([seq], row)
        .optional()
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        seq: row.get(0)?,
        topic: row.get(1)?,
        payload: row.get(2)?,
        again: row.get(3)?,
    })
}

impl Ledger {
    /// Wait until something was put into the outbox.
    pub async fn outbox_changed(&self) {
        self.outbox_changed.notified().await;
    }

    /// The outbox's level, now and as it changes.
    #[must_use]
    pub fn outbox_level(&self) -> watch::Receiver<OutboxStatus> {
        self.outbox_level.subscribe()
    }

    /// How much the outbox may hold.
    pub fn limit_outbox(&self, limits: OutboxLimits) {
        self.outbox_level.send_modify(|status| {
            status.limits = limits;
            status.judge();
        });
    }

    pub(super) fn outbox_grew(&self, added: Size) {
        if added.rows > 0 {
            self.outbox_level.send_modify(|status| {
                status.size += added;
                status.judge();
            });
            self.outbox_changed.notify_one();
        }
    }

    fn outbox_shrank(&self, removed: Size) {
        self.outbox_level.send_modify(|status| {
            status.size.rows = status.size.rows.saturating_sub(removed.rows);
            status.size.bytes = status.size.bytes.saturating_sub(removed.bytes);
            status.judge();
        });
    }

    /// The outbox's oldest rows after a position, without those of some topics.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn outbox(&self, after: i64, limit: u32, without: Vec<String>) -> Result<Vec<OutboxRow>, LedgerError> {
        self.work(move |c| {
            let holes = vec!["?"; without.len()].join(", ");
            let sql = format!(
                "SELECT seq, topic, payload, again FROM outbox
                 WHERE topic NOT IN ({holes}) AND seq > ? ORDER BY seq LIMIT ?"
            );
            let values = without.iter().cloned().map(Value::from);
            let values = values.chain([Value::from(after), Value::from(i64::from(limit))]);
            c.prepare_cached(&sql)?
                .query_map(params_from_iter(values), row)?
                .collect()
        })
        .await
    }

    /// The newest row's position; 0 if there is none.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn newest_in_outbox(&self) -> Result<i64, LedgerError> {
        self.work(|c| c.query_row("SELECT coalesce(max(seq), 0) FROM outbox", [], |row| row.get(0)))
            .await
    }

    /// Forget outbox rows that the broker has acknowledged.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn published(&self, seqs: Vec<i64>) -> Result<(), LedgerError> {
        let removed = self
            .work(move |c| {
                let mut removed = Size::default();
                for seq in &seqs {
                    if let Some(row) = remove(c, *seq)? {
                        removed += size_of(&row);
                    }
                }
                Ok(removed)
            })
            .await?;
        self.outbox_shrank(removed);
        Ok(())
    }

    /// Set a row aside that the broker will never take. Returns the dead letter's number; none if the row is gone.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn refused(&self, seq: i64, reason: &str) -> Result<Option<i64>, LedgerError> {
        let reason = reason.to_owned();
        let buried = self
            .work(move |c| {
                let Some(row) = remove(c, seq)? else { return Ok(None) };
                let event: serde_json::Value = serde_json::from_slice(&row.payload).unwrap_or_default();
                let text = |key: &str| event.get(key).and_then(|value| value.as_str()).map(ToOwned::to_owned);
                // `<host>/<bot>`
                let source = text("source").unwrap_or_default();
                let bot = source.rsplit('/').next().unwrap_or_default();
                let dead = DeadLetter {
                    kind: DeadLetterKind::Outbox,
                    ..DeadLetter::now(bot, &row.topic, text("id"), reason.clone(), 1, &row.payload)
                };
                let number = dead_letters::insert(c, &dead)?;
                Ok(Some((number, size_of(&row))))
            })
            .await?;
        Ok(buried.map(|(number, size)| {
            self.outbox_shrank(size);
            number
        }))
    }
}

fn size_of(row: &OutboxRow) -> Size {
    Size {
        rows: 1,
        bytes: row.payload.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Settlement;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        (directory, ledger)
    }

    async fn publish(ledger: &Ledger, topics: &[&str]) {
        let publish = topics
            .iter()
            .map(|topic| ((*topic).to_owned(), b"{}".to_vec()))
            .collect();
        let settlement = Settlement {
            publish,
            ..Settlement::default()
        };
        ledger.settle(settlement).await.unwrap();
    }

    #[test]
    fn a_full_outbox_stays_full_until_half_of_it_is_gone() {
        let limits = OutboxLimits { rows: 10, bytes: 1000 };
        let mut status = OutboxStatus::of(Size { rows: 9, bytes: 0 }, limits);
        let mut full_at = |rows, bytes| {
            status.size = Size { rows, bytes };
            status.judge();
            status.full
        };
        assert_eq!(
            [
                full_at(9, 0),
                full_at(10, 0),
                full_at(6, 0),
                full_at(4, 0),
                full_at(4, 1000),
                full_at(4, 499)
            ],
            [false, true, true, false, true, false]
        );
    }

    #[tokio::test]
    async fn the_level_follows_the_rows_and_survives_a_reopening() {
        let (directory, ledger) = ledger();
        publish(&ledger, &["a", "b", "a"]).await;
        assert_eq!(ledger.outbox_level().borrow().size, Size { rows: 3, bytes: 6 });
        ledger.published(vec![1, 1, 77]).await.unwrap();
        assert_eq!(ledger.outbox_level().borrow().size, Size { rows: 2, bytes: 4 });
        drop(ledger);
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        assert_eq!(ledger.outbox_level().borrow().size, Size { rows: 2, bytes: 4 });
    }

    #[tokio::test]
    async fn topics_can_be_left_out() {
        let (_directory, ledger) = ledger();
        publish(&ledger, &["a", "b", "a", "c"]).await;
        let rows = ledger.outbox(0, 10, vec!["a".into()]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(ledger.newest_in_outbox().await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_refused_row_is_a_dead_letter_and_can_be_requeued() {
        let (_directory, ledger) = ledger();
        publish(&ledger, &["a"]).await;
        let number = ledger
            .refused(1, "the broker does not allow it")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(ledger.outbox_level().borrow().size, Size::default());
        let dead = ledger.dead_letters().await.unwrap();
        assert_eq!((dead[0].seq, dead[0].kind), (number, DeadLetterKind::Outbox));
        assert!(ledger.requeue_dead_letter(number).await.unwrap());
        assert_eq!(ledger.dead_letters().await.unwrap(), []);
        let rows = ledger.outbox(0, 10, Vec::new()).await.unwrap();
        assert_eq!((rows[0].topic.as_str(), rows.len()), ("a", 1));
        assert_eq!(ledger.outbox_level().borrow().size.rows, 1);
    }
}
