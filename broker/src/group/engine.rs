//! The groups' thread: queue, store and members joined.
//!
//! Everything that waits in the channel is one batch, and a batch is one transaction: its publishes are inserted,
//! what its acknowledgements finished is deleted, then one commit, and only then are the publishers told and new
//! messages leased. A deletion that fails is tried again with the next batch; a message whose insertion fails is
//! refused.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::queue::{Effect, EntryId, GroupId, GroupLimits, GroupStatus, Groups, Joining, Leaving, MemberId};
use super::store::{Store, StoreError};
use crate::codec::reason;
use crate::message::{Message, SessionId, Timestamp};
use crate::receipt::Completion;
use crate::routing::HubHandle;
use crate::session::Mailbox;
use crate::topic::{GroupKey, TopicFilter, TopicName};

/// A batch is bounded so that the first publisher in it does not wait for ever.
const BATCH: usize = 4096;
/// How often expiry and retention are looked after.
const TICK: Duration = Duration::from_millis(500);

enum Command {
    Publish(Arc<Message>, Option<Completion>),
    Join {
        key: GroupKey,
        joining: Joining,
        mailbox: Arc<Mailbox>,
        done: oneshot::Sender<Result<(), u8>>,
    },
    Quit(GroupKey, MemberId, oneshot::Sender<bool>),
    Acknowledge(MemberId, EntryId),
    Refuse(MemberId, EntryId),
    Leave(MemberId, Leaving),
    Status(oneshot::Sender<Vec<GroupStatus>>),
    Remove(GroupKey, oneshot::Sender<bool>),
    Stop,
}

/// What the engine is started with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Bounds of each group.
    pub limits: GroupLimits,
    /// How many groups there may be.
    pub groups: usize,
    /// Seconds after which a group that nobody is a member of is removed.
    pub retention: Option<u64>,
    /// Dead letters are published under this prefix, followed by the group's name.
    pub dead_prefix: String,
}

/// How connections talk to the engine.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    filters: Arc<RwLock<Arc<[TopicFilter]>>>,
}

impl EngineHandle {
    /// Would any group take a message on `topic`?
    pub fn concerns(&self, topic: &TopicName) -> bool {
        let filters = Arc::clone(&self.filters.read().unwrap_or_else(PoisonError::into_inner));
        filters.iter().any(|filter| filter.matches(topic))
    }

    // When the engine is gone the command is dropped, and with it the sender of the answer: whoever waits for it
    // learns so. There is nothing else to do about it here.
    fn send(&self, command: Command) {
        drop(self.commands.send(command));
    }

    /// Stores a message for every group that matches; `completion` is done when it is on disk.
    pub fn publish(&self, message: Arc<Message>, completion: Option<Completion>) {
        self.send(Command::Publish(message, completion));
    }

    /// Makes a connection a member, creating the group if it is new.
    pub async fn join(&self, key: GroupKey, joining: Joining, mailbox: Arc<Mailbox>) -> Result<(), u8> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Join {
            key,
            joining,
            mailbox,
            done,
        });
        answer.await.unwrap_or(Err(reason::SERVER_UNAVAILABLE))
    }

    /// Ends a membership.
    pub async fn quit(&self, key: GroupKey, member: MemberId) -> bool {
        let (done, answer) = oneshot::channel();
        self.send(Command::Quit(key, member, done));
        answer.await.unwrap_or(false)
    }

    /// The member is done with a message.
    pub fn acknowledge(&self, member: MemberId, entry: EntryId) {
        self.send(Command::Acknowledge(member, entry));
    }

    /// The member refuses a message.
    pub fn refuse(&self, member: MemberId, entry: EntryId) {
        self.send(Command::Refuse(member, entry));
    }

    /// The member's connection is gone.
    pub fn leave(&self, member: MemberId, how: Leaving) {
        self.send(Command::Leave(member, how));
    }

    /// Every group's numbers.
    pub async fn status(&self) -> Vec<GroupStatus> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Status(done));
        answer.await.unwrap_or_default()
    }

    /// Removes a group with all messages in it; `false` when there is none.
    pub async fn remove(&self, key: GroupKey) -> bool {
        let (done, answer) = oneshot::channel();
        self.send(Command::Remove(key, done));
        answer.await.unwrap_or(false)
    }
}

