//! The clock of a recorded world. It has no questions, only readings: the next one each time, and the last one from then on.
//! A world that recorded none has the real clock.

use std::time::Duration;

use time::OffsetDateTime;

use super::{Player, Reading, Tape, lock};

/// Readings that are recorded. A bot that reads the clock more often sees the last of them when they are played.
const MOST: usize = 10_000;

impl Tape {
    /// The time of day.
    pub(crate) fn now(&self) -> OffsetDateTime {
        match self {
            Self::Off => OffsetDateTime::now_utc(),
            Self::Recording(world) => {
                let now = OffsetDateTime::now_utc();
                let readings = &mut lock(world).clock;
                if readings.len() < MOST {
                    readings.push(Reading(now));
                }
                now
            }
            Self::Playing(player) => lock(player).next_reading().unwrap_or_else(OffsetDateTime::now_utc),
        }
    }

    /// The first recorded time, which is not used up by this.
    pub(crate) fn begin(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Off | Self::Recording(_) => None,
            Self::Playing(player) => lock(player).left.clock.first().map(|Reading(time)| *time),
        }
    }

    /// From the first recorded time to the last one that was read: what a played monotonic clock shows.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        match self {
            Self::Off | Self::Recording(_) => None,
            Self::Playing(player) => lock(player).elapsed(),
        }
    }

    /// What tells a tick of a timer from the next one; the same for a recording and what plays it.
    pub(crate) fn tick(&self) -> String {
        match self {
            Self::Off => OffsetDateTime::now_utc().unix_timestamp_nanos().to_string(),
            Self::Recording(_) | Self::Playing(_) => String::new(),
        }
    }
}

impl Player {
    fn next_reading(&mut self) -> Option<OffsetDateTime> {
        let readings = &self.left.clock;
        let Reading(time) = readings.get(self.readings).or_else(|| readings.last())?;
        self.readings += 1;
        Some(*time)
    }

    fn elapsed(&self) -> Option<Duration> {
        let readings = &self.left.clock;
        let Reading(first) = readings.first()?;
        let read = readings.get(self.readings.saturating_sub(1));
        let Reading(last) = read.or_else(|| readings.last())?;
        Some((*last - *first).try_into().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::tape::World;

    fn world(text: &str) -> Tape {
        Tape::playing(serde_json::from_str::<World>(text).unwrap())
    }

    #[test]
    fn recorded_times_are_shown_in_their_order_and_the_last_one_stays() {
        let tape = world(r#"{ "clock": ["2026-11-30T12:00:00Z", "2026-11-30T12:00:02.5Z"] }"#);
        let begin = tape.begin().unwrap();
        assert_eq!(tape.elapsed(), Some(Duration::ZERO));
        let seconds = || (tape.now() - begin).as_seconds_f64();
        assert_eq!([seconds(), seconds(), seconds()], [0.0, 2.5, 2.5]);
        assert_eq!(tape.elapsed(), Some(Duration::from_millis(2500)));
    }

    #[test]
    fn what_is_recorded_can_be_played() {
        let tape = Tape::recording();
        let shown = [tape.now(), tape.now()];
        let text = serde_json::to_string(&tape.recorded().unwrap()).unwrap();
        let played = world(&text);
        assert_eq!([played.now(), played.now()], shown);
        assert_eq!(played.tick(), tape.tick());
    }

    #[test]
    fn a_world_without_times_has_the_real_clock() {
        let before = OffsetDateTime::now_utc();
        let tape = world("{}");
        assert!(tape.now() >= before);
        assert_eq!((tape.begin(), tape.elapsed()), (None, None));
    }
}
