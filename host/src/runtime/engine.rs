//! The WebAssembly engine, one per host.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::aside::Aside;
use super::error::LoadError;
use super::functions::FunctionCache;

/// How often the epoch advances: the grain of time limits, and how long a computing bot keeps a thread of the host's to
/// itself before it moves to one of its own.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Largest linear memory that any bot may be granted.
pub(super) const MAX_MEMORY: usize = 1024 * 1024 * 1024;

/// Instances that may exist at the same time, over all bots of a host.
const MAX_INSTANCES: u32 = 256;

/// The engine that compiles and runs all bots of a host. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    functions: Option<Arc<FunctionCache>>,
    aside: Arc<Aside>,
    _ticker: Arc<Ticker>,
}

impl Engine {
    /// Set up the engine and the thread that advances its epoch.
    ///
    /// # Errors
    /// [`LoadError::Engine`] if this machine can't reserve the address space for the instance pool.
    pub fn new() -> Result<Self, LoadError> {
        Self::with(None, MAX_INSTANCES)
    }

    /// The same, with room for another number of instances at a time than 256.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn with_room(instances: u32) -> Result<Self, LoadError> {
        Self::with(None, instances)
    }

    /// The same, with compiled functions kept in a directory that only the host can write, for components that share
    /// them.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn keeping(compiled: &Path) -> Result<Self, LoadError> {
        let opened = private_directory(compiled)
            .map_err(|error| error.to_string())
            .and_then(|()| FunctionCache::open(compiled).map_err(|error| error.to_string()));
        let functions = match opened {
            Ok(functions) => Some(Arc::new(functions)),
            Err(why) => {
                tracing::warn!(directory = %compiled.display(), %why, "cannot keep compiled functions: loading takes longer");
                None
            }
        };
        Self::with(functions, MAX_INSTANCES)
    }

    fn with(functions: Option<Arc<FunctionCache>>, instances: u32) -> Result<Self, LoadError> {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(instances)
            .total_core_instances(instances * 4)
            .total_memories(instances)
            .total_tables(instances * 4)
            .total_stacks(instances)
            .max_memory_size(MAX_MEMORY);
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let unusable = |error: wasmtime::Error| LoadError::Engine(format!("{error:#}"));
        if let Some(functions) = &functions {
            config
                .enable_incremental_compilation(Arc::clone(functions) as Arc<dyn wasmtime::CacheStore>)
                .map_err(unusable)?;
        }
        let inner = wasmtime::Engine::new(&config).map_err(unusable)?;
        let aside = Aside::new(instances).map_err(|error| LoadError::Engine(error.to_string()))?;
        let ticker = Ticker::start(inner.clone());
        Ok(Self {
            inner,
            functions,
            aside: Arc::new(aside),
            _ticker: Arc::new(ticker),
        })
    }

    /// The wasmtime engine.
    pub(super) fn raw(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Where long computations go on.
    pub(super) fn aside(&self) -> &Aside {
        &self.aside
    }

    /// Write down what the last compilation made.
    pub(super) fn keep_functions(&self) {
        if let Some(functions) = &self.functions {
            functions.flush();
        }
    }
}

/// Make a directory that nobody else can write to or read.
pub(super) fn private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
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