/// The running engine.
#[derive(Debug)]
pub struct Engine {
    handle: EngineHandle,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens the store in `directory` and starts the thread.
    pub fn start(directory: &Path, config: EngineConfig, hub: HubHandle) -> Result<Self, StoreError> {
        let store = Store::open(&directory.join("groups.sqlite"))?;
        let now = Timestamp::now();
        let mut groups = Groups::new(config.limits);
        for group in store.groups()? {
            groups.open(group.id, group.key, group.dead, now);
        }
        let last =
            store.for_each_entry(|entry| groups.restore(entry.group, entry.id, entry.message, entry.attempts))?;
        let (commands, receiver) = channel();
        let filters = Arc::new(RwLock::new(Arc::from([])));
        let mut worker = Worker {
            config,
            groups,
            store,
            hub,
            mailboxes: HashMap::new(),
            filters: Arc::clone(&filters),
            last_entry: last,
            effects: Vec::new(),
            planned: Vec::new(),
        };
        worker.announce_filters();
        let thread = std::thread::Builder::new()
            .name("foundry-groups".to_owned())
            .spawn(move || worker.run(&receiver))
            .map_err(|source| StoreError::Thread { source })?;
        Ok(Self {
            handle: EngineHandle { commands, filters },
            thread: Some(thread),
        })
    }

    /// How to talk to it.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Lets it finish what waits, and stops it.
    pub fn stop(&mut self) {
        self.handle.send(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the groups' thread panicked");
        }
    }
}

struct Planned {
    message: Arc<Message>,
    targets: Vec<(GroupId, EntryId)>,
    completion: Option<Completion>,
}

struct Worker {
    config: EngineConfig,
    groups: Groups,
    store: Store,
    hub: HubHandle,
    mailboxes: HashMap<MemberId, Arc<Mailbox>>,
    filters: Arc<RwLock<Arc<[TopicFilter]>>>,
    last_entry: i64,
    /// Effects not yet carried out: what is for the disk waits for the next transaction.
    effects: Vec<Effect>,
    planned: Vec<Planned>,
}

impl Worker {
    fn run(&mut self, commands: &Receiver<Command>) {
        let mut next_tick = std::time::Instant::now() + TICK;
        let mut running = true;
        while running {
            let wait = next_tick.saturating_duration_since(std::time::Instant::now());
            match commands.recv_timeout(wait) {
                Ok(command) => {
                    let now = Timestamp::now();
                    running = self.handle(command, now);
                    // Whatever else waits belongs to this batch.
                    for command in commands.try_iter().take(BATCH) {
                        running &= self.handle(command, now);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.tick(Timestamp::now());
                    next_tick = std::time::Instant::now() + TICK;
                }
                Err(RecvTimeoutError::Disconnected) => running = false,
            }
            self.settle(Timestamp::now());
        }
    }

    /// Takes in one command; `false` to stop after this batch.
    fn handle(&mut self, command: Command, now: Timestamp) -> bool {
        match command {
            Command::Publish(message, completion) => self.plan(message, completion),
            Command::Acknowledge(member, entry) => {
                self.groups.acknowledge(member, entry, now, &mut self.effects);
            }
            Command::Refuse(member, entry) => {
                self.groups.refuse(member, entry, now, &mut self.effects);
            }
            Command::Leave(member, how) => {
                self.mailboxes.remove(&member);
                self.groups.leave(member, how, now, &mut self.effects);
            }
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
                let quit = group.is_some_and(|group| self.groups.quit(group, member, now));
                done.send(quit).ok();
            }
            Command::Status(done) => drop(done.send(self.groups.status())),
            Command::Remove(key, done) => {
                let group = self.groups.find(&key);
                done.send(group.is_some_and(|group| self.remove(group))).ok();
            }
            Command::Stop => return false,
        }
        true
    }

    fn find_or_create(&mut self, key: &GroupKey, now: Timestamp) -> Result<GroupId, u8> {
        if let Some(group) = self.groups.find(key) {
            return Ok(group);
        }
        if self.groups.len() >= self.config.groups {
            tracing::warn!(group = %key, limit = self.config.groups, "cannot create group: there are too many");
            return Err(reason::QUOTA_EXCEEDED);
        }
        match self.store.create_group(key) {
            Ok(group) => {
                self.groups.open(group, key.clone(), 0, now);
                self.announce_filters();
                tracing::info!(group = %key, "group created");
                Ok(group)
            }
            Err(error) => {
                tracing::error!(%error, group = %key, "cannot create group");
                Err(reason::UNSPECIFIED)
            }
        }
    }

    fn remove(&mut self, group: GroupId) -> bool {
        if let Err(error) = self.store.delete_group(group) {
            tracing::error!(%error, "cannot remove group");
            return false;
        }
        if let Some(key) = self.groups.remove(group) {
            tracing::info!(group = %key, "group removed");
        }
        self.groups.rebalance(Timestamp::now(), &mut self.effects);
        self.announce_filters();
        true
    }

