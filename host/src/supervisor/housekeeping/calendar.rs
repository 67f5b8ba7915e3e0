//! The time that the housekeeping goes by, which a clock that is wrong does not carry along.
//!
//! A clock can be a year ahead for an hour: a dead battery, a mistyped date, a virtual machine that was copied. By it everything would be old. So
//! the housekeeping's time follows the clock by a day in a sweep, and there is one each hour: whoever puts the clock right within two days finds all
//! that was not two days from its end anyway. A host that was off for two months has caught up after sixty hours. Back it follows by a day as well: after
//! a clock went back a year, all that there is would count as dated by a clock that was wrong, be dated anew, and be old once the clock is right again.
//! Ages are counted by whichever is earlier: what is younger than it was is only kept for longer.

use time::{Duration, OffsetDateTime};

/// How far a sweep follows a clock that is ahead, or back.
const STEP: Duration = Duration::DAY;

/// The time of the next sweep: what it was at the last one, and what the clock says.
pub(super) fn next(last: Option<OffsetDateTime>, clock: OffsetDateTime) -> OffsetDateTime {
    match last {
        Some(last) => clock.clamp(last.saturating_sub(STEP), last.saturating_add(STEP)),
        None => clock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_or_back_is_followed_by_a_day() {
        let now = OffsetDateTime::from_unix_timestamp(1_796_000_000).unwrap();
        let hour = Duration::HOUR;
        assert_eq!(next(None, now), now);
        assert_eq!(next(Some(now), now + hour), now + hour);
        assert_eq!(next(Some(now), now + Duration::days(365)), now + Duration::DAY);
        assert_eq!(next(Some(now), now - hour), now - hour);
        assert_eq!(next(Some(now), now - Duration::days(365)), now - Duration::DAY);
    }
}
