//! The one thread that has the connection: many pieces of work in one commit, and each by itself where that fails.
//!
//! When the disk is full, or an input or output error happens, SQLite takes the whole transaction back by itself, with all that the
//! other pieces did in it (<https://www.sqlite.org/lang_transaction.html>, section 2.3). What came after would then run without a transaction and be
//! kept, while its caller is told that the commit failed. So a group ends with the first piece that did that, and each of its pieces runs
//! again, in a transaction of its own: pieces can be run more than once, and have no effects but those in the file.

use std::sync::Arc;

use foundry_broker::killpoint;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::LedgerError;

/// Pieces of work that share one commit at most.
const GROUP: usize = 256;

/// A piece of work, and the caller that waits for it.
pub(super) trait Piece: Send {
    /// Do the work inside the open transaction, in a savepoint of its own: if it fails it undoes itself and nothing else.
    fn run(&mut self, connection: &mut Connection);

    /// Tell the caller what the work came to, or why it could not be kept.
    fn finish(self: Box<Self>, kept: Result<(), LedgerError>);
}

/// The one kind of [`Piece`].
pub(super) struct Task<T, W> {
    work: W,
    result: Option<rusqlite::Result<T>>,
    answer: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T, W> Task<T, W> {
    /// The work, and where its outcome comes.
    pub(super) fn new(work: W) -> (Self, oneshot::Receiver<Result<T, LedgerError>>) {
        let (answer, answered) = oneshot::channel();
        let task = Self {
            work,
            result: None,
            answer,
        };
        (task, answered)
    }
}

impl<T: Send, W: Fn(&Connection) -> rusqlite::Result<T> + Send> Piece for Task<T, W> {
    fn run(&mut self, connection: &mut Connection) {
        self.result = Some(connection.savepoint().and_then(|savepoint| {
            let value = (self.work)(&savepoint)?;
            savepoint.commit()?;
            Ok(value)
        }));
    }

    fn finish(self: Box<Self>, kept: Result<(), LedgerError>) {
        let outcome = match (kept, self.result) {
            (Ok(()), Some(result)) => result.map_err(LedgerError::from),
            (Ok(()), None) => Err(LedgerError::Closed),
            (Err(error), _) => Err(error),
        };
        // The caller may have gone away; its work stands all the same.
        let _ = self.answer.send(outcome);
    }
}

/// How a group of pieces ended.
enum End {
    /// All that succeeded is kept.
    Kept,
    /// Nothing happened: somebody else has the file.
    Busy(Arc<rusqlite::Error>),
    /// Nothing of it is in the file, and another attempt may come to something else.
    Undone,
}

/// Do what comes, until the last handle is dropped.
pub(super) fn write(mut connection: Connection, mut queue: mpsc::Receiver<Box<dyn Piece>>) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        match together(&mut connection, &mut group, &mut queue) {
            End::Kept => group.into_iter().for_each(|piece| piece.finish(Ok(()))),
            End::Undone => group.into_iter().for_each(|piece| alone(&mut connection, piece)),
            End::Busy(why) => {
                // Those that queued meanwhile have waited as long.
                while let Ok(piece) = queue.try_recv() {
                    group.push(piece);
                }
                tracing::error!(%why, "another program has the ledger");
                for piece in group {
                    piece.finish(Err(LedgerError::Busy(Arc::clone(&why))));
                }
            }
        }
    }
}

/// The group's piece, and those that wait by then.
fn together(
    connection: &mut Connection,
    group: &mut Vec<Box<dyn Piece>>,
    queue: &mut mpsc::Receiver<Box<dyn Piece>>,
) -> End {
    match begin(connection) {
        Ok(()) => {}
        Err(LedgerError::Busy(why)) => return End::Busy(why),
        Err(_) => return End::Undone,
    }
    while let Some(piece) = group.last_mut() {
        piece.run(connection);
        if connection.is_autocommit() {
            return End::Undone;
        }
        if group.len() >= GROUP {
            break;
        }
        let Ok(next) = queue.try_recv() else { break };
        group.push(next);
    }
    match commit(connection) {
        Ok(()) => End::Kept,
        Err(_) => End::Undone,
    }
}

/// A piece in a transaction that it shares with nobody.
fn alone(connection: &mut Connection, mut piece: Box<dyn Piece>) {
    let kept = begin(connection).and_then(|()| {
        piece.run(connection);
        match connection.is_autocommit() {
            // Its own error says why.
            true => Ok(()),
            false => commit(connection),
        }
    });
    piece.finish(kept);
}

fn begin(connection: &Connection) -> Result<(), LedgerError> {
    Ok(connection.execute_batch("BEGIN IMMEDIATE")?)
}

fn commit(connection: &Connection) -> Result<(), LedgerError> {
    killpoint::pass("before-commit");
    let committed = connection.execute_batch("COMMIT");
    if committed.is_err() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    Ok(committed?)
}
