//! What becomes of a message that may not be handled: a dead letter, and a failure event in its run, so that nobody waits
//! in vain for what comes of it.

use std::time::Instant;

use serde_json::json;
use time::OffsetDateTime;

use super::message::Handler;
use super::refusals::Budget;
use crate::bus::{Delivery, row_of};
use crate::capability::Level;
use crate::event::{Claim, Event, FAILURES, Origin, OutgoingEvent, Refusal};
use crate::ledger::{DeadLetter, EventRow, Settlement};

/// The announcement that a refused message carries, which is believed though the message is not.
struct Proof {
    announcement: String,
    row: EventRow,
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
            let claim = Claim::of(&delivery.payload);
            let is_known = claim.is_some_and(|claim| refusal.known_key(&claim.key).is_some());
            settlement.dead = Some(DeadLetter { cure, is_known, ..dead });
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
        if self.until_written(|| ledger.is_recorded(&id)).await {
            return None;
        }
        let proof = self.proof(&delivery.payload);
        let is_announced = proof.is_some() || self.until_written(|| ledger.is_announced(&claim.run)).await;
        let budget = Budget {
            run: is_announced.then(|| claim.run.clone()),
            key: refusal.known_key(&claim.key).map(ToOwned::to_owned),
        };
        if !self.refusals.take(budget, Instant::now()) {
            return None;
        }
        let (announcement, row) = proof.map(|proof| (proof.announcement, proof.row)).unzip();
        let mut settlement = Settlement {
            events: row.into_iter().collect(),
            ..Settlement::default()
        };
        let failure = self.failure_of((id, origin), claim, topic, refusal);
        if let Err(error) = self.publish(failure, announcement.as_deref(), &mut settlement) {
            tracing::error!(bot = self.name(), %error, "cannot sign a failure event");
        }
        Some(settlement)
    }

    /// None of the message itself is proved: it has the size of an event, and no more is known.
    fn proof(&self, payload: &[u8]) -> Option<Proof> {
        let event: Event = serde_json::from_slice(payload).ok()?;
        let verifier = &self.link.verifier;
        let now = OffsetDateTime::now_utc();
        let announced = verifier.announcement(&event, &verifier.announced_on, now).ok()?;
        Some(Proof {
            row: row_of(&announced, verifier),
            announcement: event.announcement?,
        })
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
