//! The host's durable memory: one SQLite file, one writer, one transaction per message.
//!
//! All that is written goes through one thread that owns the connection for it (`writer`). It takes whatever work is waiting, does it
//! in one transaction and commits once (group commit), so that `synchronous=FULL` costs one fsync for many messages. What is only read for
//! somebody who looks has connections of its own (`reader`).

mod causes;
mod dead_letters;
mod messages;
mod outbox;
mod peers;
mod reader;
mod references;
mod retention;
mod runs;
mod schema;
mod space;
mod starts;
mod state;
mod unrecorded;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Notify, mpsc, watch};

use crate::event::Upgraded;
pub use crate::run::{EventRow, Run, RunStatus};
pub use causes::MOST_CAUSES;
pub use dead_letters::{DeadLetter, DeadLetterKind, LetterNumber, Revived};
pub use messages::{Known, Settled, Settlement};
pub use outbox::{OutboxLimits, OutboxRow, OutboxStatus, Size};
pub use references::References;
pub use retention::{Forgotten, Presence};
pub use starts::MOST_AHEAD;
pub use state::LONGEST_KEY;
pub use unrecorded::Unrecorded;

/// Work that may wait for the writer; more waits in its callers.
const QUEUE: usize = 1024;

/// Why the ledger could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file can't be opened or isn't a ledger.
    #[error("cannot open the ledger {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A newer Foundry wrote it.
    #[error("the ledger {} has version {found}, this host knows up to {known} (use a newer foundry-host)", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// Another program kept it locked for longer than a lock is waited for. Nothing of the work took effect; it may later.
    #[error("another program has the ledger locked (a backup, or sqlite3): {0}")]
    Busy(#[source] Arc<rusqlite::Error>),
    /// There is no room for what is to be written. Nothing of the work took effect; it may once there is.
    #[error("there is no room for the ledger: {0}")]
    Full(#[source] rusqlite::Error),
    /// The file does not hold what it should.
    #[error("the ledger is damaged (stop the host and restore its state directory): {0}")]
    Damaged(#[source] rusqlite::Error),
    /// Reading or writing failed in another way. Nothing of the work took effect.
    #[error("ledger: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(Arc::new(error)),
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Sqlite(error),
        }
    }
}

/// The ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    queue: mpsc::Sender<Box<dyn writer::Piece>>,
    readers: reader::Readers,
    upgraded: Upgraded,
    outbox_changed: Arc<Notify>,
    outbox_level: Arc<watch::Sender<OutboxStatus>>,
    dead_letters_requeued: Arc<Notify>,
}

