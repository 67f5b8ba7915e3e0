//! Other hosts that have a member of a group, as far as this host has seen.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use time::{Duration, OffsetDateTime};

use super::{Ledger, LedgerError};

/// How long a host that took its leave is remembered. It may have settled what its publisher, not knowing, sends again.
const FAREWELL: Duration = Duration::minutes(10);

/// Memberships that are remembered: of 1,024 hosts in four groups each.
const MOST: u32 = 4096;

/// Memberships of one host that are remembered. A host can invent any number of groups.
const MOST_OF_HOST: u32 = 256;

impl Ledger {
    /// Remember that a host has a member of a group. Beyond a bound the one that is gone for longest is forgotten for it (of
    /// that host, if it is the host that has too many), and if none is gone, the newcomer is not remembered: `false`.
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
            if !make_room(c, &host)? {
                return Ok(false);
            }
            let added = "INSERT INTO peers (grp, host) VALUES (?, ?)";
            Ok(c.prepare_cached(added)?.execute(params![group, host])? > 0)
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

    /// Forget the memberships of all hosts but these.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn forget_peers_but(&self, known: BTreeSet<String>) -> Result<(), LedgerError> {
        self.work(move |c| {
            let mut hosts = c.prepare_cached("SELECT DISTINCT host FROM peers")?;
            let hosts: Vec<String> = hosts.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            for host in hosts.iter().filter(|host| !known.contains(*host)) {
                c.prepare_cached("DELETE FROM peers WHERE host = ?")?.execute([host])?;
            }
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

/// Forget a membership for one more of a host, if there are too many. Returns whether there is room then.
fn make_room(c: &Connection, host: &str) -> rusqlite::Result<bool> {
    let count = "SELECT count(*), coalesce(sum(host = ?), 0) FROM peers";
    let (all, of_host): (u32, u32) = c
        .prepare_cached(count)?
        .query_row([host], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let whose = match (of_host >= MOST_OF_HOST, all >= MOST) {
        (true, _) => Some(host),
        (false, true) => None,
        (false, false) => return Ok(true),
    };
    let forget = "DELETE FROM peers WHERE (grp, host) IN (SELECT grp, host FROM peers
        WHERE gone IS NOT NULL AND (?1 IS NULL OR host = ?1) ORDER BY gone LIMIT 1)";
    Ok(c.prepare_cached(forget)?.execute([whose])? > 0)
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
    async fn a_host_that_is_in_too_many_groups_takes_no_room_from_others() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        let mut remembered = 0;
        for number in 0..2 * MOST_OF_HOST {
            remembered += u32::from(ledger.remember_peer(&format!("g{number}"), "flood").await.unwrap());
        }
        assert_eq!(remembered, MOST_OF_HOST);
        assert!(ledger.remember_peer("g0", "other").await.unwrap());
        assert!(ledger.remember_peer("g0", "flood").await.unwrap(), "it is known");
        let now = OffsetDateTime::now_utc();
        ledger.peer_left("g1", "flood", now).await.unwrap();
        assert!(ledger.remember_peer("late", "flood").await.unwrap());
        assert_eq!(ledger.peers("g1", now).await.unwrap(), [""; 0], "it made room");
        assert_eq!(ledger.peers("g0", now).await.unwrap(), ["flood", "other"]);
    }

    #[tokio::test]
    async fn hosts_that_are_known_no_longer_are_forgotten_in_all_groups() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        for (group, host) in [("a", "known"), ("a", "removed"), ("b", "removed")] {
            ledger.remember_peer(group, host).await.unwrap();
        }
        ledger.forget_peers_but(["known".to_owned()].into()).await.unwrap();
        let now = OffsetDateTime::now_utc();
        assert_eq!(ledger.peers("a", now).await.unwrap(), ["known"]);
        assert_eq!(ledger.peers("b", now).await.unwrap(), [""; 0]);
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
