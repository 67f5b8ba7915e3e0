//! Asking a component what it is. Nothing is granted to it, so this needs no host.

use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::component::ComponentInfo;
use super::engine::Engine;
use super::error::{AdmissionError, Fault};
use super::instance::{Limited, Limits, call_within};
use super::invocation::MemoryLimit;
use super::journal::{Journal, Said};
use super::wasi::{self, Clock};
use super::wit;
use super::wit::types::Description;
use crate::capability::Level;

/// `describe` does no work.
const LIMITS: Limits = Limits {
    memory: 256 * 1024 * 1024,
    guest_time: Duration::from_secs(5),
    wall_time: Duration::from_secs(30),
};

/// A call of what a component has no right to while it says what it is, such as `foundry:bot/state@0.1.1#get`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "called {0} (while a bot says what it is, it has its log and a fixed clock, and nothing else: move this to configure, \
     handle or tick)"
)]
pub(super) struct Acts(pub(super) String);

/// Why a component does not say what it is.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// It is no bot.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// Its code failed.
    #[error("cannot load {name}: its describe {fault}")]
    Fault {
        /// The component.
        name: String,
        /// How.
        fault: Fault,
    },
}

/// What a component says that it is, and what else it said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it is.
    pub description: Description,
    /// What it printed or logged meanwhile.
    pub said: Vec<Said>,
}

/// A component that has no name, no options and no rights yet.
pub(super) struct Stranger {
    memory: MemoryLimit,
    journal: Journal,
    table: ResourceTable,
    clock: Clock,
    seed: [u8; 32],
    wasi: Option<WasiCtx>,
}

impl Stranger {
    /// A component of this digest, with at most so many bytes of memory.
    pub(super) fn new(digest: &str, memory: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(wasi::MAX_RESOURCES);
        Self {
            memory: MemoryLimit {
                bytes: memory,
                exceeded: false,
            },
            journal: Journal::kept(),
            table,
            clock: Clock::fixed(),
            seed: wasi::seed(&["describe", digest]),
            wasi: None,
        }
    }
}

impl Limited for Stranger {
    fn memory(&mut self) -> &mut MemoryLimit {
        &mut self.memory
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }
}

impl WasiView for Stranger {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = || wasi::context(&self.journal, &self.clock, self.seed);
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(wasi),
            table: &mut self.table,
        }
    }
}

impl wit::log::Host for Stranger {
    async fn log(&mut self, level: wit::log::Level, line: String) -> wasmtime::Result<()> {
        self.journal.log(Level::from(level), &line);
        Ok(())
    }
}

impl ComponentInfo {
    /// Ask the component what it is. It has a fixed clock, and randomness that follows from its digest: however often it
    /// is asked, the answer is the same.
    ///
    /// # Errors
    /// [`DescribeError`] if it is no bot, or if its code fails.
    pub async fn describe(&self, engine: &Engine) -> Result<Answer, DescribeError> {
        let pre = self.admit_to_describe(engine)?;
        let stranger = Stranger::new(&self.digest, LIMITS.memory);
        let journal = stranger.journal.clone();
        let answer = call_within(LIMITS, engine, &pre, stranger, |world, store| {
            Box::pin(world.call_describe(store))
        });
        let (description, _) = answer.await.map_err(|fault| DescribeError::Fault {
            name: self.name.clone(),
            fault,
        })?;
        Ok(Answer {
            description,
            said: journal.take_kept(),
        })
    }
}
