//! What an instance carries while it handles one message: who it is, what it may do, and what it did so far.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::capability::{Grants, Level, Services, Work};

/// A bot as its capabilities see it. Shared by all of its instances.
pub struct BotContext {
    /// The bot's name on this host.
    pub name: String,
    /// `<host>/<bot>`, the source of its events.
    pub source: String,
    /// Name of the stock bot that it is; `None` for a component from a file, whatever that calls itself.
    pub stock: Option<String>,
    /// The groups that it handles messages for, by the messages' topic (without prefix).
    pub groups: BTreeMap<String, String>,
    /// Option values by option name, defaults filled in.
    pub options: BTreeMap<String, Vec<String>>,
    /// Topics that it may publish to: the name it uses, and the topic it gets (both without prefix).
    pub outputs: BTreeMap<String, String>,
    /// Its rights.
    pub grants: Grants,
    /// Bytes of state that it may keep.
    pub state_limit: u64,
    /// What the host's capabilities work with.
    pub services: Arc<Services>,
}

impl BotContext {
    /// The group that it handles the messages of a topic (without prefix) for; empty if it reads no such topic.
    #[must_use]
    pub fn group_of(&self, topic: &str) -> &str {
        self.groups.get(topic).map_or("", String::as_str)
    }
}

/// The message in hand.
#[derive(Debug, Clone)]
pub struct MessageContext {
    /// The event's id.
    pub id: String,
    /// The run that it belongs to.
    pub run: String,
    /// The group that it is handled for.
    pub group: String,
}

/// An event that the bot wants published.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingEvent {
    /// The event's id, which says whose work it is.
    pub id: String,
    /// Topic without prefix.
    pub topic: String,
    /// CloudEvents type.
    pub event_type: String,
    /// What it is about.
    pub subject: Option<String>,
    /// The run; a new one if the bot acted by itself.
    pub run: String,
    /// The message that led to it.
    pub cause: Option<String>,
    /// A JSON object.
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// One write to the bot's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The key.
    pub key: String,
    /// The new value; none removes the key.
    pub value: Option<Vec<u8>>,
}

/// What takes effect together with the outcome `done`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Events, in the order of their sending.
    pub events: Vec<OutgoingEvent>,
    /// State writes, the last one for each key.
    pub writes: BTreeMap<String, Option<Vec<u8>>>,
}

impl Effects {
    /// The writes as a list.
    pub fn state_writes(&self) -> impl Iterator<Item = StateWrite> + '_ {
        self.writes.iter().map(|(key, value)| StateWrite {
            key: key.clone(),
            value: value.clone(),
        })
    }
}

/// The data of one instance's store.
pub struct Invocation {
    /// The bot.
    pub bot: Arc<BotContext>,
    /// The message in hand; none for `describe`, `configure` and `tick`.
    pub message: Option<MessageContext>,
    /// What it did so far.
    pub effects: Effects,
    /// Resources that it holds.
    pub table: ResourceTable,
    pub(super) memory: MemoryLimit,
    log_lines: u32,
    /// Mails that it had sent, or tried to.
    pub(crate) mails: u32,
    wasi: WasiCtx,
}

/// Log lines that one message may write; the rest is dropped, with one line that says so.
const MAX_LOG_LINES: u32 = 10_000;

impl Invocation {
    pub(super) fn new(bot: Arc<BotContext>, message: Option<MessageContext>, memory: usize) -> Self {
        Self {
            bot,
            message,
            effects: Effects::default(),
            table: ResourceTable::new(),
            memory: MemoryLimit {
                bytes: memory,
                exceeded: false,
            },
            log_lines: 0,
            mails: 0,
            // Nothing is inherited: no arguments, environment, files, standard streams or network.
            wasi: WasiCtxBuilder::new().build(),
        }
    }

    /// Count a log line; false once the message has written its share.
    pub(crate) fn may_log(&mut self) -> bool {
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines == MAX_LOG_LINES {
            let run = self.run();
            self.bot.services.logs.write(
                &self.bot.name,
                run,
                Level::Warn,
                "too many log lines; the rest is dropped",
            );
        }
        self.log_lines < MAX_LOG_LINES
    }

    /// The work in hand: what the ids of its events and mails derive from.
    pub(crate) fn work(&self) -> Work<'_> {
        match (&self.message, &self.bot.stock) {
            (Some(message), _) => Work::Message {
                group: &message.group,
                input: &message.id,
            },
            (None, Some(stock)) => Work::StockTimer { bot: stock },
            (None, None) => Work::Timer { bot: &self.bot.name },
        }
    }

    /// The run of the message in hand.
    #[must_use]
    pub fn run(&self) -> Option<&str> {
        self.message.as_ref().map(|message| message.run.as_str())
    }
}

impl WasiView for Invocation {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Caps an instance's linear memory, and remembers that the cap was hit.
pub(super) struct MemoryLimit {
    pub(super) bytes: usize,
    pub(super) exceeded: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let allowed = desired <= self.bytes;
        self.exceeded |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= 100_000)
    }
}
