//! A bot's timers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::message::Handler;
use crate::capability::Level;
use crate::ledger::Settlement;
use crate::runtime::Verdict;

/// Call `tick` at an interval, at once first, for ever. A tick that takes longer than the interval delays the next.
pub(super) async fn run(handler: Arc<Handler>, timer: String, interval: Duration) {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut outbox = handler.link.ledger.outbox_level();
    loop {
        interval.tick().await;
        // A dead broker must not fill the disk.
        if outbox.wait_for(|status| !status.full).await.is_err() {
            return;
        }
        handler.link.clock.right().await;
        tick(&handler, &timer).await;
    }
}

async fn tick(handler: &Handler, timer: &str) {
    let effects = match handler.instances.tick(timer).await {
        Ok(Verdict::Done(effects)) => effects,
        // The next tick is the next attempt.
        Ok(Verdict::Retry { why, .. } | Verdict::Reject(why)) => {
            handler.log(None, Level::Warn, &format!("{timer}: {why}"));
            return;
        }
        Err(fault) => {
            handler.health.faulted();
            handler.log(None, Level::Error, &format!("{timer}: the bot {fault}"));
            return;
        }
    };
    let settlement = match handler.settlement(effects, None) {
        Ok(settlement) => settlement,
        Err(why) => {
            handler.log(None, Level::Error, &format!("{timer}: {why}"));
            return;
        }
    };
    if settlement
        != (Settlement {
            bot: settlement.bot.clone(),
            ..Settlement::default()
        })
    {
        handler
            .until_written(|| handler.link.ledger.settle(settlement.clone()))
            .await;
    }
    handler.health.succeeded();
}
