//! What one message may have the host hold and write: one budget for all capabilities, counted where something is held, before it is.
//!
//! | what | counts as | until |
//! |---|---|---|
//! | events, writes and reads of state | held, in memory | the message is settled |
//! | bytes of artifacts that it stores | passed on, to a disk or a bucket | the message is over; what is stored has [bounds of its own](../../../docs/upkeep.md) |
//! | bodies and headers of HTTP requests, bodies of their answers | passed on, to a server or to the bot | the same |
//! | mails | passed on | the same; and their number within an hour is bounded for each bot |
//!
//! Each of them is one item as well. Lines of the log have a budget of their own (`journal`), since the end of a call that fails must find room
//! in it. What builds, signatures and publications write is bounded where their rights are: by the limits of a build, by the sizes of what is
//! signed, by the disk that is watched.

/// Items that one message may have: events, writes and reads of state, artifacts, mails, requests.
pub const MAX_EFFECTS: usize = 10_000;

/// Bytes that one message may have the host hold.
pub const MAX_HELD: usize = 32 * 1024 * 1024;

/// Bytes that one message may have the host pass on.
pub const MAX_PASSED: usize = 512 * 1024 * 1024;

/// What the host needs for an item besides its bytes.
const OVERHEAD: usize = 256;

/// The bot has used up what a message may have the host hold and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "one message may have {MAX_EFFECTS} events, writes and reads of state, artifacts, mails and requests, hold {} MiB in events and state, and \
     store and send {} MiB",
    MAX_HELD / (1024 * 1024),
    MAX_PASSED / (1024 * 1024)
)]
pub struct TooMuch;

/// What a message has used up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    items: usize,
    held: usize,
    passed: usize,
}

impl Budget {
    /// Count an item of so many bytes that is held until the message is settled.
    ///
    /// # Errors
    /// [`TooMuch`]; nothing is counted then, and it must not be held.
    pub fn hold(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let held = self.held.saturating_add(bytes).saturating_add(OVERHEAD);
        if self.items >= MAX_EFFECTS || held > MAX_HELD {
            return Err(TooMuch);
        }
        self.items += 1;
        self.held = held;
        Ok(())
    }

    /// Forget an item that was held, of as many bytes as it had.
    pub(super) fn release(&mut self, bytes: usize) {
        self.items = self.items.saturating_sub(1);
        self.held = self.held.saturating_sub(bytes.saturating_add(OVERHEAD));
    }

    /// Count an item of so many bytes that is stored, sent, or handed to the bot.
    ///
    /// # Errors
    /// [`TooMuch`]; nothing is counted then, and it must not be passed on.
    pub fn pass(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let passed = self.passed.saturating_add(bytes);
        if self.items >= MAX_EFFECTS || passed > MAX_PASSED {
            return Err(TooMuch);
        }
        self.items += 1;
        self.passed = passed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_message_passes_on_is_bounded_together() {
        let mut budget = Budget::default();
        budget.pass(MAX_PASSED - 1).unwrap();
        assert_eq!(budget.pass(2), Err(TooMuch));
        budget.pass(1).unwrap();
        assert_eq!(budget.pass(1), Err(TooMuch));
        budget.hold(1).unwrap();
        assert_eq!(budget.pass(usize::MAX), Err(TooMuch), "no sum is beyond all numbers");
    }

    #[test]
    fn what_is_held_and_what_is_passed_on_are_items_of_one_number() {
        let mut budget = Budget::default();
        for _ in 0..MAX_EFFECTS / 2 {
            budget.hold(0).unwrap();
            budget.pass(0).unwrap();
        }
        assert_eq!(budget.hold(0), Err(TooMuch));
        assert_eq!(budget.pass(0), Err(TooMuch));
        budget.release(0);
        budget.pass(0).unwrap();
    }
}
