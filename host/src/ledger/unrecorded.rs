//! Events of other hosts that were refused for a reason that may pass: `runs` will want them then. No bot is without them, so
//! they are no dead letters.

use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::dead_letters::moment;
use super::{Ledger, LedgerError};
use crate::event::Cure;

/// How many are kept; the oldest go first, so that a flood of forged events can't fill the disk.
const MAX_KEPT: i64 = 1_000;

/// Bytes that are kept, for the same reason.
const MAX_BYTES: i64 = 16 * 1024 * 1024;

/// How many are looked at together: their payloads are in memory meanwhile.
const PAGE: i64 = 20;

/// A refused event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    /// Its number.
    pub seq: i64,
    /// The full topic that it came on.
    pub topic: String,
    /// The event as it came.
    pub payload: Vec<u8>,
}

fn insert(c: &Connection, topic: &str, payload: &[u8], cure: Cure) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT INTO unrecorded (topic, payload, retry_on_trust, retry_at) VALUES (?, ?, ?, ?)")?
        .execute(params![
            topic,
            payload,
            !matches!(cure, Cure::At(_)),
            moment(Some(cure))
        ])?;
    c.prepare_cached("DELETE FROM unrecorded WHERE seq <= (SELECT max(seq) FROM unrecorded) - ?")?
        .execute([MAX_KEPT])?;
    // Of the newest up to the bound, and none older than the first that goes beyond it.
    c.prepare_cached(
        "DELETE FROM unrecorded WHERE seq <= (
             SELECT max(seq) FROM (SELECT seq, sum(length(payload)) OVER (ORDER BY seq DESC) AS bytes FROM unrecorded)
             WHERE bytes > ?)",
    )?
    .execute([MAX_BYTES])?;
    Ok(())
}

impl Ledger {
    /// Keep an event that was refused and may become acceptable.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn keep_unrecorded(&self, topic: &str, payload: &[u8], cure: Cure) -> Result<(), LedgerError> {
        let (topic, payload) = (topic.to_owned(), payload.to_owned());
        self.work(move |c| insert(c, &topic, &payload, cure)).await
    }

    /// Refused events after a number that may have become acceptable, oldest first, 20 at most; which ones, as for dead letters.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn recordable(
        &self,
        after: i64,
        trust_changed: bool,
        now: OffsetDateTime,
    ) -> Result<Vec<Unrecorded>, LedgerError> {
        self.work(move |c| {
            c.prepare_cached(
                "SELECT seq, topic, payload FROM unrecorded
                 WHERE seq > ? AND (retry_at <= ? OR (? AND retry_on_trust)) ORDER BY seq LIMIT ?",
            )?
            .query_map(params![after, now.unix_timestamp(), trust_changed, PAGE], |row| {
                Ok(Unrecorded {
                    seq: row.get(0)?,
                    topic: row.get(1)?,
                    payload: row.get(2)?,
                })
            })?
            .collect()
        })
        .await
    }

    /// Note what a refused event waits for now; without anything it is forgotten.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn still_unrecorded(&self, seq: i64, cure: Option<Cure>) -> Result<(), LedgerError> {
        self.work(move |c| {
            let Some(cure) = cure else {
                return c.prepare_cached("DELETE FROM unrecorded WHERE seq = ?")?.execute([seq]);
            };
            c.prepare_cached("UPDATE unrecorded SET retry_on_trust = ?, retry_at = ? WHERE seq = ?")?
                .execute(params![!matches!(cure, Cure::At(_)), moment(Some(cure)), seq])
        })
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(ledger: &Ledger) -> Vec<Unrecorded> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = ledger.recordable(after, true, OffsetDateTime::now_utc()).await.unwrap();
            let Some(last) = page.last() else { return all };
            after = last.seq;
            all.extend(page);
        }
    }

    #[tokio::test]
    async fn of_what_is_refused_the_newest_are_kept_within_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        for number in 0..1_010_u32 {
            ledger
                .keep_unrecorded("foundry/builds", &number.to_be_bytes(), Cure::Trust)
                .await
                .unwrap();
        }
        let all = kept(&ledger).await;
        assert_eq!((all.len(), &all[0].payload), (1_000, &10_u32.to_be_bytes().to_vec()));
        let large = vec![b'x'; 512 * 1024];
        for _ in 0..40 {
            ledger
                .keep_unrecorded("foundry/builds", &large, Cure::Trust)
                .await
                .unwrap();
        }
        assert_eq!(kept(&ledger).await.len(), 32, "16 MiB of them");
    }

    #[tokio::test]
    async fn each_waits_for_what_helps_it() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        let now = OffsetDateTime::now_utc();
        let soon = now + time::Duration::MINUTE;
        for cure in [Cure::Trust, Cure::At(soon)] {
            ledger.keep_unrecorded("foundry/builds", b"{}", cure).await.unwrap();
        }
        let numbers = async |trust_changed, now| -> Vec<i64> {
            let page = ledger.recordable(0, trust_changed, now).await.unwrap();
            page.into_iter().map(|event| event.seq).collect()
        };
        assert!(numbers(false, now).await.is_empty());
        assert_eq!(numbers(true, now).await, [1]);
        assert_eq!(numbers(false, soon + time::Duration::SECOND).await, [2]);
        ledger.still_unrecorded(1, Some(Cure::At(soon))).await.unwrap();
        assert!(numbers(true, now).await.is_empty());
        ledger.still_unrecorded(1, None).await.unwrap();
        assert_eq!(numbers(true, soon + time::Duration::SECOND).await, [2]);
    }
}
