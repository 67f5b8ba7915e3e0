//! The host's durable memory: one SQLite file, one writer, one transaction per message.
//!
//! All access goes through one thread that owns the connection. It takes whatever work is waiting, does it in one
//! transaction and commits once (group commit), so that `synchronous=FULL` costs one fsync for many messages. Each
//! piece of work has a savepoint of its own: one that fails undoes itself and nothing else.

mod causes;
mod dead_letters;
mod messages;
mod outbox;
mod peers;
mod runs;
mod schema;
mod state;
mod unrecorded;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use foundry_broker::killpoint;
use rusqlite::Connection;
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use crate::run::{EventRow, Run, RunStatus};
pub use causes::MOST_CAUSES;
pub use dead_letters::{DeadLetter, DeadLetterKind, LetterNumber, Revived};
pub use messages::{Known, Settlement};
pub use outbox::{OutboxLimits, OutboxRow, OutboxStatus, Size};
pub use unrecorded::Unrecorded;

/// Work that may wait for the writer; more waits in its callers.
const QUEUE: usize = 1024;

/// Pieces of work that share one commit at most.
const GROUP: usize = 256;

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
    /// Reading or writing failed: a full disk, a damaged file.
    #[error("ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The shared commit failed; nothing of the work took effect.
    #[error("ledger: cannot commit: {0}")]
    Commit(String),
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}

type Work = Box<dyn FnOnce(&mut Connection) -> Finish + Send>;
type Finish = Box<dyn FnOnce(Result<(), String>) + Send>;

/// The ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    queue: mpsc::Sender<Work>,
    topics_since: OffsetDateTime,
    announcements_since: OffsetDateTime,
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
        let open = |source| LedgerError::Open {
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open(path).map_err(open)?;
        schema::prepare(&mut connection, path)?;
        let level = outbox::measure(&connection).map_err(open)?;
        let topics_since = schema::since(&connection, "topic-in-events").map_err(open)?;
        let announcements_since = schema::since(&connection, "announcement-in-events").map_err(open)?;
        let (queue, work) = mpsc::channel(QUEUE);
        std::thread::spawn(move || write(connection, work));
        Ok(Self {
            queue,
            topics_since,
            announcements_since,
            outbox_changed: Arc::new(Notify::new()),
            outbox_level: Arc::new(watch::Sender::new(OutboxStatus::of(level, OutboxLimits::default()))),
            dead_letters_requeued: Arc::new(Notify::new()),
        })
    }

    /// Since when the events of this host name their topic: since its ledger was brought to version 4.
    #[must_use]
    pub fn topics_since(&self) -> OffsetDateTime {
        self.topics_since
    }

    /// Since when the events of this host carry the announcement of their commit: since its ledger was brought to version 5.
    #[must_use]
    pub fn announcements_since(&self) -> OffsetDateTime {
        self.announcements_since
    }

    /// Do a piece of work inside the next transaction.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = connection.savepoint().and_then(|savepoint| {
                let value = work(&savepoint)?;
                savepoint.commit()?;
                Ok(value)
            });
            Box::new(move |committed| {
                let result = match committed {
                    Ok(()) => result.map_err(LedgerError::Sqlite),
                    Err(why) => Err(LedgerError::Commit(why)),
                };
                // The caller may have gone away; its work stands all the same.
                let _ = answer.send(result);
            })
        });
        self.queue.send(work).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| LedgerError::Closed)?
    }
}

/// The writer: ends when the last handle is dropped.
fn write(mut connection: Connection, mut queue: mpsc::Receiver<Work>) {
    while let Some(first) = queue.blocking_recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(|e| e.to_string());
        if let Err(why) = begun {
            // The caller learns of it; the next piece of work tries again.
            drop(first);
            tracing::error!(%why, "the ledger cannot begin a transaction");
            continue;
        }
        let mut finishes = vec![first(&mut connection)];
        while finishes.len() < GROUP {
            match queue.try_recv() {
                Ok(work) => finishes.push(work(&mut connection)),
                Err(_) => break,
            }
        }
        killpoint::pass("before-commit");
        let committed = connection.execute_batch("COMMIT").map_err(|e| e.to_string());
        if committed.is_err() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        for finish in finishes {
            finish(committed.clone());
        }
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
