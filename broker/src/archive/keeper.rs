//! The thread that owns the archive's database, and how others talk to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::change::{Archived, Change};
use super::store::Store;
use crate::codec::reason;
use crate::database::StoreError;
use crate::message::{SessionId, Timestamp};
use crate::receipt::Completion;
use crate::session::{Kept, Mailbox, Ordinary};

/// A transaction is bounded so that the first who waits for it does not wait for ever.
const BATCH: usize = 4096;
/// Changes that nobody waits for are not worth a transaction of their own at once.
const LINGER: Duration = Duration::from_millis(20);
/// What could not be written is not tried again at once: a full disk stays full for a while.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Bytes of changes that wait, in memory, for a disk that takes nothing: from here on the archive is overdue, and the
/// broker begins nothing new that would have to be remembered.
const BACKLOG: usize = 16 * 1024 * 1024;

/// Who waits for a change.
enum Waiter {
    /// Nobody: should it not be written now, it is written later.
    Nobody,
    /// A publisher.
    Publisher(Completion),
    /// A session's mailbox, and perhaps a publisher.
    Mailbox(Arc<Mailbox>, Option<Completion>),
}

enum Command {
    Change(Change, Waiter),
    /// Tell when everything before is on disk.
    Barrier(oneshot::Sender<bool>),
    Stop,
}

/// How others talk to the archive.
#[derive(Debug, Clone)]
pub struct ArchiveHandle {
    commands: Sender<Command>,
    last_row: Arc<AtomicI64>,
    overdue: Arc<AtomicBool>,
}

impl ArchiveHandle {
    // When the thread is gone the command is dropped, and with it whatever somebody waits for: they learn so.
    fn send(&self, command: Command) {
        drop(self.commands.send(command));
    }

    /// Writes a change soon.
    pub fn note(&self, change: Change) {
        self.send(Command::Change(change, Waiter::Nobody));
    }

    /// Writes a change; `completion` is done when it is on disk.
    pub fn write(&self, change: Change, completion: Completion) {
        self.send(Command::Change(change, Waiter::Publisher(completion)));
    }

    /// Writes a message for a session, and puts it into its mailbox when it is on disk. One for which there is no room
    /// in the mailbox is dropped, like the mail of any subscriber that is too slow.
    pub fn deliver(&self, session: SessionId, mailbox: &Arc<Mailbox>, mail: Ordinary, completion: Option<Completion>) {
        let mut expired = Vec::new();
        let packet_id = mailbox.reserve(&mail, &mut expired);
        expired.into_iter().for_each(|row| self.note(Change::Done(row)));
        let Some(packet_id) = packet_id else {
            if let Some(completion) = completion {
                completion.done();
            }
            return;
        };
        let kept = Kept {
            row: self.last_row.fetch_add(1, Ordering::Relaxed) + 1,
            packet_id,
            restored: false,
        };
        let mail = Ordinary {
            kept: Some(kept),
            ..mail
        };
        let waiter = Waiter::Mailbox(Arc::clone(mailbox), completion);
        self.send(Command::Change(Change::Mail(session, mail), waiter));
    }

    /// Whether so much waits for the disk that nothing new should be begun that it would have to remember.
    pub fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Waits until everything that was told before is on disk; `false` when it could not be written.
    pub async fn settled(&self) -> bool {
        let (done, settled) = oneshot::channel();
        self.send(Command::Barrier(done));
        settled.await.unwrap_or(false)
    }
}

/// The running archive.
#[derive(Debug)]
pub struct Archive {
    handle: ArchiveHandle,
    thread: Option<JoinHandle<()>>,
}

impl Archive {
    /// Opens the database in `directory`, starts the thread, and says what there is.
    pub fn start(directory: &Path) -> Result<(Self, Archived), StoreError> {
        let store = Store::open(&directory.join(super::SESSIONS))?;
        let archived = store.load(Timestamp::now())?;
        let (commands, receiver) = channel();
        let keeper = Keeper::new(store);
        let overdue = Arc::clone(&keeper.overdue);
        let thread = std::thread::Builder::new()
            .name("foundry-archive".to_owned())
            .spawn(move || keeper.run(&receiver))
            .map_err(|source| StoreError::Thread { source })?;
        let handle = ArchiveHandle {
            commands,
            last_row: Arc::new(AtomicI64::new(archived.last_row)),
            overdue,
        };
        let archive = Self {
            handle,
            thread: Some(thread),
        };
        Ok((archive, archived))
    }

    /// How to talk to it.
    pub fn handle(&self) -> ArchiveHandle {
        self.handle.clone()
    }

    /// Lets it write what waits, and stops it.
    pub fn stop(&mut self) {
        self.handle.send(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the archive's thread panicked");
        }
    }
}

/// What the next transaction holds.
#[derive(Default)]
struct Batch {
    changes: Vec<(Change, Waiter)>,
    barriers: Vec<oneshot::Sender<bool>>,
}

impl Batch {
    fn is_urgent(&self) -> bool {
        let waits = |(_, waiter): &(Change, Waiter)| !matches!(waiter, Waiter::Nobody);
        !self.barriers.is_empty() || self.changes.iter().any(waits)
    }
}

struct Keeper {
    store: Store,
    /// Changes that could not be written, and go before all others.
    backlog: Vec<Change>,
    backlog_bytes: usize,
    overdue: Arc<AtomicBool>,
    failed: Option<Instant>,
    stopping: bool,
}

