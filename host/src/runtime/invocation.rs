//! What an instance carries while it handles one message: who it is, what it may do, and what it did so far.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::effects::Effects;
use super::instance::Limits;
use super::journal::{Journal, Said};
use super::wasi::{self, Clock};
use crate::capability::topic_grants::Outlets;
use crate::capability::{Grants, Services};
use crate::event::{ATTEMPT, Origin, Place};

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
    /// Where its events may go.
    pub outlets: Outlets,
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

    /// Write what its component said before it was this bot into its log.
    pub(crate) fn keep(&self, said: &[Said]) {
        for Said { level, line } in said {
            self.services.logs.append(&self.name, None, *level, &[line]);
        }
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
    /// What it says.
    pub(crate) journal: Journal,
    pub(super) memory: MemoryLimit,
    /// Mails that it had sent, or tried to.
    pub(crate) mails: u32,
    /// When the call is ended, if it has not come to its end before.
    pub(crate) until: Instant,
    clock: Clock,
    seed: [u8; 32],
    /// Made at the first call of WASI.
    wasi: Option<WasiCtx>,
}

/// Why a bot is called, as far as its clock and randomness depend on it.
#[derive(Debug, Clone)]
pub(super) enum Occasion {
    /// It checks its options: the same component always sees the same.
    Configure {
        /// SHA-256 of the component, in hex.
        digest: Arc<str>,
    },
    /// A message. A repeated attempt has the same randomness.
    Message(MessageContext),
    /// A timer went off.
    Tick(String),
}

impl Invocation {
    pub(super) fn new(bot: Arc<BotContext>, occasion: Occasion, limits: Limits) -> Self {
        let clock = match occasion {
            Occasion::Configure { .. } => Clock::fixed(),
            Occasion::Message(_) | Occasion::Tick(_) => Clock::Host(Arc::clone(&bot)),
        };
        let seed = match &occasion {
            Occasion::Configure { digest } => wasi::seed(&["configure", digest]),
            Occasion::Message(message) => wasi::seed(&["message", &message.group, &message.id]),
            Occasion::Tick(timer) => wasi::seed(&["tick", &bot.name, timer, &bot.services.tape.tick()]),
        };
        let message = match occasion {
            Occasion::Message(message) => Some(message),
            Occasion::Configure { .. } | Occasion::Tick(_) => None,
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(wasi::MAX_RESOURCES);
        Self {
            journal: Journal::of(Arc::clone(&bot), message.as_ref().map(|message| message.run.clone())),
            bot,
            message,
            effects: Effects::default(),
            table,
            memory: MemoryLimit {
                bytes: limits.memory,
                exceeded: false,
            },
            mails: 0,
            until: Instant::now() + limits.wall_time,
            clock,
            seed,
            wasi: None,
        }
    }

    /// The time of day, as the bot sees it.
    pub(crate) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    /// What the id of an event, or of a mail, of the work in hand derives from. None for a timer's without a key: ticks have no
    /// identity, so that nothing would tell a repetition from new work.
    pub(crate) fn origin(&self, place: Place) -> Option<Origin> {
        match (&self.message, &self.bot.stock, place) {
            (Some(message), _, place) => Some(Origin::Message {
                group: message.group.clone(),
                input: message.id.clone(),
                attempt: ATTEMPT,
                place,
            }),
            (None, Some(stock), Place::Key(key)) => Some(Origin::StockTimer {
                bot: stock.clone(),
                key,
            }),
            (None, None, Place::Key(key)) => Some(Origin::Timer {
                bot: self.bot.name.clone(),
                key,
            }),
            (None, _, Place::Position(_)) => None,
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
        let wasi = || wasi::context(&self.journal, &self.clock, self.seed);
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(wasi),
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
