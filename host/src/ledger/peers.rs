//! Other hosts that have a member of a group, as far as this host has seen.

use rusqlite::params;
use time::{Duration, OffsetDateTime};

use super::{Ledger, LedgerError};

/// How long a host that took its leave is remembered. It may have settled what its publisher, not knowing, sends again.
const FAREWELL: Duration = Duration::minutes(10);

/// Memberships that are remembered: of 1,024 hosts in four groups each. Whoever may publish can invent any number.
const MOST: u32 = 4096;

impl Ledger {
    /// Remember that a host has a member of a group. Beyond a bound the one that is gone for longest is forgotten for it, and
    /// if none is gone, the newcomer is not remembered: `false`.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn remember_peer(&self, group: &str, host: &str) -> Result<bool, LedgerError> {
        let (group, host) = (group.to_owned(), host.to_owned());
        self.work(move |c| {
            let known = "UPDATE peers SET gone = NULL WHERE grp = ? AND host = ?";
            if c.prepare_cached(known)?.execute(params![group, host])? > 0 {
                return Ok(true);
            }
            c.prepare_cached(
                "DELETE FROM peers WHERE (SELECT count(*) FROM peers) >= ? AND (grp, host) IN
                    (SELECT grp, host FROM peers WHERE gone IS NOT NULL ORDER BY gone LIMIT 1)",
            )?
            .execute([MOST])?;
            let room = "INSERT INTO peers (grp, host) SELECT ?, ? WHERE (SELECT count(*) FROM peers) < ?";
            Ok(c.prepare_cached(room)?.execute(params![group, host, MOST])? > 0)
        })
        .await
    }

    /// Note that a host took its leave of a group at a time.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn peer_left(&self, group: &str, host: &str, at: OffsetDateTime) -> Result<(), LedgerError> {
        let (group, host) = (group.to_owned(), host.to_owned());
        self.work(move |c| {
            c.prepare_cached("UPDATE peers SET gone = ? WHERE grp = ? AND host = ? AND gone IS NULL")?
                .execute(params![at.unix_timestamp(), group, host])?;
            c.prepare_cached("DELETE FROM peers WHERE gone < ?")?
                .execute([(at - FAREWELL).unix_timestamp()])?;
            Ok(())
        })
        .await
    }

    /// The hosts that have a member of a group, besides this one, and those that left a short time before.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn peers(&self, group: &str, now: OffsetDateTime) -> Result<Vec<String>, LedgerError> {
        let group = group.to_owned();
        self.work(move |c| {
            c.prepare_cached("SELECT host FROM peers WHERE grp = ? AND (gone IS NULL OR gone >= ?) ORDER BY host")?
                .query_map(params![group, (now - FAREWELL).unix_timestamp()], |row| row.get(0))?
                .collect()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_beyond_the_bound_take_the_place_of_one_that_is_gone_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        for number in 0..MOST {
            assert!(ledger.remember_peer("g", &format!("h{number}")).await.unwrap());
        }
        assert!(!ledger.remember_peer("g", "newcomer").await.unwrap(), "all are there");
        assert!(ledger.remember_peer("g", "h7").await.unwrap(), "it is known");
        let now = OffsetDateTime::now_utc();
        ledger.peer_left("g", "h9", now).await.unwrap();
        ledger.peer_left("g", "h8", now + Duration::SECOND).await.unwrap();
        assert!(ledger.remember_peer("g", "newcomer").await.unwrap());
        let known = ledger.peers("g", now).await.unwrap();
        assert_eq!(known.len(), MOST as usize);
        let knows = |host: &str| known.iter().any(|known| known == host);
        assert!(knows("newcomer") && knows("h8") && !knows("h9"));
    }

    #[tokio::test]
    async fn a_host_that_left_is_still_asked_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        let now = OffsetDateTime::now_utc();
        for host in ["left", "right"] {
            ledger.remember_peer("g", host).await.unwrap();
        }
        ledger.peer_left("g", "left", now).await.unwrap();
        assert_eq!(ledger.peers("g", now + FAREWELL).await.unwrap(), ["left", "right"]);
        let later = now + FAREWELL + Duration::SECOND;
        assert_eq!(ledger.peers("g", later).await.unwrap(), ["right"]);
        ledger.remember_peer("g", "left").await.unwrap();
        assert_eq!(ledger.peers("g", later).await.unwrap(), ["left", "right"], "it is back");
    }
}
