//! How many mails may be sent within an hour.

use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// A bucket that holds an hour's mails, and fills up as time passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Allowance {
    hourly: u32,
    left: f64,
    at: Instant,
}

impl Allowance {
    /// A full one.
    pub(super) fn new(hourly: u32, now: Instant) -> Self {
        Self {
            hourly,
            left: f64::from(hourly),
            at: now,
        }
    }

    /// Take one mail.
    ///
    /// # Errors
    /// The time until there is one again.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if self.hourly == 0 {
            return Err(HOUR);
        }
        let each = HOUR / self.hourly;
        let gained = now.saturating_duration_since(self.at).as_secs_f64() / each.as_secs_f64();
        self.left = (self.left + gained).min(f64::from(self.hourly));
        self.at = now;
        if self.left < 1.0 {
            return Err(each.mul_f64(1.0 - self.left));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hours_mails_may_go_at_once_and_then_one_after_the_other() {
        let start = Instant::now();
        let mut allowance = Allowance::new(60, start);
        for _ in 0..60 {
            assert_eq!(allowance.take(start), Ok(()));
        }
        let wait = allowance.take(start).unwrap_err();
        assert_eq!(wait.as_secs_f64().round(), 60.0);
        let later = start + Duration::from_secs(30);
        assert_eq!(allowance.take(later).unwrap_err().as_secs_f64().round(), 30.0);
        let later = start + Duration::from_secs(61);
        assert_eq!(allowance.take(later), Ok(()));
        assert!(allowance.take(later).is_err());
        let tomorrow = start + 24 * HOUR;
        for _ in 0..60 {
            assert_eq!(allowance.take(tomorrow), Ok(()));
        }
        assert!(allowance.take(tomorrow).is_err(), "no more than an hour's");
    }

    #[test]
    fn nothing_an_hour_is_nothing() {
        let start = Instant::now();
        assert_eq!(Allowance::new(0, start).take(start + 9 * HOUR), Err(HOUR));
    }
}