    fn announce_filters(&self) {
        let mut filters: Vec<TopicFilter> = self.groups.keys().map(|key| key.filter.clone()).collect();
        filters.sort();
        filters.dedup();
        *self.filters.write().unwrap_or_else(PoisonError::into_inner) = filters.into();
    }

    /// Reserves room for a message, so that it goes to disk with this batch.
    fn plan(&mut self, message: Arc<Message>, completion: Option<Completion>) {
        match self.groups.admit(&message.topic, message.size()) {
            Ok(groups) => {
                let mut targets = Vec::with_capacity(groups.len());
                for group in groups {
                    self.last_entry += 1;
                    targets.push((group, EntryId(self.last_entry)));
                }
                self.planned.push(Planned {
                    message,
                    targets,
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

    fn tick(&mut self, now: Timestamp) {
        self.groups.expire(now, &mut self.effects);
        let Some(retention) = self.config.retention else {
            return;
        };
        let before = Timestamp(now.0.saturating_sub(retention.saturating_mul(1000)));
        for group in self.groups.deserted(before) {
            self.remove(group);
        }
    }

    /// Brings the batch to disk, then tells everybody. Telling can make more work for the disk (expired messages
    /// found while leasing, dead letters published), which is done before waiting again.
    fn settle(&mut self, now: Timestamp) {
        for _ in 0..64 {
            if self.planned.is_empty() && self.effects.is_empty() {
                return;
            }
            let (deliveries, writes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.effects)
                .into_iter()
                .partition(|effect| matches!(effect, Effect::Deliver(..)));
            let planned = std::mem::take(&mut self.planned);
            if let Err(error) = self.write(&planned, &writes, now) {
                self.store.rollback();
                tracing::error!(%error, refused = planned.len(), "cannot store messages");
                for plan in planned {
                    for (group, _) in &plan.targets {
                        self.groups.cancel(*group, plan.message.size());
                    }
                    if let Some(completion) = plan.completion {
                        completion.refuse(reason::UNSPECIFIED);
                    }
                }
                // What the groups already decided stays to be written with the next batch.
                self.deliver(deliveries);
                self.effects.extend(writes);
                return;
            }
            for plan in planned {
                for (group, entry) in plan.targets {
                    self.groups
                        .enqueue(group, entry, Arc::clone(&plan.message), now, &mut self.effects);
                }
                if let Some(completion) = plan.completion {
                    completion.done();
                }
            }
            self.deliver(deliveries);
            for effect in writes {
                if let Effect::Dead(group, _, message, attempts) = effect {
                    self.publish_dead(group, &message, attempts);
                }
            }
            // New leases need no disk: they go out at once.
            let (deliveries, writes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.effects)
                .into_iter()
                .partition(|effect| matches!(effect, Effect::Deliver(..)));
            self.deliver(deliveries);
            self.effects = writes;
        }
    }

    fn write(&self, planned: &[Planned], writes: &[Effect], now: Timestamp) -> Result<(), StoreError> {
        if writes.is_empty() && planned.iter().all(|plan| plan.targets.is_empty()) {
            return Ok(());
        }
        self.store.begin()?;
        for plan in planned {
            for (group, entry) in &plan.targets {
                self.store.insert(*entry, *group, &plan.message)?;
            }
        }
        for effect in writes {
            match effect {
                Effect::Deliver(..) => {}
                Effect::Remove(entry) => self.store.remove(*entry)?,
                Effect::Attempts(entry, attempts) => self.store.set_attempts(*entry, *attempts)?,
                Effect::Dead(_, entry, _, attempts) => self.store.bury(*entry, *attempts, now)?,
            }
        }
        self.store.commit()
    }

    fn deliver(&self, deliveries: Vec<Effect>) {
        for effect in deliveries {
            if let Effect::Deliver(member, delivery) = effect
                && let Some(mailbox) = self.mailboxes.get(&member)
            {
                mailbox.lease(member, delivery);
            }
        }
    }

    /// Tells about a dead letter on its topic; a group may collect it there. What dies there is only set aside.
    fn publish_dead(&mut self, group: GroupId, message: &Message, attempts: u32) {
        let Some(key) = self.groups.key(group) else {
            return;
        };
        tracing::warn!(group = %key, topic = %message.topic, attempts, "message is a dead letter");
        if message.topic.as_str().starts_with(&self.config.dead_prefix) {
            return;
        }
        let Ok(topic) = TopicName::new(&format!("{}/{}", self.config.dead_prefix, key.name)) else {
            return;
        };
        let letter = Arc::new(Message {
            topic,
            retain: false,
            expires: None,
            publisher: SessionId(0),
            properties: super::dead_properties(message, key, attempts),
            ..message.clone()
        });
        self.hub.publish(Arc::clone(&letter), None);
        self.plan(letter, None);
    }
}
