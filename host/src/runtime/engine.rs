//! The WebAssembly engine, one per host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::error::LoadError;

/// How often the epoch advances: the grain of time limits, and how long a computing bot keeps a thread to itself.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// Largest linear memory that any bot may be granted.
pub(super) const MAX_MEMORY: usize = 1024 * 1024 * 1024;

/// Instances that may exist at the same time, over all bots of a host.
const MAX_INSTANCES: u32 = 256;

/// The engine that compiles and runs all bots of a host. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    _ticker: Arc<Ticker>,
}

impl Engine {
    /// Set up the engine and the thread that advances its epoch.
    ///
    /// # Errors
    /// [`LoadError::Engine`] if this machine can't reserve the address space for the instance pool.
    pub fn new() -> Result<Self, LoadError> {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(MAX_INSTANCES)
            .total_core_instances(MAX_INSTANCES * 4)
            .total_memories(MAX_INSTANCES)
            .total_tables(MAX_INSTANCES * 4)
            .total_stacks(MAX_INSTANCES)
            .max_memory_size(MAX_MEMORY);
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let inner = wasmtime::Engine::new(&config).map_err(|e| LoadError::Engine(format!("{e:#}")))?;
        let ticker = Ticker::start(inner.clone());
        Ok(Self {
            inner,
            _ticker: Arc::new(ticker),
        })
    }

    /// The wasmtime engine.
    pub(super) fn raw(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

/// Advances the epoch until it is dropped.
struct Ticker {
    stop: Arc<AtomicBool>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        });
        Self { stop }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
