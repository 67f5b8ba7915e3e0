//! Whether this machine's clock agrees with the broker's, which all hosts share.
//!
//! Events of a host whose clock is wrong are refused by the others, so that its work would be lost. The embedded broker
//! tells its time when a connection begins; from then on the time that has passed since is added.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use foundry_broker::TIME_PROPERTY;
use rumqttc::v5::mqttbytes::v5::ConnAck;
use time::OffsetDateTime;

/// How far the clocks may differ: as far as an event may come from the future.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// How often a clock that is wrong is looked at again.
const LOOK: Duration = Duration::from_secs(5);

/// What the broker's clock said. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct BrokerClock {
    last: Arc<Mutex<Option<Reading>>>,
}

/// What it said, in milliseconds since 1970, and when.
#[derive(Debug, Clone, Copy)]
struct Reading {
    time: i64,
    at: Instant,
}

impl BrokerClock {
    /// Note the time in a CONNACK; brokers elsewhere tell none.
    pub(super) fn note(&self, connack: &ConnAck) {
        let Some(time) = told(connack) else { return };
        let before = self.trouble();
        let at = Instant::now();
        // Nothing panics while it holds this.
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Reading { time, at });
        if let Some(trouble) = self.trouble().filter(|_| before.is_none()) {
            tracing::warn!("{trouble}");
        }
    }

    /// What is wrong with this machine's clock, if anything is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = milliseconds(OffsetDateTime::now_utc());
        trouble(ahead(last?, now, Instant::now()))
    }

    /// Wait until the clock is right, as far as anybody knows.
    pub async fn right(&self) {
        while self.trouble().is_some() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn milliseconds(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

fn told(connack: &ConnAck) -> Option<i64> {
    let properties = connack.properties.as_ref()?;
    let told = properties
        .user_properties
        .iter()
        .find(|(name, _)| name == TIME_PROPERTY);
    told?.1.parse().ok()
}

/// By how many milliseconds this machine's time is ahead of the broker's.
fn ahead(reading: Reading, now: i64, at: Instant) -> i64 {
    let since = at.saturating_duration_since(reading.at).as_millis();
    let there = reading.time.saturating_add(i64::try_from(since).unwrap_or(i64::MAX));
    now.saturating_sub(there)
}

fn trouble(ahead: i64) -> Option<String> {
    let difference = Duration::from_millis(ahead.unsigned_abs());
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    (difference > TOLERANCE).then(|| {
        format!(
            "this machine's clock is {} min {side} the broker's: its bots take no work until it is right, since other hosts \
             would refuse what comes of it (see timedatectl)",
            difference.as_secs() / 60
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn clocks_may_differ_by_five_minutes() {
        for minutes in [0, 5, -5] {
            assert_eq!(trouble(minutes * MINUTE), None, "{minutes}");
        }
        let fast = trouble(10 * MINUTE).unwrap();
        assert!(fast.contains("10 min ahead of the broker's"), "{fast}");
        let slow = trouble(-1440 * MINUTE).unwrap();
        assert!(slow.contains("1440 min behind the broker's"), "{slow}");
    }

    #[test]
    fn time_that_passes_is_no_difference_and_a_clock_that_is_set_is_one() {
        let at = Instant::now();
        let reading = Reading { time: 1_000_000, at };
        let later = at + Duration::from_secs(3600);
        assert_eq!(ahead(reading, 1_000_000 + 60 * MINUTE, later), 0);
        assert_eq!(ahead(reading, 1_000_000 + 70 * MINUTE, later), 10 * MINUTE);
        assert_eq!(ahead(reading, 1_000_000 + 50 * MINUTE, later), -10 * MINUTE);
    }

    #[test]
    fn a_time_beyond_all_times_is_just_wrong() {
        let at = Instant::now();
        for time in [i64::MAX, i64::MIN] {
            assert!(trouble(ahead(Reading { time, at }, 0, at)).is_some());
        }
    }
}
