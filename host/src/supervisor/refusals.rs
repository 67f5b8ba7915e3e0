//! How many refused messages a bot tells of. Whoever may publish at the broker can make up as many as he likes, and must not use up what
//! honest ones need.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time that budgets are for.
const HOUR: Duration = Duration::from_secs(3600);

/// Told of runs that nobody announced: for strangers together, and for each known key.
const MADE_UP: u32 = 60;

/// Told of one announced run: for strangers together, and for each known key.
const ANNOUNCED: u32 = 10;

/// Budgets of announced runs that are kept account of, half of them of strangers. Such runs can't be made up, but whoever listens to the topics knows
/// many. Beyond that a run has no budget of its own.
const MOST_BUDGETS: usize = 1024;

/// What a refused message is told at the expense of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// Its run, if that was announced: whoever makes a message up can't have that.
    pub(super) run: Option<String>,
    /// The key that signed it, if that is in the host's store. Strangers share a budget.
    pub(super) key: Option<String>,
}

impl Budget {
    fn most(&self) -> u32 {
        match self.run {
            Some(_) => ANNOUNCED,
            None => MADE_UP,
        }
    }
}

/// How many refusals a bot has told of.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    since: Option<Instant>,
    counts: HashMap<Budget, u32>,
}

impl Told {
    /// Whether a run has a budget of its own, or may have one.
    fn has_room(&self, budget: &Budget) -> bool {
        let of_runs = self.counts.keys().filter(|other| other.run.is_some());
        budget.run.is_none()
            || self.counts.contains_key(budget)
            || match budget.key {
                Some(_) => of_runs.count() < MOST_BUDGETS,
                None => of_runs.filter(|other| other.key.is_none()).count() < MOST_BUDGETS / 2,
            }
    }
}

impl Refusals {
    /// Whether one more may be told.
    pub(super) fn take(&self, budget: Budget, now: Instant) -> bool {
        // Nothing panics while it holds this.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.since.is_none_or(|since| now.duration_since(since) >= HOUR) {
            *told = Told {
                since: Some(now),
                counts: HashMap::new(),
            };
        }
        let budget = match told.has_room(&budget) {
            true => budget,
            false => Budget { run: None, ..budget },
        };
        let most = budget.most();
        let count = told.counts.entry(budget).or_default();
        let may = *count < most;
        *count += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(run: Option<&str>, key: Option<&str>) -> Budget {
        Budget {
            run: run.map(ToOwned::to_owned),
            key: key.map(ToOwned::to_owned),
        }
    }

    /// How many of a hundred are told, one in each second from a moment on.
    fn told(refusals: &Refusals, budget: &Budget, from: Instant) -> usize {
        let moments = (0..100).map(|second| from + Duration::from_secs(second));
        moments.filter(|now| refusals.take(budget.clone(), *now)).count()
    }

    #[test]
    fn so_many_refusals_are_told_in_an_hour_and_no_more() {
        let (refusals, start, strangers) = (Refusals::default(), Instant::now(), Budget::default());
        assert_eq!(told(&refusals, &strangers, start), 60);
        assert!(!refusals.take(strangers.clone(), start + Duration::from_secs(3599)));
        assert_eq!(told(&refusals, &strangers, start + HOUR), 60, "the next hour");
    }

    #[test]
    fn who_makes_runs_up_uses_up_nothing_of_known_keys_and_announced_runs() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for (run, key, most) in [
            (None, None, 60),
            (None, Some("k1"), 60),
            (None, Some("k2"), 60),
            (Some("r1"), None, 10),
            (Some("r1"), Some("k1"), 10),
            (Some("r2"), Some("k1"), 10),
        ] {
            assert_eq!(told(&refusals, &budget(run, key), start), most, "{run:?} {key:?}");
        }
    }

    #[test]
    fn the_account_itself_is_bounded() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        for run in 0..MOST_BUDGETS {
            refusals.take(budget(Some(&run.to_string()), None), now);
        }
        assert!(
            !refusals.take(budget(Some("one more"), None), now),
            "strangers have used up all"
        );
        assert!(refusals.take(budget(Some("0"), None), now), "one that is kept");
        for key in ["k1", "k2"] {
            assert_eq!(
                told(&refusals, &budget(Some("new"), Some(key)), now),
                10,
                "a known key in a new run"
            );
        }
        for run in 0..MOST_BUDGETS {
            refusals.take(budget(Some(&run.to_string()), Some("k1")), now);
        }
        assert_eq!(
            told(&refusals, &budget(Some("another"), Some("k2")), now),
            60,
            "it has its own at least"
        );
        assert!(refusals.take(budget(Some("one more"), None), now + HOUR));
    }
}
