//! Bots' key-value state.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Ledger, LedgerError};

/// Longest key of a bot's state, in bytes.
pub const LONGEST_KEY: usize = 1024;

pub(super) fn value(c: &Connection, bot: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    c.prepare_cached("SELECT value FROM state WHERE bot = ? AND key = ?")?
        .query_row(params![bot, key], |row| row.get(0))
        .optional()
}

/// By the primary key: whoever asks for few keys among many pays for few. No key is as long as the greatest characters that follow the
/// prefix here, so that none with that prefix is greater.
pub(super) fn keys(c: &Connection, bot: &str, prefix: &str) -> rusqlite::Result<Vec<String>> {
    let end = prefix.to_owned() + &char::MAX.to_string().repeat(LONGEST_KEY / 4);
    c.prepare_cached(
        "SELECT key FROM state WHERE bot = ?1 AND key >= ?2 AND key <= ?3 AND substr(key, 1, length(?2)) = ?2 ORDER BY key",
    )?
    .query_map(params![bot, prefix, end], |row| row.get(0))?
    .collect()
}

impl Ledger {
    /// A key's value.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn state(&self, bot: &str, key: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let (bot, key) = (bot.to_owned(), key.to_owned());
        self.read(move |c| value(c, &bot, &key)).await
    }

    /// The keys with a prefix, sorted.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn state_keys(&self, bot: &str, prefix: &str) -> Result<Vec<String>, LedgerError> {
        let (bot, prefix) = (bot.to_owned(), prefix.to_owned());
        self.read(move |c| keys(c, &bot, &prefix)).await
    }

    /// Bytes that a bot's keys and values take.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn state_size(&self, bot: &str) -> Result<u64, LedgerError> {
        let bot = bot.to_owned();
        self.read(move |c| {
            c.prepare_cached("SELECT coalesce(sum(length(key) + length(value)), 0) FROM state WHERE bot = ?")?
                .query_row(params![bot], |row| row.get::<_, i64>(0))
                .map(|size| u64::try_from(size).unwrap_or(0))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Settlement;
    use crate::runtime::StateWrite;

    #[tokio::test]
    async fn keys_are_found_by_their_beginning_whatever_follows() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        let greatest = char::MAX;
        let keys = [
            "a",
            "b",
            "b/",
            "b/1",
            &format!("b{greatest}"),
            &format!("b{greatest}{greatest}x"),
            "c",
            "é/1",
        ];
        let writes = keys.map(|key| StateWrite {
            key: key.to_owned(),
            value: Some(Vec::new()),
        });
        let settlement = Settlement {
            bot: "b".to_owned(),
            writes: writes.into(),
            ..Settlement::default()
        };
        ledger.settle(settlement).await.unwrap();
        for prefix in ["", "b", "b/", "é", "d", &greatest.to_string()] {
            let mut expected: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
            expected.sort();
            assert_eq!(
                ledger.state_keys("b", prefix).await.unwrap().iter().collect::<Vec<_>>(),
                expected,
                "{prefix:?}"
            );
        }
        assert_eq!(ledger.state_keys("other", "").await.unwrap(), [""; 0]);
    }
}
