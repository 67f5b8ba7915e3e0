//! What all things have in common that are kept for a while: how much of them may be kept, as of which time, and what a sweep came to.
//!
//! Each owner of such things removes its own, with a function that takes [`Limits`] and a [`Sweep`] and returns a [`Report`]. Nothing
//! here knows any of them, and the supervisor's housekeeping only says when, and in which order.

mod aside;
mod digests;
mod limits;
mod report;

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

pub use aside::{empty, is_still, remove_aside, size_of_tree};
pub use digests::Digests;
pub use limits::{Limits, SHORTEST, Thresholds};
pub use report::{Bound, Kind, Report, Tally};

/// What is dated this much later than what is new was dated by a clock that was wrong. It ages from now on.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// When a sweep takes place, and whether it removes anything.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// The time that ages are counted from: the housekeeping's own, which does not follow a clock that jumps ahead at once, and no later than
    /// the clock.
    pub now: OffsetDateTime,
    /// The date of what is new: the later of both times. What `now` dated would age, while that catches up with the clock, by a day each hour.
    pub newest: OffsetDateTime,
    /// Only say what would be removed.
    pub dry_run: bool,
}

impl Sweep {
    /// One that removes, at the housekeeping's time and by the clock.
    #[must_use]
    pub fn new(time: OffsetDateTime, clock: OffsetDateTime) -> Self {
        Self {
            now: time.min(clock),
            newest: time.max(clock),
            dry_run: false,
        }
    }

    /// How old something is that was used last at a time. What is dated later than now is new.
    #[must_use]
    pub fn age(&self, used: SystemTime) -> Duration {
        SystemTime::from(self.now).duration_since(used).unwrap_or_default()
    }

    /// Whether a date is so much later than what is new that the clock that it came from was wrong.
    #[must_use]
    pub fn is_ahead(&self, used: SystemTime) -> bool {
        used.duration_since(self.newest.into()).is_ok_and(|ahead| ahead > AHEAD)
    }

    /// Has a file or a directory age from now on that a clock that was wrong has dated later.
    ///
    /// # Errors
    /// What the system said.
    pub fn date_back(&self, path: &Path, used: SystemTime) -> io::Result<()> {
        if self.dry_run || !self.is_ahead(used) {
            return Ok(());
        }
        File::open(path)?.set_modified(self.newest.into())
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
        self.newest
            .unix_timestamp()
            .saturating_add(AHEAD.as_secs().cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dated_later_than_now_is_new_and_a_day_later_it_is_wrong() {
        let now = OffsetDateTime::from_unix_timestamp(1_796_000_000).unwrap();
        let sweep = Sweep::new(now, now);
        let at = |seconds: i64| SystemTime::from(now + time::Duration::seconds(seconds));
        assert_eq!(sweep.age(at(-90)), Duration::from_secs(90));
        assert_eq!(sweep.age(at(90)), Duration::ZERO);
        assert!(!sweep.is_ahead(at(3600)) && sweep.is_ahead(at(2 * 86_400)));
    }

    #[test]
    fn what_is_dated_between_now_and_the_clock_is_new() {
        let now = OffsetDateTime::from_unix_timestamp(1_796_000_000).unwrap();
        let sweep = Sweep::new(now, now + time::Duration::days(119));
        let at = |days: i64| SystemTime::from(now + time::Duration::days(days));
        assert_eq!(sweep.age(at(119)), Duration::ZERO);
        assert!(!sweep.is_ahead(at(119)) && sweep.is_ahead(at(121)));
        let back = Sweep::new(now, now - time::Duration::days(365));
        assert_eq!(
            back.age(at(-90)),
            Duration::ZERO,
            "what is younger is only kept for longer"
        );
        assert!(!back.is_ahead(at(0)) && back.is_ahead(at(2)));
    }
}
