//! What all things have in common that are kept for a while: how much of them may be kept, as of which time, and what a sweep came to.
//!
//! Each owner of such things removes its own, with a function that takes [`Limits`] and a [`Sweep`] and returns a [`Report`]. Nothing
//! here knows any of them, and the supervisor's housekeeping only says when, and in which order.

mod aside;
mod digests;
mod limits;
mod report;

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

pub use aside::{empty, is_still, remove_aside, size_of_tree};
pub use digests::Digests;
pub use limits::{Limits, SHORTEST, Thresholds};
pub use report::{Bound, Kind, Report, Tally};

/// What is dated this much later than now was dated by a clock that was wrong. It ages from now on.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// When a sweep takes place, and whether it removes anything.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// The time that ages are counted from. It is the housekeeping's own, which a clock that jumps does not follow at once.
    pub now: OffsetDateTime,
    /// Only say what would be removed.
    pub dry_run: bool,
}

impl Sweep {
    /// How old something is that was used last at a time. What is dated later than now is new.
    #[must_use]
    pub fn age(&self, used: SystemTime) -> Duration {
        SystemTime::from(self.now).duration_since(used).unwrap_or_default()
    }

    /// Whether a date is so much later than now that the clock that it came from was wrong.
    #[must_use]
    pub fn is_ahead(&self, used: SystemTime) -> bool {
        used.duration_since(self.now.into()).is_ok_and(|ahead| ahead > AHEAD)
    }

    /// The time that something has to be older than, in seconds since 1970, to be older than an age.
    #[must_use]
    pub fn seconds_before(&self, age: Duration) -> i64 {
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.now.unix_timestamp().saturating_sub(age)
    }

    /// In seconds since 1970: what is dated later was dated by a clock that was wrong.
    #[must_use]
    pub fn latest_date(&self) -> i64 {
        self.now.unix_timestamp().saturating_add(AHEAD.as_secs().cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dated_later_than_now_is_new_and_a_day_later_it_is_wrong() {
        let now = OffsetDateTime::from_unix_timestamp(1_796_000_000).unwrap();
        let sweep = Sweep { now, dry_run: false };
        let at = |seconds: i64| SystemTime::from(now + time::Duration::seconds(seconds));
        assert_eq!(sweep.age(at(-90)), Duration::from_secs(90));
        assert_eq!(sweep.age(at(90)), Duration::ZERO);
        assert!(!sweep.is_ahead(at(3600)) && sweep.is_ahead(at(2 * 86_400)));
    }
}
