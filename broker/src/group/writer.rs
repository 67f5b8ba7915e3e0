//! The thread that writes.
//!
//! It does one thing after the other, in the order given, so that leasing and acknowledging go on while a commit
//! waits for the disk.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;

use super::steady::{SavedReading, SteadyTime};
use super::store::Store;
use super::types::{BacklogId, Effect, EntryId, GroupId};
use super::worker::Command;
use crate::database::StoreError;
use crate::killpoint;
use crate::message::{Message, Timestamp};
use crate::receipt::Completion;

/// A publish on its way to disk.
pub(super) struct Planned {
    pub(super) message: Arc<Message>,
    pub(super) targets: Vec<(GroupId, EntryId)>,
    /// Its place in the backlog, and when it came by the clock that this ages on.
    pub(super) kept: Option<(BacklogId, SteadyTime)>,
    pub(super) since: Timestamp,
    pub(super) completion: Option<Completion>,
}

/// What one transaction holds.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) planned: Vec<Planned>,
    pub(super) writes: Vec<Effect>,
    /// What left the backlog.
    pub(super) let_go: Vec<BacklogId>,
    /// What the steady clock stands at, if that has to be stored.
    pub(super) clock: Option<SavedReading>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.planned.is_empty() && self.writes.is_empty() && self.let_go.is_empty() && self.clock.is_none()
    }

    /// Whether there is nothing in it for the disk.
    fn changes_nothing(&self) -> bool {
        let for_nobody = |plan: &Planned| plan.targets.is_empty() && plan.kept.is_none();
        self.planned.iter().all(for_nobody) && self.writes.is_empty() && self.let_go.is_empty() && self.clock.is_none()
    }

    fn write(&self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        if self.changes_nothing() {
            return Ok(());
        }
        store.database.begin()?;
        for plan in &self.planned {
            for (group, entry) in &plan.targets {
                store.insert(*entry, *group, &plan.message, plan.since)?;
            }
            if let Some((id, came)) = plan.kept {
                store.keep(id, &plan.message, plan.since, came)?;
            }
        }
        for id in &self.let_go {
            store.let_go(*id)?;
        }
        if let Some(clock) = &self.clock {
            store.save_steady_clock(clock)?;
        }
        for effect in &self.writes {
            match effect {
                Effect::Deliver(..) => {}
                Effect::Remove(entry) => store.remove(*entry)?,
                Effect::Attempts(entry, attempts) => store.set_attempts(*entry, *attempts)?,
                Effect::Dead {
                    entry, attempts, death, ..
                } => store.bury(*entry, *attempts, *death, now)?,
            }
        }
        store.database.commit()
    }
}

type Call = Box<dyn FnOnce(&Store) + Send>;

enum Job {
    Batch(Batch),
    Call(Call),
}

/// The handle to the writing thread.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; it answers each batch with [`Command::Written`].
    pub(super) fn start(store: Store, answers: Sender<Command>) -> Result<Self, StoreError> {
        let (jobs, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("foundry-store".to_owned())
            .spawn(move || {
                for job in receiver {
                    match job {
                        Job::Call(call) => call(&store),
                        Job::Batch(batch) => {
                            killpoint::pass("broker-before-write");
                            let written = batch.write(&store, Timestamp::now());
                            killpoint::pass("broker-after-write");
                            if written.is_err() {
                                store.database.rollback();
                            }
                            // The worker is gone only when nobody waits any more.
                            drop(answers.send(Command::Written(batch, written)));
                        }
                    }
                }
            })
            .map_err(|source| StoreError::Thread { source })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            drop(jobs.send(job));
        }
    }

    /// Writes a batch, some time.
    pub(super) fn write(&self, batch: Batch) {
        self.send(Job::Batch(batch));
    }

    /// Does something rare with the store, and waits for it.
    pub(super) fn call<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, answer) = sync_channel(1);
        self.send(Job::Call(Box::new(move |store| drop(done.send(what(store))))));
        answer.recv().unwrap_or(Err(StoreError::Stopped))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}
