//! The clock of a call: the host's, or a fixed one where a component is only asked something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::datetime;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::runtime::BotContext;

/// What a component's clock shows while it describes or configures itself.
const FIXED: OffsetDateTime = datetime!(2000-01-01 00:00 UTC);

/// By how much a fixed clock advances at each reading: programs that wait for it to do so end.
const STEP: Duration = Duration::from_micros(1);

/// What a monotonic clock begins with: some programs take zero for none.
const BEGIN: Duration = Duration::from_secs(1);

/// Where a call's time comes from. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Clock {
    /// The host's clock, or what was recorded of it.
    Host(Arc<BotContext>),
    /// A clock that shows the same times in every call.
    Fixed(Arc<AtomicU64>),
}

impl Clock {
    /// A clock for a component that is asked what it is, or whether its options will do.
    pub(crate) fn fixed() -> Self {
        Self::Fixed(Arc::default())
    }

    /// The time of day.
    pub(crate) fn now(&self) -> OffsetDateTime {
        match self {
            Self::Host(bot) => bot.services.tape.now(),
            Self::Fixed(readings) => FIXED + step(readings),
        }
    }
}

fn step(readings: &AtomicU64) -> Duration {
    let readings = readings.fetch_add(1, Ordering::Relaxed);
    STEP * u32::try_from(readings).unwrap_or(u32::MAX)
}

pub(super) struct Wall(Clock);

impl Wall {
    pub(super) fn new(clock: &Clock) -> Self {
        Self(clock.clone())
    }
}

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        // Before 1970 there are no bots.
        (self.0.now() - OffsetDateTime::UNIX_EPOCH)
            .try_into()
            .unwrap_or_default()
    }
}

pub(super) struct Monotonic {
    clock: Clock,
    begun: Instant,
}

impl Monotonic {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            begun: Instant::now(),
        }
    }
}

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        let elapsed = match &self.clock {
            Clock::Host(bot) => bot.services.tape.elapsed().unwrap_or_else(|| self.begun.elapsed()),
            Clock::Fixed(readings) => step(readings),
        };
        u64::try_from((BEGIN + elapsed).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_shows_the_same_times_in_every_call_and_advances() {
        let readings = || {
            let clock = Clock::fixed();
            let (wall, monotonic) = (Wall::new(&clock), Monotonic::new(&clock));
            (wall.now(), monotonic.now(), wall.now(), monotonic.now())
        };
        let (wall, monotonic, later, much_later) = readings();
        assert_eq!(readings(), (wall, monotonic, later, much_later));
        assert!(wall < later && monotonic < much_later);
    }
}
