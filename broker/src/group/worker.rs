//! The groups' thread: it owns the queue, and everybody else sends it commands.
//!
//! What waits in the channel is one batch, and a batch is one transaction of the [writer](super::writer): its
//! publishes are inserted, what acknowledgements finished is deleted. Only when the transaction is on disk are
//! the publishers told and the messages leased. While it is under way the next batch gathers, and messages that
//! are on disk already are leased and acknowledged. A deletion that fails is tried again with the next batch; a
//! message whose insertion fails is refused.

mod backlog;
mod desertion;
mod letters;

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::dead_letters::DeadLetter;
use super::engine::{EngineConfig, Filters};
use super::queue::Groups;
use super::store::Store;
use super::types::{BacklogStatus, Effect, EntryId, GroupId, GroupStatus, Joining, Leaving, MemberId, Refusal};
use super::writer::{Batch, Planned, Writer};
use crate::codec::reason;
use crate::database::StoreError;
use crate::message::{Message, Timestamp};
use crate::receipt::Completion;
use crate::routing::HubHandle;
use crate::session::Mailbox;
use crate::topic::GroupKey;
use crate::topic_tree::FilterTree;
use backlog::Keeping;

/// A batch is bounded so that the first publisher in it does not wait for ever.
const BATCH: usize = 4096;
/// How often retention is looked after.
const TICK: Duration = Duration::from_millis(500);
/// Deletions without a publish are not worth a transaction of their own at once: nobody was promised anything, and
/// after a crash in between a message is delivered again.
const LINGER: Duration = Duration::from_millis(20);
/// Deletions that failed are not tried again at once: a full disk stays full for a while.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

pub(super) enum Command {
    Publish(Arc<Message>, Option<Completion>),
    Join {
        key: GroupKey,
        joining: Joining,
        mailbox: Arc<Mailbox>,
        done: oneshot::Sender<Result<(), u8>>,
    },
    Quit(GroupKey, MemberId, oneshot::Sender<bool>),
    Resize(MemberId, usize),
    Acknowledge(MemberId, EntryId),
    Refuse(MemberId, EntryId, Refusal),
    Leave(MemberId, Leaving),
    Status(oneshot::Sender<Vec<GroupStatus>>),
    Backlog(oneshot::Sender<BacklogStatus>),
    Create(GroupKey, oneshot::Sender<bool>),
    Remove(GroupKey, oneshot::Sender<bool>),
    DeadLetters(GroupKey, Option<i64>, usize, oneshot::Sender<Vec<DeadLetter>>),
    Requeue(GroupKey, Option<Vec<i64>>, oneshot::Sender<usize>),
    Discard(GroupKey, Option<Vec<i64>>, oneshot::Sender<usize>),
    /// From the writer: a batch is on disk, or is not.
    Written(Batch, Result<(), StoreError>),
    Stop,
}

pub(super) struct Worker {
    config: EngineConfig,
    groups: Groups,
    keeping: Keeping,
    writer: Writer,
    hub: HubHandle,
    mailboxes: HashMap<MemberId, Arc<Mailbox>>,
    filters: Filters,
    last_entry: i64,
    /// When groups without members were last looked for.
    looked: Instant,
    /// What was decided and not yet carried out.
    effects: Vec<Effect>,
    /// What the next transaction will hold, and since when something is in it.
    gathering: Batch,
    gathering_since: Option<Instant>,
    /// Batches that the writer has and has not answered for.
    writing: usize,
    stopping: bool,
}

impl Worker {
    /// Opens the store and fills the queue from it.
    pub(super) fn open(
        directory: &Path,
        config: EngineConfig,
        hub: HubHandle,
        commands: Sender<Command>,
        filters: Filters,
    ) -> Result<Self, StoreError> {
        let store = Store::open(&directory.join(super::GROUPS))?;
        let mut groups = Groups::new(config.limits, config.leases.clone());
        for group in store.groups()? {
            groups.open(group.id, group.key, group.dead);
        }
        let last_entry = store.for_each_entry(|entry| {
            groups.restore(entry.group, entry.id, entry.message, entry.attempts, entry.since);
        })?;
        let keeping = Keeping::open(&store, config.backlog, &config.backlog_topics)?;
        let worker = Self {
            config,
            groups,
            keeping,
            writer: Writer::start(store, commands)?,
            hub,
            mailboxes: HashMap::new(),
            filters,
            last_entry,
            looked: Instant::now(),
            effects: Vec::new(),
            gathering: Batch::default(),
            gathering_since: None,
            writing: 0,
            stopping: false,
        };
        worker.announce_filters();
        Ok(worker)
    }

