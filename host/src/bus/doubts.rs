//! Hosts whose word is not believed: said once for each, where the operator sees it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Refusal;

/// Doubts that are remembered. Who invents keys is not worth more room, nor more lines of the log.
const MOST: usize = 256;

/// What other hosts said and was refused. Clones share what they said of it.
#[derive(Debug, Clone, Default)]
pub struct Doubts {
    said: Arc<Mutex<BTreeSet<String>>>,
}

impl Doubts {
    /// Note that something another host said is refused. A rule that it broke is said aloud, once for each reason, which names
    /// the key and the command that helps.
    pub(super) fn note(&self, refusal: &Refusal) {
        if self.is_news(refusal) {
            tracing::warn!(
                "refused what another host says: {refusal}; hosts that do not believe each other do each other's work again"
            );
        } else {
            tracing::debug!(%refusal, "refused what a host says");
        }
    }

    fn is_news(&self, refusal: &Refusal) -> bool {
        let Some(rule) = refusal.rule() else { return false };
        // Other texts have the time in them, and would be news each time.
        let reason = match refusal {
            Refusal::Rule(rule) => rule.to_string(),
            _ => rule.to_owned(),
        };
        // Nothing panics while it holds this.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < MOST && said.insert(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Rule;

    fn by(key: &str) -> Refusal {
        Refusal::Rule(Rule::UnknownKey {
            key: key.to_owned(),
            host: "b1".to_owned(),
        })
    }

    #[test]
    fn an_unknown_key_is_news_once() {
        let doubts = Doubts::default();
        assert_eq!(
            [by("a"), by("a"), by("b")].map(|refusal| doubts.is_news(&refusal)),
            [true, false, true]
        );
    }

    #[test]
    fn a_clock_that_is_wrong_is_news_once_whatever_it_shows() {
        let doubts = Doubts::default();
        let stale = |time: &str| doubts.is_news(&Refusal::Stale(time.to_owned()));
        assert_eq!(
            [stale("2026-01-01T00:00:00Z"), stale("2026-01-01T00:00:01Z")],
            [true, false]
        );
    }

    #[test]
    fn what_no_key_can_mend_is_no_news() {
        assert!(!Doubts::default().is_news(&Refusal::TooLarge(1)));
    }

    #[test]
    fn invented_keys_take_no_more_room_than_the_bound() {
        let doubts = Doubts::default();
        let news = (0..2 * MOST).filter(|n| doubts.is_news(&by(&n.to_string()))).count();
        assert_eq!(news, MOST);
    }
}