impl Keeper {
    fn new(store: Store) -> Self {
        Self {
            store,
            backlog: Vec::new(),
            backlog_bytes: 0,
            overdue: Arc::default(),
            failed: None,
            stopping: false,
        }
    }

    /// Works until it is told to stop and has written everything that it can.
    fn run(mut self, commands: &Receiver<Command>) {
        while !self.stopping {
            let batch = self.gather(commands);
            self.write(batch);
        }
    }

    /// Takes what there is; if nobody waits for it, takes what comes within a moment as well.
    fn gather(&mut self, commands: &Receiver<Command>) -> Batch {
        let mut batch = Batch::default();
        let mut deadline = self
            .failed
            .filter(|_| !self.backlog.is_empty())
            .map(|at| at + AFTER_FAILURE);
        loop {
            let command = match deadline {
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => commands.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match command {
                Ok(command) => self.take(&mut batch, command),
                Err(RecvTimeoutError::Timeout) => return batch,
                Err(RecvTimeoutError::Disconnected) => self.stopping = true,
            }
            while batch.changes.len() < BATCH
                && let Ok(command) = commands.try_recv()
            {
                self.take(&mut batch, command);
            }
            if self.stopping || batch.is_urgent() || batch.changes.len() >= BATCH {
                return batch;
            }
            deadline = Some(deadline.unwrap_or_else(|| Instant::now() + LINGER));
        }
    }

    fn take(&mut self, batch: &mut Batch, command: Command) {
        match command {
            Command::Change(change, waiter) => batch.changes.push((change, waiter)),
            Command::Barrier(done) => batch.barriers.push(done),
            Command::Stop => self.stopping = true,
        }
    }

    fn write(&mut self, batch: Batch) {
        let written = self.transaction(&batch);
        if let Err(error) = &written {
            self.store.database.rollback();
            tracing::error!(%error, changes = batch.changes.len(), "cannot store sessions and retained messages");
            self.failed = Some(Instant::now());
        } else {
            self.backlog.clear();
            self.backlog_bytes = 0;
            self.failed = None;
        }
        for (change, waiter) in batch.changes {
            match (waiter, &written) {
                (Waiter::Nobody, Ok(())) => {}
                (Waiter::Nobody, Err(_)) => {
                    self.backlog_bytes += change.size();
                    self.backlog.push(change);
                }
                (Waiter::Publisher(completion), Ok(())) => completion.done(),
                (Waiter::Publisher(completion), Err(_)) => completion.refuse(reason::UNSPECIFIED),
                (Waiter::Mailbox(mailbox, completion), written) => {
                    if let Change::Mail(_, mail) = change {
                        match written {
                            Ok(()) => mailbox.put_kept(mail),
                            Err(_) => mailbox.cancel(&mail),
                        }
                    }
                    match (completion, written) {
                        (Some(completion), Ok(())) => completion.done(),
                        (Some(completion), Err(_)) => completion.refuse(reason::UNSPECIFIED),
                        (None, _) => {}
                    }
                }
            }
        }
        let overdue = self.backlog_bytes >= BACKLOG;
        if self.overdue.swap(overdue, Ordering::Relaxed) != overdue {
            let changes = self.backlog.len();
            tracing::warn!(
                overdue,
                changes,
                "what waits to be stored has reached or left its bound"
            );
        }
        for barrier in batch.barriers {
            // Whoever does not wait any more does not need to know.
            barrier.send(written.is_ok()).ok();
        }
    }

    fn transaction(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.backlog.is_empty() && batch.changes.is_empty() {
            return Ok(());
        }
        self.store.database.begin()?;
        for change in self
            .backlog
            .iter()
            .chain(batch.changes.iter().map(|(change, _)| change))
        {
            self.store.apply(change)?;
        }
        self.store.database.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn keeper(directory: &Path) -> Keeper {
        Keeper::new(Store::open(&directory.join("sessions.sqlite")).unwrap())
    }

    fn will(session: u64) -> (Change, Waiter) {
        let message = Message {
            payload: crate::database::payload(&[0; 200_000]),
            publisher: SessionId(session),
            ..Message::empty("will")
        };
        (Change::Will(SessionId(session), message, 0), Waiter::Nobody)
    }

    fn batch(changes: Vec<(Change, Waiter)>) -> Batch {
        Batch {
            changes,
            barriers: Vec::new(),
        }
    }

    #[test]
    fn changes_that_wait_for_a_full_disk_are_bounded_and_written_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut keeper = keeper(directory.path());
        // SQLite's own limit, which answers as a full disk does.
        keeper.store.database.limit_pages(40);
        let mut session = 0;
        while !keeper.overdue.load(Ordering::Relaxed) {
            session += 1;
            assert!(session < 1000, "the bound is never reached");
            keeper.write(batch(vec![will(session)]));
        }
        assert_eq!(keeper.backlog.len() as u64, session);
        assert!(keeper.backlog_bytes < BACKLOG + 300_000);
        keeper.store.database.limit_pages(1_000_000);
        keeper.write(batch(Vec::new()));
        assert!(!keeper.overdue.load(Ordering::Relaxed) && keeper.backlog.is_empty());
        let archived = keeper.store.load(Timestamp::now()).unwrap();
        assert_eq!(archived.wills.len() as u64, session);
    }
}