impl Ledger {
    /// Open a ledger, or make one. Blocks.
    ///
    /// # Errors
    /// [`LedgerError::Open`] or [`LedgerError::TooNew`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_with(path, space::QUICK)
    }

    /// The same, and write the whole file anew if it is one that gives no room back ([`Ledger::give_room_back`]), however large it is. Blocks: a
    /// GiB takes half a minute on a slow disk.
    ///
    /// # Errors
    /// As [`Ledger::open`]. A file that can't be written anew, because the disk is full or another program reads it, stays as it is.
    pub fn open_rewritten(path: &Path) -> Result<Self, LedgerError> {
        Self::open_with(path, u64::MAX)
    }

    /// Files of at most `rewritten` bytes are written anew if need be.
    fn open_with(path: &Path, rewritten: u64) -> Result<Self, LedgerError> {
        let open = |source| LedgerError::Open {
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open(path).map_err(open)?;
        schema::prepare(&mut connection, path)?;
        space::rewrite(&connection, path, rewritten);
        let level = outbox::measure(&connection).map_err(open)?;
        let upgraded = Upgraded {
            topics: schema::since(&connection, "topic-in-events").map_err(open)?,
            origins: schema::since(&connection, "origin-in-events").map_err(open)?,
            announcements: schema::since(&connection, "announcement-in-events").map_err(open)?,
        };
        let (queue, work) = mpsc::channel(QUEUE);
        std::thread::spawn(move || writer::write(connection, work));
        Ok(Self {
            queue,
            readers: reader::Readers::of(path),
            upgraded,
            outbox_changed: Arc::new(Notify::new()),
            outbox_level: Arc::new(watch::Sender::new(OutboxStatus::of(level, OutboxLimits::default()))),
            dead_letters_requeued: Arc::new(Notify::new()),
        })
    }

    /// Since when the events of this host have all that events have to have: since its ledger was brought to versions 4 and 5.
    #[must_use]
    pub fn upgraded(&self) -> Upgraded {
        self.upgraded
    }

    /// Do a piece of work inside the next transaction. It may be done more than once, and has effects in the file alone.
    async fn work<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (task, answered) = writer::Task::new(work);
        self.queue.send(Box::new(task)).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_fails_undoes_itself_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        let bad = ledger.work(|c| {
            c.execute("INSERT INTO state VALUES ('b', 'bad', x'00')", [])?;
            c.execute("INSERT INTO nowhere VALUES (1)", [])
        });
        let good = ledger.work(|c| c.execute("INSERT INTO state VALUES ('b', 'good', x'01')", []));
        let (bad, good) = tokio::join!(bad, good);
        assert!(matches!(bad, Err(LedgerError::Sqlite(_))));
        good.unwrap();
        assert_eq!(ledger.state_keys("b", "").await.unwrap(), ["good"]);
    }

    /// Work that keeps the writer until it is let go, so that what comes meanwhile shares its commit.
    async fn held(ledger: &Ledger) -> std::sync::mpsc::Sender<()> {
        let (go, gate) = std::sync::mpsc::channel();
        let (begun, is_begun) = std::sync::mpsc::channel();
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let wait = move |_: &Connection| {
                let _ = begun.send(());
                let _ = gate.recv();
                Ok(())
            };
            ledger.work(wait).await
        });
        tokio::task::spawn_blocking(move || is_begun.recv())
            .await
            .unwrap()
            .unwrap();
        go
    }

    fn write_of(key: &'static str, bytes: usize) -> impl Fn(&Connection) -> rusqlite::Result<usize> + Send {
        move |c| {
            c.execute(
                "INSERT INTO state VALUES ('b', ?, zeroblob(?))",
                rusqlite::params![key, bytes],
            )
        }
    }

    #[tokio::test]
    async fn a_full_disk_in_the_middle_of_a_shared_commit_is_told_to_whom_it_concerns_alone() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        ledger.work(write_of("there", 1)).await.unwrap();
        let room = |c: &Connection| {
            let pages: i64 = c.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            c.query_row(&format!("PRAGMA max_page_count = {}", pages + 4), [], |_| Ok(()))
        };
        ledger.work(room).await.unwrap();
        let go = held(&ledger).await;
        let before = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.work(write_of("before", 1)).await }
        });
        let full = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.work(write_of("full", 1_000_000)).await }
        });
        let after = tokio::spawn({
            let ledger = ledger.clone();
            async move {
                ledger
                    .work(|c| {
                        c.query_row("DELETE FROM state WHERE key = 'there' RETURNING key", [], |row| {
                            row.get::<_, String>(0)
                        })
                    })
                    .await
            }
        });
        while ledger.queue.max_capacity() - ledger.queue.capacity() < 3 {
            tokio::task::yield_now().await;
        }
        drop(go);
        assert_eq!(before.await.unwrap().unwrap(), 1);
        assert!(matches!(full.await.unwrap(), Err(LedgerError::Full(_))));
        assert_eq!(after.await.unwrap().unwrap(), "there");
        assert_eq!(ledger.state_keys("b", "").await.unwrap(), ["before"]);
    }

    #[tokio::test]
    async fn a_ledger_that_another_program_has_is_busy_and_goes_on_when_it_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path).unwrap();
        ledger
            .work(|c| c.busy_timeout(std::time::Duration::from_millis(50)))
            .await
            .unwrap();
        let backup = Connection::open(&path).unwrap();
        backup.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (one, other) = tokio::join!(ledger.work(write_of("one", 1)), ledger.work(write_of("other", 1)));
        assert!(matches!(one, Err(LedgerError::Busy(_))), "{one:?}");
        assert!(matches!(other, Err(LedgerError::Busy(_))), "{other:?}");
        backup.execute_batch("COMMIT").unwrap();
        ledger.work(write_of("later", 1)).await.unwrap();
        assert_eq!(ledger.state_keys("b", "").await.unwrap(), ["later"]);
    }

    #[tokio::test]
    async fn a_file_that_is_no_ledger_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        std::fs::write(
            &path,
            "this is no database, and long enough to be told from one by its header",
        )
        .unwrap();
        let error = Ledger::open(&path).err().unwrap().to_string();
        assert!(error.contains("ledger.sqlite"), "{error}");
    }

    #[tokio::test]
    async fn a_ledger_of_a_newer_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        drop(Ledger::open(&path).unwrap());
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 1000)
            .unwrap();
        assert!(matches!(
            Ledger::open(&path),
            Err(LedgerError::TooNew { found: 1000, .. })
        ));
    }
}
