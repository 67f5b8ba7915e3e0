//! Calling a bot: a fresh instance for each call, within limits, with every way to fail made a value.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use super::aside::Heavy;
use super::bindings::{Bot, BotPre};
use super::component::Admitted;
use super::describe::Acts;
use super::effects::Effects;
use super::engine::{Engine, MAX_MEMORY, TICK};
use super::error::Fault;
use super::failure;
use super::invocation::{BotContext, Invocation, MemoryLimit, MessageContext, Occasion};
use super::journal::Journal;
use super::wasi::{Excess, MAX_RESOURCES};
use super::wit::types;

/// What one call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, in bytes.
    pub memory: usize,
    /// Time that the bot's own code may compute.
    pub guest_time: Duration,
    /// Time from the call to its end, host calls included.
    pub wall_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 * 1024 * 1024,
            guest_time: Duration::from_secs(30),
            wall_time: Duration::from_secs(120),
        }
    }
}

/// What a bot made of a message, if it came to an end at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Done, with these effects.
    Done(Effects),
    /// Try again later.
    Retry {
        /// At least this much later.
        after: Duration,
        /// The bot's reason.
        why: String,
    },
    /// Never try again; the bot's reason.
    Reject(String),
}

/// Makes instances of one bot.
pub struct Instances {
    engine: Engine,
    admitted: Admitted,
    bot: Arc<BotContext>,
    limits: Limits,
}

impl Instances {
    /// Instances of an admitted component for a bot.
    #[must_use]
    pub fn new(engine: Engine, admitted: Admitted, bot: Arc<BotContext>, limits: Limits) -> Self {
        let limits = Limits {
            memory: limits.memory.min(MAX_MEMORY),
            ..limits
        };
        Self {
            engine,
            admitted,
            bot,
            limits,
        }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The bot.
    #[must_use]
    pub fn bot(&self) -> &Arc<BotContext> {
        &self.bot
    }

    /// Let the bot check its options.
    ///
    /// # Errors
    /// A [`Fault`] if its code fails. The inner error is the bot's own refusal.
    pub async fn configure(&self) -> Result<Result<(), String>, Fault> {
        let digest = Arc::clone(&self.admitted.digest);
        self.call(Occasion::Configure { digest }, |world, store| {
            Box::pin(world.call_configure(store))
        })
        .await
        .map(|(answer, _)| answer)
    }

    /// Let the bot handle a message.
    ///
    /// # Errors
    /// A [`Fault`] if its code fails; nothing takes effect then.
    pub async fn handle(&self, message: &types::Message) -> Result<Verdict, Fault> {
        let context = MessageContext {
            id: message.id.clone(),
            run: message.run.clone(),
            group: self.bot.group_of(&message.topic).to_owned(),
        };
        let message = message.clone();
        self.call(Occasion::Message(context), move |world, store| {
            Box::pin(async move { world.call_handle(store, &message).await })
        })
        .await
        .map(|(outcome, effects)| verdict(outcome, effects))
    }

    /// Tell the bot that a timer went off.
    ///
    /// # Errors
    /// A [`Fault`] if its code fails; nothing takes effect then.
    pub async fn tick(&self, timer: &str) -> Result<Verdict, Fault> {
        let timer = timer.to_owned();
        self.call(Occasion::Tick(timer.clone()), move |world, store| {
            Box::pin(async move { world.call_tick(store, &timer).await })
        })
        .await
        .map(|(outcome, effects)| verdict(outcome, effects))
    }

    async fn call<T: Send + 'static>(
        &self,
        occasion: Occasion,
        call: impl Call<Invocation, T>,
    ) -> Result<(T, Effects), Fault> {
        let invocation = Invocation::new(Arc::clone(&self.bot), occasion, self.limits);
        let (value, invocation) = call_within(self.limits, &self.engine, &self.admitted.pre, invocation, call).await?;
        Ok((value, invocation.effects))
    }
}

/// Data of a store whose memory is limited, and whose output is somebody's.
pub(super) trait Limited: Send + 'static {
    /// The limit.
    fn memory(&mut self) -> &mut MemoryLimit;

    /// What the call says.
    fn journal(&self) -> &Journal;
}

