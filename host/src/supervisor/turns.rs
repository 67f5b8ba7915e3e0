//! Messages of one bot take turns where they got into each other's way.
//!
//! Messages of a bot are handled beside each other, and one that saw a state which another one then changed is handled again. For a
//! key that every message changes that would be all of them, again and again, with one success for each commit of the ledger. So after a
//! collision the next messages come one after the other: each looks at the state when the write of the one before it is in the
//! ledger's open transaction, and need not wait for the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Messages that take turns after a collision.
const AFTER_A_COLLISION: u32 = 64;

/// How long a turn lasts at most. Who computes for longer than that does not keep the others from it, and may have to do it again.
pub(super) const LONGEST_TURN: Duration = Duration::from_millis(100);

/// The turns of one bot.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: Arc<Mutex<()>>,
    to_come: AtomicU32,
}

/// A message's turn, until it is dropped.
pub(super) type StateTurn = OwnedMutexGuard<()>;

impl Turns {
    /// Two messages got into each other's way.
    pub(super) fn collided(&self) {
        self.to_come.store(AFTER_A_COLLISION, Ordering::Relaxed);
    }

    /// A turn, in the order of coming, as long as messages take turns; none, at once, if they don't. Dropping the future gives
    /// up the place in the order.
    pub(super) async fn take(&self) -> Option<StateTurn> {
        let less = |to_come: u32| to_come.checked_sub(1);
        self.to_come
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok()?;
        Some(Arc::clone(&self.queue).lock_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_take_turns_for_a_while_after_a_collision_and_not_before() {
        let turns = Turns::default();
        assert!(turns.take().await.is_none());
        turns.collided();
        let first = turns.take().await.unwrap();
        assert!(
            futures::FutureExt::now_or_never(turns.take()).is_none(),
            "one after the other"
        );
        drop(first);
        for _ in 2..AFTER_A_COLLISION {
            assert!(turns.take().await.is_some());
        }
        assert!(turns.take().await.is_none());
    }
}
