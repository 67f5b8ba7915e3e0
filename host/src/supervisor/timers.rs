//! A bot's timers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::message::Handler;
use crate::capability::Level;
use crate::ledger::{Settled, Settlement};
use crate::runtime::{Fault, Verdict};

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
        handler.ability.regained().await;
        loop {
            // Beside the messages first; in its turn, however long it takes, once one of them got into its way.
            let turn = handler.turns.take().await;
            let settled = tick(&handler, &timer).await;
            drop(turn);
            if settled == Settled::Done {
                break;
            }
            handler.turns.collided();
        }
    }
}

/// [`Settled::Stale`] if it has to be done again.
async fn tick(handler: &Handler, timer: &str) -> Settled {
    let effects = match handler.instances.tick(timer).await {
        Ok(Verdict::Done(effects)) => effects,
        // The next tick is the next attempt.
        Ok(Verdict::Retry { why, .. } | Verdict::Reject(why)) => {
            handler.log(None, Level::Warn, &format!("{timer}: {why}"));
            return Settled::Done;
        }
        Err(fault @ Fault::NoRoom(_)) => {
            handler.log(None, Level::Warn, &format!("{timer}: the host {fault}"));
            return Settled::Done;
        }
        Err(fault) => {
            handler.health.faulted();
            handler.log(None, Level::Error, &format!("{timer}: the bot {fault}"));
            return Settled::Done;
        }
    };
    let settlement = match handler.settlement(effects, None) {
        Ok(settlement) => settlement,
        Err(why) => {
            handler.log(None, Level::Error, &format!("{timer}: {why}"));
            return Settled::Done;
        }
    };
    let nothing = Settlement {
        bot: settlement.bot.clone(),
        sights: settlement.sights.clone(),
        ..Settlement::default()
    };
    let settled = if settlement == nothing {
        Settled::Done
    } else {
        handler
            .until_written(|| handler.link.ledger.settle(settlement.clone()))
            .await
    };
    handler.health.succeeded();
    settled
}
