//! Hosts and bots that present themselves and are not believed, within a bound: kept until the operator says whose key it is, or
//! until their time has come.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::event::Cure;

/// Words that are kept. Whoever may publish can present any number.
const MOST: usize = 256;

/// Reasons that are told of at a time; a list is no place for more.
const REASONS: usize = 8;

/// What was left out of the list of bots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeftOut {
    /// How many bots.
    pub bots: usize,
    /// Whether there may be more: no more are counted.
    pub more: bool,
    /// Why, and what helps, each reason once; not all, if there are many.
    pub reasons: Vec<String>,
}

/// Words that were refused, by full topic, and that may become acceptable.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    words: BTreeMap<String, Refused>,
    /// Whether some were not kept since the broker was asked for all.
    full: bool,
}

#[derive(Debug)]
struct Refused {
    payload: Bytes,
    /// Whether it is about a bot.
    is_bot: bool,
    cure: Cure,
    why: String,
}

impl Unheard {
    /// Keep a word for later. Beyond the bound the newest are not kept.
    pub(super) fn keep(&mut self, topic: &str, payload: &Bytes, is_bot: bool, cure: Cure, why: String) {
        if self.words.len() >= MOST && !self.words.contains_key(topic) {
            self.full = true;
            return;
        }
        let refused = Refused {
            payload: payload.clone(),
            is_bot,
            cure,
            why,
        };
        self.words.insert(topic.to_owned(), refused);
    }

    /// Something else was said on the topic.
    pub(super) fn forget(&mut self, topic: &str) {
        self.words.remove(topic);
    }

    /// What may have become acceptable by now, to be looked at once more.
    pub(super) fn take(&mut self, trust_changed: bool, now: OffsetDateTime) -> Vec<(String, Bytes)> {
        let is_due = |word: &Refused| match word.cure {
            Cure::Trust | Cure::Packages => trust_changed,
            Cure::At(time) => time <= now,
        };
        let due: Vec<_> = self.words.extract_if(.., |_, word| is_due(word)).collect();
        due.into_iter().map(|(topic, word)| (topic, word.payload)).collect()
    }

    /// Whether the broker has to be asked for all words again, since some were not kept. Whoever calls does so.
    pub(super) fn ask_again(&mut self) -> bool {
        std::mem::take(&mut self.full)
    }

    /// What a list lacks.
    pub(super) fn left_out(&self) -> LeftOut {
        let bots = self.words.values().filter(|word| word.is_bot);
        let reasons: BTreeSet<&String> = bots.clone().map(|word| &word.why).collect();
        LeftOut {
            bots: bots.count(),
            more: self.full,
            reasons: reasons.into_iter().take(REASONS).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(unheard: &mut Unheard, topic: &str, why: &str) {
        keep_until(unheard, topic, Cure::Trust, why);
    }

    fn keep_until(unheard: &mut Unheard, topic: &str, cure: Cure, why: &str) {
        let payload = Bytes::from_static(b"{}");
        unheard.keep(topic, &payload, topic.starts_with("bots/"), cure, why.to_owned());
    }

    #[test]
    fn bots_that_are_left_out_are_counted_and_each_reason_is_told_once() {
        let mut unheard = Unheard::default();
        keep(&mut unheard, "bots/a/x", "no key");
        keep(&mut unheard, "bots/a/y", "no key");
        keep(&mut unheard, "bots/b/x", "other host");
        keep(&mut unheard, "hosts/a", "no key");
        let left_out = unheard.left_out();
        assert_eq!((left_out.bots, left_out.more), (3, false));
        assert_eq!(left_out.reasons, ["no key", "other host"]);
        unheard.forget("bots/b/x");
        assert_eq!(unheard.left_out().reasons, ["no key"]);
    }

    #[test]
    fn strangers_take_no_more_room_than_the_bound() {
        let mut unheard = Unheard::default();
        for number in 0..2 * MOST {
            keep(&mut unheard, &format!("bots/a/x{number}"), &number.to_string());
        }
        let left_out = unheard.left_out();
        assert_eq!(
            (left_out.bots, left_out.more, left_out.reasons.len()),
            (MOST, true, REASONS)
        );
        let now = OffsetDateTime::now_utc();
        assert_eq!(unheard.take(false, now).len(), 0);
        assert!(unheard.left_out().more);
        assert_eq!(unheard.take(true, now).len(), MOST);
        assert_eq!((unheard.left_out().bots, unheard.left_out().more), (0, true));
        assert!(unheard.ask_again() && !unheard.ask_again());
        assert_eq!(unheard.left_out(), LeftOut::default());
    }

    #[test]
    fn a_word_from_the_future_is_looked_at_when_its_time_has_come() {
        let mut unheard = Unheard::default();
        let time = OffsetDateTime::now_utc();
        keep_until(&mut unheard, "bots/a/x", Cure::At(time), "early");
        assert_eq!(unheard.take(true, time - time::Duration::SECOND), []);
        assert_eq!(unheard.left_out().reasons, ["early"]);
        assert_eq!(unheard.take(false, time).len(), 1);
        assert_eq!(unheard.left_out().bots, 0);
    }
}
