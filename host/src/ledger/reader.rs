//! Reading beside the writer: connections that change nothing, each with a snapshot of what was committed when it began (WAL).
//!
//! Who has written and waits for the outcome before he reads, reads what he has written. A list that takes long holds up no settlement, and a
//! settlement no list.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{Ledger, LedgerError};

/// Connections that read at the same time; others wait for one.
const CONNECTIONS: usize = 4;

/// How long a connection waits for a lock, which readers of a WAL need in rare moments only.
const LOCKED: Duration = Duration::from_secs(10);

/// The connections of one ledger. Clones share them.
#[derive(Clone)]
pub(super) struct Readers {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// Those that nobody uses. They are opened when they are needed first.
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                idle: Mutex::default(),
                places: Arc::new(Semaphore::new(CONNECTIONS)),
            }),
        }
    }
}

impl Inner {
    fn connection(&self) -> rusqlite::Result<Connection> {
        let idle = self.idle().pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        // A reader of a WAL writes to the memory that it shares with others, and to nothing else.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(LOCKED)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Nothing panics while it holds this.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Reads, in one snapshot. Waits for no writer.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger can't be read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let readers = Arc::clone(&self.readers.inner);
        // The semaphore is never closed. The place goes with the work: who gives up waiting for it must not make room for more.
        let place = Arc::clone(&readers.places).acquire_owned().await;
        let place = place.map_err(|_| LedgerError::Closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut connection = readers.connection()?;
            let snapshot = connection.transaction()?;
            let value = read(&snapshot)?;
            snapshot.finish()?;
            // One that failed is not used again.
            readers.idle().push(connection);
            Ok::<T, LedgerError>(value)
        });
        done.await.map_err(|_| LedgerError::Closed)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(directory: &Path) -> Ledger {
        Ledger::open(&directory.join("ledger.sqlite")).unwrap()
    }

    #[tokio::test]
    async fn who_reads_waits_for_no_writer() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(directory.path());
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let (begun, is_begun) = tokio::sync::oneshot::channel();
        let begun = Mutex::new(Some(begun));
        let gate = Mutex::new(gate);
        let writing = tokio::spawn({
            let ledger = ledger.clone();
            async move {
                let write = move |c: &Connection| {
                    c.execute("INSERT INTO state VALUES ('b', 'k', x'00')", [])?;
                    if let Some(begun) = begun.lock().unwrap().take() {
                        let _ = begun.send(());
                    }
                    let _ = gate.lock().unwrap().recv();
                    Ok(())
                };
                ledger.work(write).await
            }
        });
        is_begun.await.unwrap();
        assert!(ledger.runs(20).await.unwrap().is_empty());
        assert!(ledger.dead_letter_page(None, None, 20).await.unwrap().is_empty());
        assert_eq!(ledger.state("b", "k").await.unwrap(), None, "it is not committed yet");
        drop(go);
        writing.await.unwrap().unwrap();
        assert_eq!(ledger.state("b", "k").await.unwrap(), Some(vec![0]));
    }

    #[tokio::test]
    async fn who_reads_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(directory.path());
        let write = |c: &Connection| c.execute("DELETE FROM state", []);
        assert!(ledger.read(write).await.is_err());
        assert!(
            ledger.runs(20).await.is_ok(),
            "the next one has a connection all the same"
        );
    }
}
