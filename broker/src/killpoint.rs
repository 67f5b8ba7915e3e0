//! Named points at which a test can have the process die, as a power cut would end it.
//!
//! `FOUNDRY_KILL_AT=POINT` ends the process when it comes to that point for the first time, `FOUNDRY_KILL_AT=POINT:N`
//! when it comes there for the Nth time. Without the variable a point costs one load of an atomic.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable that chooses a point.
pub const VARIABLE: &str = "FOUNDRY_KILL_AT";

static CHOSEN: LazyLock<Option<Chosen>> = LazyLock::new(|| Chosen::parse(&std::env::var(VARIABLE).ok()?));

struct Chosen {
    point: String,
    /// How often the point is still passed alive, and once more.
    left: AtomicU32,
}

impl Chosen {
    fn parse(text: &str) -> Option<Self> {
        let (point, nth) = text.split_once(':').unwrap_or((text, "1"));
        Some(Self {
            point: point.to_owned(),
            left: AtomicU32::new(nth.parse().ok().filter(|nth| *nth > 0)?),
        })
    }

    /// Whether this passage is the one.
    fn is_due(&self, point: &str) -> bool {
        self.point == point && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// Come to a point.
pub fn pass(point: &str) {
    if CHOSEN.as_ref().is_some_and(|chosen| chosen.is_due(point)) {
        // No destructor runs, no buffer is flushed, no connection says goodbye.
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_passage_is_due_once() {
        let chosen = Chosen::parse("commit:3").unwrap();
        let due: Vec<_> = ["commit", "other", "commit", "commit", "commit"]
            .map(|point| chosen.is_due(point))
            .into();
        assert_eq!(due, [false, false, false, true, false]);
        assert!(Chosen::parse("commit").unwrap().is_due("commit"));
    }

    #[test]
    fn nonsense_chooses_nothing() {
        for text in ["commit:0", "commit:x", "commit:"] {
            assert!(Chosen::parse(text).is_none(), "{text}");
        }
    }
}
