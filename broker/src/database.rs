//! What the broker's SQLite databases have in common.
//!
//! WAL mode with `synchronous=FULL`: when a commit returns, the transaction survives a power cut. One connection on one
//! thread writes; nothing else reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::packet::Property;
use rusqlite::{Connection, ErrorCode, Params};

/// The store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no.
    #[error("{action} {}: {source}", path.display())]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// Written by a later version of this program.
    #[error("{} has format {found}, this program knows formats up to {known} (use the newer foundry-host)", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest that is known.
        known: i64,
    },
    /// The system gives no thread.
    #[error("start the store's thread: {source}")]
    Thread {
        /// Why not.
        source: std::io::Error,
    },
    /// The broker is stopping.
    #[error("use the store: the broker is stopping")]
    Stopped,
    /// A row that this program cannot have written.
    #[error("{} is damaged: {what} (restore it from a backup, or move it away to start empty)", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong in it.
        what: String,
    },
}

impl StoreError {
    /// Wraps an error of SQLite; damage has a remedy of its own.
    pub fn sqlite(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                what: source.to_string(),
            },
            _ => Self::Sqlite { action, path, source },
        }
    }
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    /// The one connection to it.
    pub connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens the database at `path`, or creates it. Its format is how many of the `steps` were taken; those that are
    /// missing are taken now.
    pub fn open(path: &Path, steps: &[&str]) -> Result<Self, StoreError> {
        let failed = |action| move |source| StoreError::sqlite(action, path, source);
        let connection = Connection::open(path).map_err(failed("open"))?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;")
            .map_err(failed("set up"))?;
        // The default of 16 is fewer than there are statements.
        connection.set_prepared_statement_cache_capacity(64);
        let found: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed("read the format of"))?;
        let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
        if found > known {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
                known,
            });
        }
        for (format, step) in (1_i64..).zip(steps).filter(|(format, _)| *format > found) {
            connection
                .execute_batch(&format!("BEGIN; {step} PRAGMA user_version = {format}; COMMIT;"))
                .map_err(failed("create the tables of"))?;
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    /// Says what failed, and on which file.
    pub fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
        move |source| StoreError::sqlite(action, &self.path, source)
    }

    /// Says what is wrong in the file.
    pub fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what,
        }
    }

    /// Starts a transaction.
    pub fn begin(&self) -> Result<(), StoreError> {
        self.run("begin a transaction in", "BEGIN IMMEDIATE")
    }

    /// Ends the transaction: from here on it survives a power cut.
    pub fn commit(&self) -> Result<(), StoreError> {
        self.run("commit to", "COMMIT")
    }

    /// Gives the transaction up, if there is one.
    pub fn rollback(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.run("roll back", "ROLLBACK")
        {
            tracing::error!(%error, "cannot roll back");
        }
    }

    /// Executes a statement without parameters.
    pub fn run(&self, action: &'static str, sql: &str) -> Result<(), StoreError> {
        self.execute(action, sql, ())
    }

    /// Lets the file have so many pages at most, as if the disk were full then.
    #[cfg(test)]
    pub fn limit_pages(&self, pages: u32) {
        self.connection.pragma_update(None, "max_page_count", pages).unwrap();
    }

    /// Executes a statement.
    pub fn execute(&self, action: &'static str, sql: &str, params: impl Params) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed(action))?;
        statement.execute(params).map(drop).map_err(self.failed(action))
    }
}

/// Properties as a column: as MQTT 5 encodes them, without their length.
pub fn encode_properties(properties: &[Property]) -> Vec<u8> {
    properties.iter().flat_map(Property::to_continuous_buffer).collect()
}

/// Reads what [`encode_properties`] wrote.
pub fn parse_properties(mut bytes: &[u8]) -> Option<Vec<Property>> {
    let mut properties = Vec::new();
    while !bytes.is_empty() {
        let (property, used) = Property::parse(bytes).ok()?;
        properties.push(property);
        bytes = bytes.get(used..)?;
    }
    Some(properties)
}

/// A payload from a column.
pub fn payload(bytes: &[u8]) -> ArcPayload {
    ArcPayload::new(Arc::from(bytes), 0, bytes.len())
}
