//! When the housekeeping is done: a while after the start, then each hour, and at once when the disk becomes full.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::disk::{DiskWatch, Level};
use super::presence::Expected;
use super::{Housekeeping, aside};
use crate::supervisor::bot::RunningBot;
use crate::supervisor::registry::Registry;

/// A host that has just started has its bots to load, and messages that waited for them.
const START: Duration = Duration::from_secs(600);

/// How often. The time that the housekeeping goes by follows a clock that is ahead by a day each time.
const PERIOD: Duration = Duration::from_secs(3600);

/// How often the free space is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// A host's housekeeping, and what it looks at.
pub(in crate::supervisor) struct Keeper {
    pub(in crate::supervisor) housekeeping: Arc<Housekeeping>,
    pub(in crate::supervisor) disk: DiskWatch,
    pub(in crate::supervisor) expected: Expected,
    pub(in crate::supervisor) bots: Registry<RunningBot>,
    pub(in crate::supervisor) state: PathBuf,
}

impl Keeper {
    /// The bots that belong to the host.
    pub(in crate::supervisor) fn loaded(&self) -> BTreeSet<String> {
        self.expected.all(&self.state, &self.bots)
    }

    /// Keep house until the host ends. A sweep that is under way then goes on where it is at the next start.
    pub(in crate::supervisor) async fn keep_house(self: Arc<Self>, cancel: CancellationToken) {
        let both = async { tokio::join!(self.sweep_at_times(), self.look_at_disk()) };
        cancel.run_until_cancelled(both).await;
    }

    async fn sweep_at_times(&self) {
        let mut hours = tokio::time::interval_at(tokio::time::Instant::now() + START, PERIOD);
        // After a suspension one sweep is as good as many.
        hours.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut level, mut before) = (self.disk.level(), Level::Ample);
        loop {
            let clock = OffsetDateTime::now_utc;
            let swept = tokio::select! {
                _ = hours.tick() => self.housekeeping.hourly(self.loaded(), clock()).await,
                // By the time of the last hour: a disk that fills up again and again makes no clock that is wrong count.
                () = becomes_short(&mut level, &mut before) => self.housekeeping.by_hand(self.loaded(), clock(), false).await,
            };
            if let Err(error) = swept {
                tracing::warn!(%error, "cannot keep house; the next hour tries again");
            }
        }
    }

    async fn look_at_disk(&self) {
        loop {
            let (disk, state, limits) = (
                self.disk.clone(),
                self.state.clone(),
                self.housekeeping.limits().clone(),
            );
            aside(move || disk.look(&state, &limits)).await;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Wait until there is less room than there was before, and too little. Whoever gives up waiting keeps `before`, so that a level that comes while a
/// sweep is under way is seen after it.
async fn becomes_short(level: &mut tokio::sync::watch::Receiver<Level>, before: &mut Level) {
    loop {
        let now = *level.borrow_and_update();
        if now > std::mem::replace(before, now) {
            return;
        }
        if level.changed().await.is_err() {
            break;
        }
    }
    // Nobody looks any more.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_disk_that_becomes_short_while_nobody_waits_is_noticed_once() {
        let (sender, mut level) = tokio::sync::watch::channel(Level::Ample);
        let mut before = Level::Ample;
        let mut is_short = || becomes_short(&mut level, &mut before).now_or_never().is_some();
        assert!(!is_short());
        for (found, expected) in [
            (Level::Low, true),
            (Level::Low, false),
            (Level::Full, true),
            (Level::Low, false),
            (Level::Ample, false),
            (Level::Low, true),
        ] {
            sender.send_replace(found);
            assert_eq!(is_short(), expected, "{found:?}");
            assert!(!is_short(), "once");
        }
    }
}
