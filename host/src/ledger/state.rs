//! Bots' key-value state.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Ledger, LedgerError};

pub(super) fn value(c: &Connection, bot: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    c.prepare_cached("SELECT value FROM state WHERE bot = ? AND key = ?")?
        .query_row(params![bot, key], |row| row.get(0))
        .optional()
}

pub(super) fn keys(c: &Connection, bot: &str, prefix: &str) -> rusqlite::Result<Vec<String>> {
    c.prepare_cached("SELECT key FROM state WHERE bot = ?1 AND substr(key, 1, length(?2)) = ?2 ORDER BY key")?
        .query_map(params![bot, prefix], |row| row.get(0))?
        .collect()
}

impl Ledger {
    /// A key's value.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn state(&self, bot: &str, key: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let (bot, key) = (bot.to_owned(), key.to_owned());
        self.work(move |c| value(c, &bot, &key)).await
    }

    /// The keys with a prefix, sorted.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn state_keys(&self, bot: &str, prefix: &str) -> Result<Vec<String>, LedgerError> {
        let (bot, prefix) = (bot.to_owned(), prefix.to_owned());
        self.work(move |c| keys(c, &bot, &prefix)).await
    }

    /// Bytes that a bot's keys and values take.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn state_size(&self, bot: &str) -> Result<u64, LedgerError> {
        let bot = bot.to_owned();
        self.work(move |c| {
            c.prepare_cached("SELECT coalesce(sum(length(key) + length(value)), 0) FROM state WHERE bot = ?")?
                .query_row(params![bot], |row| row.get::<_, i64>(0))
                .map(|size| u64::try_from(size).unwrap_or(0))
        })
        .await
    }
}
