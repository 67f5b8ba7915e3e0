//! Pre-initialisation: run a component once, and make a component of what it has in memory then.

use wasmtime::Store;
use wasmtime::component::{Instance, Lift, WasmList};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use super::bindings::Bot;
use super::component::ComponentCache;
use super::describe::Stranger;
use super::engine::{Engine, MAX_MEMORY, TICK};
use super::error::{AdmissionError, LoadError};
use super::instance::Limited as _;
use super::journal::Said;
use super::wit::types;

/// How long the component may compute. Longer than anybody waits.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The component can't be compiled.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The component isn't of a kind whose state can be written down.
    #[error("cannot pre-initialise {name}: {why}")]
    Unfit {
        /// The component.
        name: String,
        /// What stands in the way.
        why: String,
    },
    /// Its code failed.
    #[error("cannot pre-initialise {name}: {why}")]
    Failed {
        /// The component.
        name: String,
        /// How.
        why: String,
    },
    /// It is no bot.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// It rejected the tick, for this reason.
    #[error("{0}")]
    Rejected(String),
}

/// Let a bot handle one tick of a timer, and return a component that begins where the tick ended. It has its log and a
/// WASI with a fixed clock, as for `describe`; all other imports trap. What it said is returned beside the component.
/// Blocks while it compiles; the compilation is kept in the cache.
///
/// # Errors
/// [`SnapshotError`]; what the bot rejects is [`SnapshotError::Rejected`].
pub async fn snapshot_after_tick(
    engine: &Engine,
    cache: &ComponentCache,
    name: &str,
    component: &[u8],
    timer: &str,
) -> Result<(Vec<u8>, Vec<Said>), SnapshotError> {
    let unfit = |error: wasmtime::Error| SnapshotError::Unfit {
        name: name.to_owned(),
        why: format!("{error:#}"),
    };
    let failed = |error: wasmtime::Error| SnapshotError::Failed {
        name: name.to_owned(),
        why: format!("{error:#}"),
    };
    let mut wizer = Wizer::new();
    // There is no function that only wizer calls, and would have to go.
    wizer.keep_init_func(true);
    let (context, instrumented) = wizer.instrument_component(component).map_err(unfit)?;
    let compiled = cache.load(engine, name, &instrumented)?;

    let pre = compiled.admit_to_describe(engine)?;
    let mut store = Store::new(engine.raw(), Stranger::new(&compiled.digest, MAX_MEMORY));
    let journal = store.data().journal().clone();
    store.set_epoch_deadline(u64::try_from(PATIENCE.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX / 2));
    let instance = pre.instance_pre().instantiate_async(&mut store).await.map_err(failed)?;
    let bot = Bot::new(&mut store, &instance).map_err(unfit)?;
    // The epoch counts what computes. A module that sleeps while it is imported does not.
    let Ok(outcome) = tokio::time::timeout(PATIENCE, bot.call_tick(&mut store, timer)).await else {
        let why = format!("its modules took longer than {} s to be imported", PATIENCE.as_secs());
        return Err(failed(wasmtime::Error::msg(why)));
    };
    match outcome.map_err(failed)? {
        types::Outcome::Done => {}
        types::Outcome::Reject(why) => return Err(SnapshotError::Rejected(why)),
        types::Outcome::Retry(retry) => return Err(failed(wasmtime::Error::msg(retry.why))),
    }

    let mut live = Live {
        store,
        instance,
        failure: None,
    };
    let snapshot = wizer.snapshot_component(&context, &mut live).await.map_err(unfit)?;
    journal.end();
    match live.failure {
        None => Ok((snapshot, journal.take_kept())),
        Some(error) => Err(failed(error)),
    }
}

/// An instance whose state is read through the functions that the instrumentation added.
struct Live {
    store: Store<Stranger>,
    instance: Instance,
    /// The first call that failed: the trait has no way to say so.
    failure: Option<wasmtime::Error>,
}

impl Live {
    async fn read<R: Lift + Send + Sync + 'static>(&mut self, instance: &str, function: &str) -> Option<R> {
        match self.call(instance, function).await {
            Ok(value) => Some(value),
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        }
    }

    async fn call<R: Lift + Send + Sync + 'static>(&mut self, instance: &str, function: &str) -> wasmtime::Result<R> {
        let missing = || wasmtime::Error::msg(format!("no export {instance}#{function}"));
        let (_, outer) = self
            .instance
            .get_export(&mut self.store, None, instance)
            .ok_or_else(missing)?;
        let (_, inner) = self
            .instance
            .get_export(&mut self.store, Some(&outer), function)
            .ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, inner)?;
        let (value,) = function.call_async(&mut self.store, ()).await?;
        Ok(value)
    }
}

impl ComponentInstanceState for Live {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.read::<WasmList<u8>>(instance, func).await {
            Some(list) => contents(list.as_le_slice(&self.store)),
            None => contents(&[]),
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.read(instance, func).await.unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.read(instance, func).await.unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.read::<f32>(instance, func).await.unwrap_or_default().to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.read::<f64>(instance, func).await.unwrap_or_default().to_bits()
    }
}
