//! The groups from outside: how connections and the host talk to them, and how they start and stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::backlog::BacklogLimits;
use super::dead_letters::DeadLetter;
use super::types::{BacklogStatus, EntryId, GroupLimits, GroupStatus, Joining, Leaving, MemberId, Refusal};
use super::worker::{Command, Worker};
use crate::codec::reason;
use crate::database::StoreError;
use crate::message::Message;
use crate::receipt::Completion;
use crate::routing::HubHandle;
use crate::session::Mailbox;
use crate::topic::{GroupKey, TopicName};
use crate::topic_tree::FilterTree;

/// What the engine is started with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Bounds of each group.
    pub limits: GroupLimits,
    /// Seconds for which members of these groups may hold a message, by name; 0 is as long as they are connected.
    pub leases: BTreeMap<String, u32>,
    /// How many groups there may be.
    pub groups: usize,
    /// Seconds after which a group that nobody is a member of is removed.
    pub retention: Option<u64>,
    /// What is kept of some topics for groups that are created later.
    pub backlog: BacklogLimits,
    /// The topics.
    pub backlog_topics: Vec<TopicName>,
    /// Dead letters are published under this prefix, followed by the group's name.
    pub dead_prefix: String,
}

/// The filters of all groups and the topics of the backlog, to find out quickly that none concerns a message.
pub(super) type Filters = Arc<RwLock<Arc<FilterTree<usize>>>>;

/// How connections talk to the engine.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    filters: Filters,
}

impl EngineHandle {
    /// Would any group take a message on `topic`, or the backlog?
    pub fn concerns(&self, topic: &TopicName) -> bool {
        let filters = Arc::clone(&self.filters.read().unwrap_or_else(PoisonError::into_inner));
        !filters.matching(topic).is_empty()
    }

    // When the engine is gone the command is dropped, and with it the sender of the answer: whoever waits for it
    // learns so. There is nothing else to do about it here.
    fn send(&self, command: Command) {
        drop(self.commands.send(command));
    }

    async fn ask<T: Default>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (done, answer) = oneshot::channel();
        self.send(question(done));
        answer.await.unwrap_or_default()
    }

    /// Stores a message for every group that matches, and in the backlog if its topic has one; `completion` is done when
    /// it is on disk.
    pub fn publish(&self, message: Arc<Message>, completion: Option<Completion>) {
        self.send(Command::Publish(message, completion));
    }

    /// Makes a connection a member, creating the group if it is new: with what the backlog has for it.
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

    /// Ends a membership; `false` when there was none.
    pub async fn quit(&self, key: GroupKey, member: MemberId) -> bool {
        self.ask(|done| Command::Quit(key, member, done)).await
    }

    /// The member can hold so many messages from now on.
    pub fn resize(&self, member: MemberId, capacity: usize) {
        self.send(Command::Resize(member, capacity));
    }

    /// The member is done with a message.
    pub fn acknowledge(&self, member: MemberId, entry: EntryId) {
        self.send(Command::Acknowledge(member, entry));
    }

    /// The member refuses a message.
    pub fn refuse(&self, member: MemberId, entry: EntryId, refusal: Refusal) {
        self.send(Command::Refuse(member, entry, refusal));
    }

    /// The member's connection is gone.
    pub fn leave(&self, member: MemberId, how: Leaving) {
        self.send(Command::Leave(member, how));
    }

    /// Every group's numbers.
    pub async fn status(&self) -> Vec<GroupStatus> {
        self.ask(Command::Status).await
    }

    /// What is kept for groups that are created later.
    pub async fn backlog(&self) -> BacklogStatus {
        self.ask(Command::Backlog).await
    }

    /// Makes a group that has no members yet; `false` when it can't be made.
    pub async fn create(&self, key: GroupKey) -> bool {
        self.ask(|done| Command::Create(key, done)).await
    }

    /// Removes a group with all messages in it; `false` when there is none.
    pub async fn remove(&self, key: GroupKey) -> bool {
        self.ask(|done| Command::Remove(key, done)).await
    }

    /// The oldest dead letters of a group, of those after one.
    pub async fn dead_letters(&self, key: GroupKey, after: Option<i64>, limit: usize) -> Vec<DeadLetter> {
        self.ask(|done| Command::DeadLetters(key, after, limit, done)).await
    }

    /// Puts dead letters back into their group's queue; says how many there were. Without ids, all.
    pub async fn requeue(&self, key: GroupKey, ids: Option<Vec<i64>>) -> usize {
        self.ask(|done| Command::Requeue(key, ids, done)).await
    }

    /// Deletes dead letters; says how many there were. Without ids, all.
    pub async fn discard(&self, key: GroupKey, ids: Option<Vec<i64>>) -> usize {
        self.ask(|done| Command::Discard(key, ids, done)).await
    }
}

/// The running engine.
#[derive(Debug)]
pub struct Engine {
    handle: EngineHandle,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens the store in `directory` and starts the threads.
    pub fn start(directory: &Path, config: EngineConfig, hub: HubHandle) -> Result<Self, StoreError> {
        let (commands, receiver) = channel();
        let filters = Arc::new(RwLock::default());
        let worker = Worker::open(directory, config, hub, commands.clone(), Arc::clone(&filters))?;
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
