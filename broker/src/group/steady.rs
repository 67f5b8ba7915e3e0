//! The clock that ages are counted on: nobody can set it.
//!
//! The machine's wall clock is set by people, by NTP, and on boards without a battery by every start. What ages by it
//! can be a day old in a moment. So ages are counted in milliseconds since the machine was started, suspension
//! included. Between two starts of the machine there is nothing but the wall clock to tell how long it was off: it is
//! believed as far as it went forward, from the reading that was stored last; one that went back counts as no time.

use crate::message::Timestamp;

/// A reading of the steady clock, in milliseconds since a data directory was first used. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct SteadyTime(pub(super) u64);

impl SteadyTime {
    /// Milliseconds since an earlier reading.
    pub(super) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What the machine says of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MachineTime {
    /// Identifies this start of the machine.
    pub(super) boot: String,
    /// Milliseconds since then.
    pub(super) since_boot: u64,
    /// The wall clock.
    pub(super) wall: Timestamp,
}

impl MachineTime {
    /// The present.
    pub(super) fn now(boot: &str) -> Self {
        Self {
            boot: boot.to_owned(),
            since_boot: since_boot(),
            wall: Timestamp::now(),
        }
    }
}

/// A reading with what the machine said then, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SavedReading {
    pub(super) reading: SteadyTime,
    pub(super) machine: MachineTime,
}

/// A steady clock that goes on where an earlier process on the same data left off.
#[derive(Debug)]
pub(super) struct SteadyClock {
    boot: String,
    /// A reading, and milliseconds since the machine's start at that moment.
    begun: (SteadyTime, u64),
}

impl SteadyClock {
    /// A clock that has stood at `saved`, or begins at 0 without it.
    pub(super) fn resume(saved: Option<&SavedReading>, machine: &MachineTime) -> Self {
        let reading = match saved {
            None => 0,
            Some(SavedReading { reading, machine: then }) => {
                let passed = if then.boot == machine.boot {
                    machine.since_boot.saturating_sub(then.since_boot)
                } else {
                    machine.wall.0.saturating_sub(then.wall.0)
                };
                reading.0.saturating_add(passed)
            }
        };
        Self {
            boot: machine.boot.clone(),
            begun: (SteadyTime(reading), machine.since_boot),
        }
    }

    /// A clock on this machine.
    pub(super) fn start(saved: Option<&SavedReading>) -> Self {
        // Without an identity every start of the process counts as one of the machine: the wall clock tells.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell the machine's starts apart; ages count by the wall clock over a restart");
            format!("process {} at {}", std::process::id(), Timestamp::now().0)
        });
        Self::resume(saved, &MachineTime::now(boot.trim()))
    }

    /// The reading at some time since the machine's start.
    fn at(&self, since_boot: u64) -> SteadyTime {
        let (reading, begun) = self.begun;
        SteadyTime(reading.0.saturating_add(since_boot.saturating_sub(begun)))
    }

    /// The present reading.
    pub(super) fn now(&self) -> SteadyTime {
        self.at(since_boot())
    }

    /// The present reading, to be stored.
    pub(super) fn saved(&self) -> SavedReading {
        let machine = MachineTime::now(&self.boot);
        SavedReading {
            reading: self.at(machine.since_boot),
            machine,
        }
    }
}

/// Milliseconds since the machine was started, with the time that it was suspended.
fn since_boot() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let milliseconds = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 24 * 3600 * 1000;

    fn machine(boot: &str, since_boot: u64, wall: u64) -> MachineTime {
        MachineTime {
            boot: boot.to_owned(),
            since_boot,
            wall: Timestamp(wall),
        }
    }

    fn saved(reading: u64, machine: MachineTime) -> SavedReading {
        SavedReading {
            reading: SteadyTime(reading),
            machine,
        }
    }

    #[test]
    fn setting_the_wall_clock_changes_no_age_while_the_machine_runs() {
        let then = saved(500, machine("a", 10_000, YEAR));
        for wall in [0, YEAR, 9 * YEAR] {
            let clock = SteadyClock::resume(Some(&then), &machine("a", 13_000, wall));
            assert_eq!(clock.at(13_000), SteadyTime(3500));
            assert_eq!(clock.at(14_000).since(SteadyTime(500)), 4000);
        }
    }

    #[test]
    fn over_a_start_of_the_machine_the_wall_clock_counts_as_far_as_it_went_forward() {
        let then = saved(500, machine("a", 10_000, YEAR));
        let clock = SteadyClock::resume(Some(&then), &machine("b", 50, YEAR + 60_000));
        assert_eq!(clock.at(50), SteadyTime(60_500));
        // A board without a battery begins in 1970 at every start.
        let clock = SteadyClock::resume(Some(&then), &machine("b", 50, 0));
        assert_eq!(clock.at(1050), SteadyTime(1500));
    }

    #[test]
    fn the_clock_never_goes_back() {
        let clock = SteadyClock::resume(None, &machine("a", 10_000, YEAR));
        assert_eq!(clock.at(9000), SteadyTime(0));
        let (first, second) = (SteadyClock::start(None), SteadyClock::start(None).saved());
        assert!(SteadyClock::start(Some(&second)).now() >= second.reading);
        assert!(first.now() <= SteadyTime(60_000));
    }
}