impl Limited for Invocation {
    fn memory(&mut self) -> &mut MemoryLimit {
        &mut self.memory
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// A call of one of a bot's exports.
pub(super) trait Call<D: 'static, T>:
    for<'a> FnOnce(&'a Bot, &'a mut Store<D>) -> BoxFuture<'a, wasmtime::Result<T>> + Send + 'static
{
}

impl<D: 'static, T, C> Call<D, T> for C where
    C: for<'a> FnOnce(&'a Bot, &'a mut Store<D>) -> BoxFuture<'a, wasmtime::Result<T>> + Send + 'static
{
}

/// Make an instance for one call, and hold the call to the limits.
pub(super) async fn call_within<D: Limited, T: Send + 'static>(
    limits: Limits,
    engine: &Engine,
    pre: &BotPre<D>,
    data: D,
    call: impl Call<D, T>,
) -> Result<(T, D), Fault> {
    let heavy = Heavy::default();
    let work = Box::pin(held_to(limits, engine.clone(), pre.clone(), data, heavy.clone(), call));
    let ended = engine.aside().run(work, &heavy).await;
    ended.unwrap_or_else(|| Err(Fault::Host("the call came to no end".to_owned())))
}

async fn held_to<D: Limited, T>(
    limits: Limits,
    engine: Engine,
    pre: BotPre<D>,
    data: D,
    heavy: Heavy,
    call: impl Call<D, T>,
) -> Result<(T, D), Fault> {
    let mut store = Store::new(engine.raw(), data);
    store.limiter(|data| data.memory());
    let mut ticks_left = limits.guest_time.as_millis().div_ceil(TICK.as_millis());
    store.set_epoch_deadline(1);
    // The deadline only passes while the bot's own code runs, so counting its passings measures guest time;
    // yielding at each lets the wall clock's timeout, and other bots, have their turn.
    store.epoch_deadline_callback(move |_| {
        heavy.set();
        ticks_left = ticks_left.saturating_sub(1);
        if ticks_left == 0 {
            Err(OutOfGuestTime.into())
        } else {
            Ok(UpdateDeadline::Yield(1))
        }
    });
    let work = async {
        let world = pre.instantiate_async(&mut store).await?;
        call(&world, &mut store).await
    };
    let answer = tokio::time::timeout(limits.wall_time, work).await;
    store.data().journal().end();
    match answer {
        Err(_elapsed) => Err(Fault::TimedOut(limits.wall_time)),
        Ok(Ok(value)) => Ok((value, store.into_data())),
        Ok(Err(_)) if store.data_mut().memory().exceeded => Err(Fault::Memory(limits.memory)),
        Ok(Err(error)) => Err(fault(&error, limits, store.data().journal())),
    }
}

/// What came of a call that the bot's code did not return from.
fn fault(error: &wasmtime::Error, limits: Limits, journal: &Journal) -> Fault {
    if error.is::<OutOfGuestTime>() {
        return Fault::GuestTime(limits.guest_time);
    }
    if error.is::<I32Exit>() {
        return Fault::Exit {
            why: journal.failure().or_else(|| journal.last_error()),
        };
    }
    if let Some(acts) = error.downcast_ref::<Acts>() {
        return Fault::Acts(acts.to_string());
    }
    if let Some(excess) = error.downcast_ref::<Excess>() {
        return Fault::Trap(excess.to_string());
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return Fault::Trap(format!(
            "held more than {MAX_RESOURCES} resources of the host's at a time"
        ));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::NoRoom(error.root_cause().to_string());
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => Fault::Trap(failure::of_trap(*trap, error.downcast_ref(), journal)),
        // The backtrace would hide what matters to whoever reads it.
        None => Fault::Host(error.root_cause().to_string()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("out of guest time")]
struct OutOfGuestTime;

fn verdict(outcome: types::Outcome, effects: Effects) -> Verdict {
    match outcome {
        types::Outcome::Done => Verdict::Done(effects),
        types::Outcome::Retry(retry) => Verdict::Retry {
            after: Duration::from_millis(retry.after_ms),
            why: retry.why,
        },
        types::Outcome::Reject(why) => Verdict::Reject(why),
    }
}