    /// Works until it is told to stop and everything is on disk.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut next_tick = Instant::now() + TICK;
        while !(self.stopping && self.writing == 0 && self.gathering.is_empty()) {
            let now = Instant::now();
            let flush = self
                .gathering_since
                .filter(|_| self.writing == 0)
                .map(|since| since + LINGER);
            let alarm = self
                .groups
                .next_alarm()
                .map(|at| now + Duration::from_millis(at.0.saturating_sub(Timestamp::now().0)));
            let deadline = [flush, alarm].into_iter().flatten().fold(next_tick, Instant::min);
            match commands.recv_timeout(deadline.saturating_duration_since(now)) {
                Ok(command) => {
                    let now = Timestamp::now();
                    self.handle(command, now);
                    for command in commands.try_iter().take(BATCH) {
                        self.handle(command, now);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.stopping = true,
            }
            if Instant::now() >= next_tick {
                self.tick(Timestamp::now(), Instant::now());
                next_tick = Instant::now() + TICK;
            }
            self.groups.wake(Timestamp::now(), &mut self.effects);
            self.carry_out();
            self.flush();
        }
    }

    fn handle(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::Publish(message, completion) => self.plan(message, completion, now),
            Command::Acknowledge(member, entry) => {
                self.groups.acknowledge(member, entry, now, &mut self.effects);
            }
            Command::Refuse(member, entry, refusal) => {
                self.groups.refuse(member, entry, refusal, now, &mut self.effects);
            }
            Command::Leave(member, how) => {
                self.mailboxes.remove(&member);
                self.groups.leave(member, how, now, &mut self.effects);
            }
            Command::Written(batch, result) => self.written(batch, result, now),
            Command::Join {
                key,
                joining,
                mailbox,
                done,
            } => {
                let joined = self.find_or_create(&key, now).map(|group| {
                    self.mailboxes.insert(joining.member, mailbox);
                    self.groups.join(group, joining, now, &mut self.effects);
                });
                done.send(joined).ok();
            }
            Command::Quit(key, member, done) => {
                let group = self.groups.find(&key);
                let quit = group.is_some_and(|group| self.groups.quit(group, member));
                done.send(quit).ok();
            }
            Command::Resize(member, capacity) => self.groups.resize(member, capacity, now, &mut self.effects),
            Command::Status(done) => drop(done.send(self.groups.status())),
            Command::Backlog(done) => drop(done.send(self.backlog_status())),
            Command::Create(key, done) => drop(done.send(self.find_or_create(&key, now).is_ok())),
            Command::Remove(key, done) => {
                let group = self.groups.find(&key);
                done.send(group.is_some_and(|group| self.remove(group, now))).ok();
            }
            Command::DeadLetters(key, after, limit, done) => {
                self.carry_out();
                self.flush_now();
                done.send(self.dead_letters(&key, after, limit)).ok();
            }
            Command::Requeue(key, ids, done) => {
                self.carry_out();
                self.flush_now();
                done.send(self.requeue(&key, ids, now)).ok();
            }
            Command::Discard(key, ids, done) => {
                self.carry_out();
                self.flush_now();
                done.send(self.discard(&key, ids)).ok();
            }
            Command::Stop => self.stopping = true,
        }
    }

    fn find_or_create(&mut self, key: &GroupKey, now: Timestamp) -> Result<GroupId, u8> {
        if let Some(group) = self.groups.find(key) {
            return Ok(group);
        }
        if self.groups.len() >= self.config.groups {
            tracing::warn!(group = %key, limit = self.config.groups, "cannot create group: there are too many");
            return Err(reason::QUOTA_EXCEEDED);
        }
        // What the group begins with may be on its way to disk: the writer does one thing after the other.
        self.carry_out();
        self.flush_now();
        let begin = self.beginning_of(key, now);
        let filter = key.clone();
        match self.writer.call(move |store| store.create_group(&filter, &begin)) {
            Ok((group, entries)) => {
                self.groups.open(group, key.clone(), 0);
                self.announce_filters();
                tracing::info!(group = %key, messages = entries.len(), "group created");
                for entry in entries {
                    self.groups.supply(group, entry.id, entry.message, entry.since);
                }
                Ok(group)
            }
            Err(error) => {
                tracing::error!(%error, group = %key, "cannot create group");
                Err(reason::UNSPECIFIED)
            }
        }
    }

