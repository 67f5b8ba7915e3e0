//! What becomes of a message that may not be handled: a dead letter, and a failure event in its run, so that nobody waits
//! in vain for what comes of it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::json;
use time::OffsetDateTime;

use super::message::Handler;
use crate::bus::Delivery;
use crate::capability::Level;
use crate::event::{Claim, FAILURES, Origin, OutgoingEvent, Refusal};
use crate::ledger::{DeadLetter, Settlement};

/// Failure events about refused messages that a bot publishes within [`HOUR`], at most: whoever may publish at the broker can
/// make up as many messages as he likes.
const MOST: u32 = 60;

/// The time that [`MOST`] is for.
const HOUR: Duration = Duration::from_secs(3600);

/// How many refusals a bot has told of.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: Mutex<Option<Told>>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    since: Instant,
    count: u32,
}

impl Refusals {
    /// Whether one more may be told.
    fn take(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let current = told.filter(|told| now.duration_since(told.since) < HOUR);
        let current = current.unwrap_or(Told { since: now, count: 0 });
        let may = current.count < MOST;
        *told = Some(Told {
            count: current.count + u32::from(may),
            ..current
        });
        may
    }
}

impl Handler {
    /// Keep a message that is refused, and tell its run.
    pub(super) async fn refuse(&self, delivery: &Delivery, refusal: &Refusal) {
        self.log(
            None,
            Level::Warn,
            &format!("refused a message on {}: {refusal}", delivery.topic),
        );
        let cure = refusal.cure(OffsetDateTime::now_utc());
        let mut settlement = self.refusal_told(delivery, refusal).await.unwrap_or_default();
        self.name().clone_into(&mut settlement.bot);
        let ledger = &self.link.ledger;
        if let Some(revived) = delivery.revived {
            let reason = refusal.to_string();
            self.until_written(|| ledger.refused_again(revived.number, reason.clone(), cure))
                .await;
        } else {
            let dead = DeadLetter::now(
                self.name(),
                &delivery.topic,
                None,
                refusal.to_string(),
                0,
                &delivery.payload,
            );
            settlement.dead = Some(DeadLetter { cure, ..dead });
        }
        if settlement.dead.is_some() || !settlement.publish.is_empty() {
            self.until_written(|| ledger.settle(settlement.clone())).await;
        }
    }

    /// The failure event, if the run has not got it yet: one for each rule and key.
    async fn refusal_told(&self, delivery: &Delivery, refusal: &Refusal) -> Option<Settlement> {
        let rule = refusal.rule()?;
        let topic = self.link.topics.short(&delivery.topic);
        // What is said of failures would be said for ever.
        let claim = Claim::of(&delivery.payload).filter(|_| topic != FAILURES)?;
        let origin = Origin::Refused {
            group: self.instances.bot().group_of(topic).to_owned(),
            run: claim.run.clone(),
            rule: rule.to_owned(),
            key: claim.key.clone(),
        };
        let id = origin.id(&[]);
        let ledger = &self.link.ledger;
        let is_told = self.until_written(|| ledger.is_recorded(&id)).await;
        if is_told || !self.refusals.take(Instant::now()) {
            return None;
        }
        let mut settlement = Settlement::default();
        if let Err(error) = self.publish(self.failure_of((id, origin), claim, topic, refusal), &mut settlement) {
            tracing::error!(bot = self.name(), %error, "cannot sign a failure event");
        }
        Some(settlement)
    }

    fn failure_of(
        &self,
        (id, origin): (String, Origin),
        claim: Claim,
        topic: &str,
        refusal: &Refusal,
    ) -> OutgoingEvent {
        let reason = format!(
            "refused an event of the type {:?} by {:?} on {topic}: {refusal}",
            claim.event_type, claim.source
        );
        let reason: String = reason.chars().take(2000).collect();
        let mut data = claim.about;
        for (name, value) in [
            ("stage", json!(self.stage)),
            ("phase", json!("refused")),
            ("reason", json!(reason)),
            ("refused", json!(true)),
        ] {
            data.insert(name.to_owned(), value);
        }
        OutgoingEvent {
            id,
            topic: FAILURES.to_owned(),
            event_type: "foundry.failure.v1".to_owned(),
            subject: claim.subject,
            run: claim.run,
            cause: claim.id,
            origin,
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_refusals_are_told_in_an_hour_and_no_more() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let told = |after: u64| refusals.take(start + Duration::from_secs(after));
        assert_eq!((0..100).filter(|second| told(*second)).count(), 60);
        assert!(!told(3599));
        assert_eq!((3600..3700).filter(|second| told(*second)).count(), 60, "the next hour");
    }
}
