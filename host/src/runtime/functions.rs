//! Compiled functions, kept for the next component that has the same ones.
//!
//! A bot in Python or JavaScript is an interpreter with the bot in its memory: from one build to the next the data differ
//! and the functions don't. So most of a compilation can be taken from the one before it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, params};

const FILE: &str = "functions.sqlite";

/// Size of the file at which those that were not used for longest go: the interpreters of several languages fit in.
pub(super) const MOST: u64 = 512 * 1024 * 1024;

/// What waits in memory before it is written.
const BATCH: usize = 8 * 1024 * 1024;

/// How exactly a function's last use is known. Coarse, so that reading rarely means writing.
const GRAIN: Duration = Duration::from_hours(1);

/// How long another process may keep the file to itself.
const PATIENCE: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS functions (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, used INTEGER NOT NULL, code BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS functions_used ON functions (used);
";

/// The functions of all components that were compiled with one directory. Several processes may share it.
///
/// All of it only saves time: where reading or writing fails, functions are compiled.
#[derive(Debug)]
pub(super) struct FunctionCache {
    state: Mutex<State>,
    most: u64,
}

#[derive(Debug)]
struct State {
    connection: Connection,
    /// Compiled since the last write, by key.
    fresh: HashMap<Vec<u8>, Vec<u8>>,
    fresh_size: usize,
    /// Rows whose last use is further back than the grain.
    touched: Vec<i64>,
}

impl FunctionCache {
    /// Open the cache of a directory that only the host can write, since what is in it is run as machine code.
    pub(super) fn open(directory: &Path) -> Result<Self, rusqlite::Error> {
        Self::bounded(directory, MOST)
    }

    fn bounded(directory: &Path, most: u64) -> Result<Self, rusqlite::Error> {
        let path = directory.join(FILE);
        let connection = connect(&path).or_else(|error| match error.sqlite_error_code() {
            // Whatever it was, it can be made again.
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                for suffix in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(directory.join(format!("{FILE}{suffix}")));
                }
                connect(&path)
            }
            _ => Err(error),
        })?;
        let state = State {
            connection,
            fresh: HashMap::new(),
            fresh_size: 0,
            touched: Vec::new(),
        };
        Ok(Self {
            state: Mutex::new(state),
            most,
        })
    }

    /// Write what is new, and make room. Called when a component is compiled.
    pub(super) fn flush(&self) {
        let mut state = self.state();
        let result = state.write(now()).and_then(|()| state.make_room(self.most));
        if let Err(error) = result {
            tracing::debug!(%error, "cannot keep compiled functions");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is half done where a thread could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl wasmtime::CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let found = self.state().find(key, now());
        found
            .inspect_err(|error| tracing::debug!(%error, "cannot read a compiled function"))
            .ok()
            .flatten()
            .map(Cow::Owned)
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let mut state = self.state();
        state.fresh_size += value.len();
        state.fresh.insert(key.to_vec(), value);
        if state.fresh_size < BATCH {
            return true;
        }
        let written = state.write(now());
        written
            .inspect_err(|error| tracing::debug!(%error, "cannot keep compiled functions"))
            .is_ok()
    }
}

impl Drop for FunctionCache {
    fn drop(&mut self) {
        self.flush();
    }
}

impl State {
    fn find(&mut self, key: &[u8], now: i64) -> rusqlite::Result<Option<Vec<u8>>> {
        if let Some(code) = self.fresh.get(key) {
            return Ok(Some(code.clone()));
        }
        let row = self
            .connection
            .prepare_cached("SELECT id, used, code FROM functions WHERE key = ?")?
            .query_row([key], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?)))
            .optional()?;
        Ok(row.map(|(id, used, code)| {
            if now.saturating_sub(used) > GRAIN.as_secs().cast_signed() {
                self.touched.push(id);
            }
            code
        }))
    }

    fn write(&mut self, now: i64) -> rusqlite::Result<()> {
        // Forgotten even if writing fails: they'd be too many the next time as well.
        let fresh = std::mem::take(&mut self.fresh);
        let touched = std::mem::take(&mut self.touched);
        self.fresh_size = 0;
        if fresh.is_empty() && touched.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT OR IGNORE INTO functions (key, used, code) VALUES (?, ?, ?)")?;
            for (key, code) in fresh {
                insert.execute(params![key, now, code])?;
            }
            let mut touch = transaction.prepare_cached("UPDATE functions SET used = ? WHERE id = ?")?;
            for id in touched {
                touch.execute([now, id])?;
            }
        }
        transaction.commit()
    }

    /// Remove what was not used for longest until a quarter of the room is free.
    fn make_room(&mut self, most: u64) -> rusqlite::Result<()> {
        const STEP: u32 = 256;
        if self.size()? <= most {
            return Ok(());
        }
        while self.size()? > most / 4 * 3 {
            let removed = self.connection.execute(
                "DELETE FROM functions WHERE id IN (SELECT id FROM functions ORDER BY used, id LIMIT ?)",
                [STEP],
            )?;
            if removed == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Bytes that are in use. The file keeps what it once had, and fills it again.
    fn size(&self) -> rusqlite::Result<u64> {
        let number = |name| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map(i64::unsigned_abs)
        };
        Ok((number("page_count")? - number("freelist_count")?) * number("page_size")?)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // The last compilation may be lost with the power; what is there is whole all the same.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::CacheStore as _;

    fn key(number: u32) -> Vec<u8> {
        number.to_be_bytes().repeat(8)
    }

    #[test]
    fn what_one_host_compiled_the_next_one_finds() {
        let directory = tempfile::tempdir().unwrap();
        let first = FunctionCache::open(directory.path()).unwrap();
        assert_eq!(first.get(&key(1)), None);
        assert!(first.insert(&key(1), b"code".to_vec()));
        assert_eq!(first.get(&key(1)).as_deref(), Some(&b"code"[..]));
        first.flush();
        let second = FunctionCache::open(directory.path()).unwrap();
        assert_eq!(second.get(&key(1)).as_deref(), Some(&b"code"[..]));
        assert_eq!(second.get(&key(2)), None);
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let cache = FunctionCache::bounded(directory.path(), 4 * 1024 * 1024).unwrap();
        for number in 0..1500 {
            let mut state = cache.state();
            state.fresh.insert(key(number), vec![7; 4096]);
            state.write(i64::from(number)).unwrap();
        }
        // An old one, in use again.
        assert!(cache.get(&key(3)).is_some());
        cache.flush();
        assert!(cache.state().size().unwrap() <= 3 * 1024 * 1024);
        assert!(cache.get(&key(0)).is_none());
        assert!(cache.get(&key(3)).is_some());
        assert!(cache.get(&key(1499)).is_some());
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join(FILE),
            "this is no database, and long enough to tell".repeat(100),
        )
        .unwrap();
        let cache = FunctionCache::open(directory.path()).unwrap();
        assert!(cache.insert(&key(1), b"code".to_vec()));
        cache.flush();
        assert!(cache.get(&key(1)).is_some());
    }
}
