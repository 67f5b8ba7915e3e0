//! Whether this machine's clock agrees with the broker's, which all hosts share.
//!
//! Events of a host whose clock is wrong are refused by the others, so that its work would be lost. The embedded broker
//! tells its time when a connection begins.

use std::time::Duration;

use foundry_broker::TIME_PROPERTY;
use rumqttc::v5::Event;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::connection::ConnectionOptions;
use crate::ability::{Ability, Whom};
use crate::event::CLOCK_SKEW;

/// How often a clock that is wrong is looked at again.
const LOOK: Duration = Duration::from_secs(5);

/// How long the broker may take to tell its time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of a wrong clock among the reasons why bots take no work.
const CLOCK: &str = "clock";

/// What came of the last comparison with the broker's clock: a wrong one is a reason why no bot takes work. Clones share it.
///
/// Nothing is computed from an old reading: a machine that was suspended, or whose clock is set, would seem to be wrong.
#[derive(Debug, Clone, Default)]
pub struct BrokerClock {
    ability: Ability,
}

impl BrokerClock {
    /// What it finds is among the reasons of that host.
    #[must_use]
    pub fn of(ability: &Ability) -> Self {
        Self {
            ability: ability.clone(),
        }
    }

    /// Compare with the time in a CONNACK; brokers elsewhere tell none.
    pub(super) fn note(&self, connack: &ConnAck) {
        let Some(time) = told(connack) else { return };
        let found = trouble(milliseconds(OffsetDateTime::now_utc()).saturating_sub(time));
        if let Some(trouble) = found {
            let is_new = self.ability.lose(Whom::All, CLOCK, trouble.clone());
            if is_new {
                tracing::warn!("{trouble}");
            }
        } else if self.trouble().is_some() {
            tracing::info!("this machine's clock agrees with the broker's again");
            self.ability.regain(Whom::All, CLOCK);
        }
    }

    /// What is wrong with this machine's clock, if anything is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.ability.why(Whom::All, CLOCK)
    }

    /// Ask for the broker's time again and again while the clock is wrong: connections that last tell none.
    pub async fn watch(self, options: ConnectionOptions, cancel: CancellationToken) {
        let look = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if self.trouble().is_some() {
                    self.ask(&options).await;
                }
            }
        };
        cancel.run_until_cancelled(look).await;
    }

    /// One connection, without a session, for nothing but its CONNACK.
    async fn ask(&self, options: &ConnectionOptions) {
        let options = ConnectionOptions {
            persistent: false,
            ..options.clone()
        };
        let (client, mut events) = options.client();
        let told = async {
            while let Ok(event) = events.next().await {
                if let Event::Incoming(Packet::ConnAck(connack)) = event {
                    self.note(&connack);
                    let _ = client.try_disconnect();
                }
            }
        };
        // Without an answer the next look asks again.
        let _ = tokio::time::timeout(PATIENCE, told).await;
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

/// What is wrong with a clock that is so many milliseconds ahead of the broker's.
fn trouble(ahead: i64) -> Option<String> {
    let difference = Duration::from_millis(ahead.unsigned_abs());
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    (difference > CLOCK_SKEW).then(|| {
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
    fn a_time_beyond_all_times_is_just_wrong() {
        for ahead in [i64::MAX, i64::MIN] {
            assert!(trouble(ahead).is_some());
        }
    }
}