    fn remove(&mut self, group: GroupId, now: Timestamp) -> bool {
        if let Err(error) = self.writer.call(move |store| store.delete_group(group)) {
            tracing::error!(%error, "cannot remove group");
            return false;
        }
        if let Some(key) = self.groups.remove(group) {
            tracing::info!(group = %key, "group removed");
        }
        // Members may have room for other groups' messages now.
        self.groups.rebalance(now, &mut self.effects);
        self.announce_filters();
        true
    }

    fn announce_filters(&self) {
        let mut filters = FilterTree::default();
        for (number, key) in self.groups.keys().enumerate() {
            filters.insert(&key.filter, number);
        }
        self.keeping.add_filters(&mut filters);
        *self.filters.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(filters);
    }

    /// Reserves room for a message, so that it goes to disk with the next batch.
    fn plan(&mut self, message: Arc<Message>, completion: Option<Completion>, now: Timestamp) {
        match self.groups.admit(&message.topic, message.size()) {
            Ok(groups) => {
                let mut targets = Vec::with_capacity(groups.len());
                for group in groups {
                    self.last_entry += 1;
                    targets.push((group, EntryId(self.last_entry)));
                }
                let kept = self.keep(&message);
                self.gathering.planned.push(Planned {
                    message,
                    targets,
                    kept,
                    since: now,
                    completion,
                });
            }
            Err(full) => {
                tracing::warn!(%full, topic = %message.topic, "message refused");
                if let Some(completion) = completion {
                    completion.refuse(reason::QUOTA_EXCEEDED);
                }
            }
        }
    }

    /// Sends what can be sent; what is for the disk joins the batch that gathers.
    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Deliver(member, delivery) => {
                    if let Some(mailbox) = self.mailboxes.get(&member) {
                        mailbox.lease(member, delivery);
                    }
                }
                write => self.gathering.writes.push(write),
            }
        }
        if self.gathering.is_empty() {
            self.gathering_since = None;
        } else if self.gathering_since.is_none() {
            self.gathering_since = Some(Instant::now());
        }
    }

    /// Gives the writer the gathered batch, when it is free and the batch is worth it.
    fn flush(&mut self) {
        let Some(since) = self.gathering_since.filter(|_| self.writing == 0) else {
            return;
        };
        let many = self.gathering.writes.len() >= BATCH && since <= Instant::now();
        let worth = !self.gathering.planned.is_empty() || many || self.stopping;
        if worth || Instant::now() >= since + LINGER {
            self.flush_now();
        }
    }

    /// Gives the writer the gathered batch. What is asked of the store after that sees it.
    fn flush_now(&mut self) {
        if !self.gathering.is_empty() {
            self.writer.write(std::mem::take(&mut self.gathering));
            self.writing += 1;
        }
        self.gathering_since = None;
    }

    fn written(&mut self, batch: Batch, result: Result<(), StoreError>, now: Timestamp) {
        self.writing = self.writing.saturating_sub(1);
        if let Err(error) = result {
            tracing::error!(%error, refused = batch.planned.len(), "cannot store messages");
            self.keeping.not_saved();
            for plan in batch.planned {
                for (group, _) in &plan.targets {
                    self.groups.cancel(*group, plan.message.size());
                }
                self.keeping.settle(plan.kept, false);
                if let Some(completion) = plan.completion {
                    completion.refuse(reason::UNSPECIFIED);
                }
            }
            if self.stopping {
                // A disk that stays full must not keep the broker from ending: what was not deleted comes again.
                return;
            }
            // What the queue decided stays to be written.
            self.gathering.writes.extend(batch.writes);
            self.gathering.let_go.extend(batch.let_go);
            self.gathering_since = Some(Instant::now() + AFTER_FAILURE);
            return;
        }
        for plan in batch.planned {
            for (group, entry) in plan.targets {
                self.groups.enqueue(
                    group,
                    entry,
                    Arc::clone(&plan.message),
                    plan.since,
                    now,
                    &mut self.effects,
                );
            }
            self.keeping.settle(plan.kept, true);
            if let Some(completion) = plan.completion {
                completion.done();
            }
        }
        self.trim_backlog(now);
        for effect in batch.writes {
            if let Effect::Dead {
                group,
                message,
                attempts,
                death,
                ..
            } = effect
            {
                self.publish_dead(group, &message, attempts, death, now);
            }
        }
    }
}
