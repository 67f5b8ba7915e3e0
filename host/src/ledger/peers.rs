//! Other hosts that have a member of a group, as far as this host has seen.

use rusqlite::params;

use super::{Ledger, LedgerError};

impl Ledger {
    /// Remember that a host has a member of a group.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn remember_peer(&self, group: &str, host: &str) -> Result<(), LedgerError> {
        let (group, host) = (group.to_owned(), host.to_owned());
        self.work(move |c| {
            c.prepare_cached("INSERT OR IGNORE INTO peers VALUES (?, ?)")?
                .execute(params![group, host])?;
            Ok(())
        })
        .await
    }

    /// Forget that a host has a member of a group: it took its leave.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn forget_peer(&self, group: &str, host: &str) -> Result<(), LedgerError> {
        let (group, host) = (group.to_owned(), host.to_owned());
        self.work(move |c| {
            c.prepare_cached("DELETE FROM peers WHERE grp = ? AND host = ?")?
                .execute(params![group, host])?;
            Ok(())
        })
        .await
    }

    /// The hosts that have a member of a group, besides this one.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn peers(&self, group: &str) -> Result<Vec<String>, LedgerError> {
        let group = group.to_owned();
        self.work(move |c| {
            c.prepare_cached("SELECT host FROM peers WHERE grp = ? ORDER BY host")?
                .query_map([group], |row| row.get(0))?
                .collect()
        })
        .await
    }
}
