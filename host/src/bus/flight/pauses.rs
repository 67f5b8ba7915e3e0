//! Topics whose rows wait, since the broker did not take one of them for now.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// First and longest pause before a topic is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// A topic whose rows wait.
#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    since: Instant,
    failures: u32,
    /// The oldest row that waits; none when they were read again, and their answers are awaited.
    from: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Pauses(HashMap<String, Pause>);

impl Pauses {
    /// Another connection: everything is tried at once.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The oldest row of the topics that have waited long enough since they were last asked for.
    pub(super) fn over(&mut self, now: Instant) -> Option<i64> {
        let over = self.0.values_mut().filter(|pause| pause.until <= now);
        over.filter_map(|pause| pause.from.take()).min()
    }

    /// Topics that have to wait on.
    pub(super) fn waiting(&self, now: Instant) -> Vec<String> {
        let waiting = self.0.iter().filter(|(_, pause)| pause.until > now);
        waiting.map(|(topic, _)| topic.clone()).collect()
    }

    /// When the next topic has waited long enough.
    pub(super) fn alarm(&self, now: Instant) -> Option<Instant> {
        let waiting = self
            .0
            .values()
            .filter(|pause| pause.until > now || pause.from.is_some());
        waiting.map(|pause| pause.until).min()
    }

    /// For how long a topic's rows have been refused.
    pub(super) fn waited(&self, topic: &str, now: Instant) -> Duration {
        self.0.get(topic).map_or(Duration::ZERO, |pause| now - pause.since)
    }

    /// The broker takes the topic's rows again.
    pub(super) fn accepted(&mut self, topic: &str) {
        match self.0.get_mut(topic) {
            // An older row of the topic was refused meanwhile, and still has to be read again.
            Some(pause) if pause.from.is_some() => pause.failures = 0,
            _ => drop(self.0.remove(topic)),
        }
    }

    /// A row was refused for now. Returns how long its topic waits.
    pub(super) fn refused(&mut self, topic: String, seq: i64, now: Instant) -> Duration {
        let pause = self.0.entry(topic).or_insert(Pause {
            until: now,
            since: now,
            failures: 0,
            from: None,
        });
        // The rows of a topic that were on their way together are refused together, which is one failure.
        if pause.until <= now {
            let factor = 1u32.checked_shl(pause.failures).unwrap_or(u32::MAX);
            pause.until = now + PAUSE.0.saturating_mul(factor).min(PAUSE.1);
            pause.failures = pause.failures.saturating_add(1);
        }
        pause.from = Some(pause.from.map_or(seq, |from| from.min(seq)));
        pause.until - now
    }
}
