//! One message's way through a bot: check, attempts, settlement, acknowledgement.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foundry_broker::killpoint;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::places::Place;
use super::refusals::Refusals;
use super::turns::{LONGEST_TURN, StateTurn, Turns};
use super::twins::Twins;
use super::waits::Waits;
use crate::ability::{Ability, BotAbility};
use crate::bus::{Clearance, Delivery, Herald, Peers, record};
use crate::capability::{Level, build};
use crate::event::{ATTEMPT, Cure, Event, FAILURES, Origin, OutgoingEvent, Topics, Verifier, commit_of, of_stage};
use crate::keys::{Duty, Signer};
use crate::ledger::{DeadLetter, EventRow, Ledger, LedgerError, Settled, Settlement};
use crate::runtime::wit::types::Message;
use crate::runtime::{Effects, Fault, Instances, Verdict};

/// Attempts at a message whose handler asks for another one: with the backoff, about an hour.
const MAX_RETRIES: u32 = 16;

/// Attempts at a message that makes the bot's code fail.
const MAX_FAULTS: u32 = 3;

/// Failures of the bot's code in a row, over all messages, after which the bot is quarantined.
const QUARANTINE_AFTER: u32 = 9;

/// First and longest pause between attempts at one message.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How long other hosts may take to let a message go ahead before its place is given to the next one.
const PROMPT: Duration = Duration::from_secs(2);

/// Collisions after which a message keeps its turn for as long as it needs.
const PATIENT: u32 = 3;

/// What a bot's messages need from the host.
pub(super) struct Link {
    pub(super) host: String,
    pub(super) topics: Topics,
    pub(super) signer: Arc<Signer>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) ledger: Ledger,
    pub(super) peers: Peers,
    pub(super) herald: Herald,
    /// What keeps this host's bots from work.
    pub(super) ability: Ability,
}

/// How a bot is doing.
#[derive(Default)]
pub(super) struct Health {
    pub(super) handled: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) in_hand: AtomicU64,
    /// What its messages wait for.
    pub(super) waits: Waits,
    faults_in_a_row: AtomicU32,
    /// Cancelled when the bot's code has failed too often.
    pub(super) quarantine: CancellationToken,
}

impl Health {
    pub(super) fn succeeded(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.faults_in_a_row.store(0, Ordering::Relaxed);
    }

    pub(super) fn faulted(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if self.faults_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= QUARANTINE_AFTER {
            self.quarantine.cancel();
        }
    }
}

/// Handles the messages of one bot.
pub(super) struct Handler {
    pub(super) instances: Instances,
    /// What failures that the host tells of call the stage.
    pub(super) stage: String,
    pub(super) link: Arc<Link>,
    pub(super) health: Arc<Health>,
    /// Whether the bot can work.
    pub(super) ability: BotAbility,
    pub(super) refusals: Refusals,
    /// Whose turn it is to change the state.
    pub(super) turns: Turns,
    pub(super) twins: Twins,
}

/// What an attempt at a message came to.
enum Attempt {
    Settled(Box<Settlement>),
    Again {
        after: Duration,
        why: String,
        limit: u32,
    },
    GiveUp(String),
    /// The host has no room for it now.
    NoRoom(String),
}

impl Handler {
    /// Handle a message until it is settled, and acknowledge it. A message that is not settled when `abandon` is
    /// cancelled stays with the broker, which gives it to another member of the group or brings it again. So does one that the
    /// bot would try again although it cannot work here: that says nothing of the message, and counts as no attempt.
    pub(super) async fn deliver(&self, delivery: &Delivery, place: &mut Place, abandon: &CancellationToken) {
        if delivery.is_returned() {
            return;
        }
        self.health.in_hand.fetch_add(1, Ordering::Relaxed);
        let _in_hand = InHand(&self.health);
        let is_over = match self.believed(delivery).await {
            Err(refusal) => {
                self.refuse(delivery, &refusal).await;
                true
            }
            Ok(event) => self.handle(&event, delivery, place, abandon).await,
        };
        if is_over {
            delivery.acknowledge();
        }
    }

    /// The duty that a host needs for this bot's work; none if it is no stock bot.
    fn work(&self) -> Option<Duty> {
        self.instances.bot().stock.as_deref().and_then(of_stage)
    }

    /// Returns whether the message is over and done with.
    async fn handle(&self, event: &Event, delivery: &Delivery, place: &mut Place, abandon: &CancellationToken) -> bool {
        if delivery.again {
            tracing::debug!(bot = self.name(), id = event.id, "redelivered");
        }
        let topic = self.link.topics.short(&delivery.topic);
        let group = self.instances.bot().group_of(topic).to_owned();
        let ledger = &self.link.ledger;
        let known = self.until_written(|| ledger.known(&group, &event.id)).await;
        let is_wanted = delivery.revived.is_some_and(|revived| revived.anew);
        if known.settled && !is_wanted {
            self.forget_letter(delivery).await;
            self.handled_already(event, topic).await;
            return true;
        }
        let mut clearance = self
            .link
            .peers
            .clearance(&group, &event.id, delivery.again || known.promised, self.work());
        let cleared = tokio::select! {
            cleared = self.leave_to_begin(&mut clearance, place) => cleared,
            () = abandon.cancelled() => return false,
        };
        if !cleared {
            return self.settled_elsewhere(&group, event, delivery).await;
        }
        self.until_written(|| record(ledger, &self.link.verifier, event, topic))
            .await;
        let mut message = message_of(event, topic);
        message.attempt = self.until_written(|| ledger.attempts(&group, &event.id)).await;
        let mut collisions = 0;
        loop {
            let mut turn = tokio::select! {
                turn = self.turns.take() => turn,
                () = abandon.cancelled() => return false,
            };
            let settled = tokio::select! {
                settled = self.outcome(&mut message, &group, event, delivery, (place, &mut turn, collisions)) => settled,
                () = abandon.cancelled() => return false,
            };
            let Some(settled) = settled else { return false };
            let settlement = Settlement {
                message: Some((group.clone(), event.id.clone())),
                again: clearance.had_to_ask(),
                revived: delivery.revived,
                ..settled
            };
            if !clearance.is_decided() {
                turn = None;
            }
            let cleared = tokio::select! {
                cleared = self.leave_to_settle(&mut clearance, place) => cleared,
                () = abandon.cancelled() => return false,
            };
            if !cleared {
                return self.settled_elsewhere(&group, event, delivery).await;
            }
            killpoint::pass("before-settlement");
            let settled = self.settle(settlement, turn).await;
            killpoint::pass("after-settlement");
            if settled == Settled::Done {
                return true;
            }
            // Some message was settled in between, so that there is progress in any case. It is no failed attempt.
            self.turns.collided();
            collisions += 1;
            tracing::debug!(
                bot = self.name(),
                id = event.id,
                "handled again: the state that it saw has changed"
            );
        }
    }

    /// Whether work may begin. While another host has the message in hand, others may have its place.
    async fn leave_to_begin(&self, clearance: &mut Clearance, place: &mut Place) -> bool {
        if let Ok(cleared) = tokio::time::timeout(PROMPT, clearance.to_begin()).await {
            return cleared;
        }
        let _waits = self.health.waits.begin(clearance.awaited());
        let cleared = place.aside(clearance.to_begin()).await;
        place.back().await;
        cleared
    }

    /// Whether what the work came to may take effect. The work is done, so that the place is for others from then on.
    async fn leave_to_settle(&self, clearance: &mut Clearance, place: &mut Place) -> bool {
        if clearance.is_decided() {
            return clearance.to_settle().await;
        }
        let _waits = self.health.waits.begin(clearance.awaited());
        place.aside(clearance.to_settle()).await
    }

    async fn settled_elsewhere(&self, group: &str, event: &Event, delivery: &Delivery) -> bool {
        self.forget_letter(delivery).await;
        tracing::debug!(bot = self.name(), id = event.id, "handled already, by another host");
        self.until_written(|| self.link.ledger.settled_elsewhere(group, &event.id))
            .await;
        true
    }

    /// What was settled is no dead letter any more.
    async fn forget_letter(&self, delivery: &Delivery) {
        if let Some(revived) = delivery.revived {
            let ledger = &self.link.ledger;
            self.until_written(|| ledger.take_dead_letter(revived.number)).await;
        }
    }

    /// Attempt by attempt, what a message comes to; none if it is for others, since the bot cannot work here.
    async fn outcome(
        &self,
        message: &mut Message,
        group: &str,
        event: &Event,
        delivery: &Delivery,
        (place, turn, collisions): (&mut Place, &mut Option<StateTurn>, u32),
    ) -> Option<Settlement> {
        let announcement = event.passes_on(&delivery.payload);
        let mut rooms_missed = 0;
        loop {
            match self
                .attempt_in_turn(message, announcement.as_deref(), (&mut *turn, collisions))
                .await
            {
                Attempt::NoRoom(why) => {
                    // It says nothing of the message.
                    rooms_missed += 1;
                    *turn = None;
                    self.log(Some(&event.run), Level::Warn, &why);
                    place.pause(backoff(rooms_missed)).await;
                }
                Attempt::Settled(settlement) => return Some(*settlement),
                Attempt::GiveUp(reason) => {
                    return Some(self.give_up(group, event, delivery, message.attempt, &reason));
                }
                Attempt::Again { why, .. } if self.ability.is_excused() => {
                    self.hand_back(event, &why);
                    return None;
                }
                Attempt::Again { after, why, limit } => {
                    let ledger = &self.link.ledger;
                    message.attempt = self.until_written(|| ledger.count_attempt(group, &event.id)).await;
                    if message.attempt >= limit {
                        let reason = format!("{why} (after {} attempts)", message.attempt);
                        return Some(self.give_up(group, event, delivery, message.attempt, &reason));
                    }
                    let pause = pause(after, message.attempt);
                    let text = format!("{why}; attempt {} in {} s", message.attempt + 1, pause.as_secs());
                    self.log(Some(&event.run), Level::Warn, &text);
                    *turn = None;
                    tokio::select! {
                        () = place.pause(pause) => {}
                        trouble = self.ability.lost() => {
                            self.hand_back(event, &trouble);
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Another member of the group gets a message, or this one once it can work again.
    fn hand_back(&self, event: &Event, why: &str) {
        let text = format!("{why}; given back to the group, since this host cannot do such work now");
        self.log(Some(&event.run), Level::Warn, &text);
    }

    /// Settle a message, in its turn if it has one.
    async fn settle(&self, settlement: Settlement, turn: Option<StateTurn>) -> Settled {
        let turn = Mutex::new(turn);
        self.until_written(|| {
            let turn = turn.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.link.ledger.settle_then(settlement.clone(), turn)
        })
        .await
    }

    /// A turn is for work that is done at once.
    async fn attempt_in_turn(
        &self,
        message: &Message,
        announcement: Option<&str>,
        (turn, collisions): (&mut Option<StateTurn>, u32),
    ) -> Attempt {
        let mut attempt = pin!(self.attempt(message, announcement));
        // One that lost its turn again and again keeps it, however long it takes: else it might never come to an end.
        if turn.is_some() && collisions < PATIENT {
            if let Ok(attempt) = tokio::time::timeout(LONGEST_TURN, &mut attempt).await {
                return attempt;
            }
            *turn = None;
        }
        attempt.await
    }

    async fn attempt(&self, message: &Message, announcement: Option<&str>) -> Attempt {
        match self.instances.handle(message).await {
            Ok(Verdict::Done(effects)) => match self.settlement(effects, announcement) {
                Ok(settlement) => {
                    self.health.succeeded();
                    Attempt::Settled(Box::new(settlement))
                }
                Err(why) => Attempt::Again {
                    after: Duration::ZERO,
                    why,
                    limit: MAX_RETRIES,
                },
            },
            Ok(Verdict::Retry { after, why }) => {
                self.health.failed.fetch_add(1, Ordering::Relaxed);
                let bot = self.instances.bot();
                if bot.grants.build {
                    build::examine(bot).await;
                }
                Attempt::Again {
                    after,
                    why,
                    limit: MAX_RETRIES,
                }
            }
            Ok(Verdict::Reject(why)) => {
                self.health.succeeded();
                Attempt::GiveUp(why)
            }
            Err(fault @ Fault::NoRoom(_)) => Attempt::NoRoom(format!("the host {fault}; trying again")),
            Err(fault) => {
                self.health.faulted();
                Attempt::Again {
                    after: Duration::ZERO,
                    why: format!("the bot {fault}"),
                    limit: MAX_FAULTS,
                }
            }
        }
    }

    /// What a handler's effects come to: signed events, which carry that announcement, and state.
    pub(super) fn settlement(&self, effects: Effects, announcement: Option<&str>) -> Result<Settlement, String> {
        let writes = effects.state_writes().collect();
        let mut settlement = Settlement {
            bot: self.name().to_owned(),
            sights: effects.sights(),
            writes,
            ..Settlement::default()
        };
        for outgoing in effects.events {
            self.publish(outgoing, announcement, &mut settlement)
                .map_err(|e| format!("cannot sign an event: {e}"))?;
        }
        Ok(settlement)
    }

    pub(super) fn publish(
        &self,
        outgoing: OutgoingEvent,
        announcement: Option<&str>,
        settlement: &mut Settlement,
    ) -> Result<(), crate::keys::SignError> {
        let topic = outgoing.topic.clone();
        let event = Event::of(outgoing, &self.instances.bot().source, &self.link.topics).carrying(announcement);
        settlement
            .publish
            .push((self.link.topics.full(&topic), event.sign(&self.link.signer)?));
        settlement.events.push(EventRow::of(&event, &topic));
        Ok(())
    }

    /// The settlement of a message that is given up: a dead letter, and a failure event for everybody to see.
    fn give_up(&self, group: &str, event: &Event, delivery: &Delivery, attempts: u32, reason: &str) -> Settlement {
        self.log(Some(&event.run), Level::Error, &format!("given up: {reason}"));
        let id = Some(event.id.clone());
        let dead = DeadLetter::now(
            self.name(),
            &delivery.topic,
            id,
            reason.to_owned(),
            attempts,
            &delivery.payload,
        );
        // What no packages key has signed may be by one that is imported later.
        let was_stranger = self
            .instances
            .bot()
            .services
            .packages_keys
            .was_stranger(group, &event.id);
        let cure = was_stranger.then_some(Cure::Packages);
        let mut settlement = Settlement {
            bot: self.name().to_owned(),
            dead: Some(DeadLetter { cure, ..dead }),
            ..Settlement::default()
        };
        let origin = Origin::GivenUp {
            group: group.to_owned(),
            input: event.id.clone(),
            attempt: ATTEMPT,
        };
        let failure = OutgoingEvent {
            id: origin.id(&[]),
            topic: FAILURES.to_owned(),
            event_type: "foundry.failure.v1".to_owned(),
            subject: event
                .subject
                .as_deref()
                .map(|subject| subject.chars().take(255).collect()),
            run: event.run.clone(),
            cause: Some(event.id.clone()),
            origin,
            data: self.failure_data(event, attempts, reason),
        };
        let announcement = event.passes_on(&delivery.payload);
        if let Err(error) = self.publish(failure, announcement.as_deref(), &mut settlement) {
            tracing::error!(bot = self.name(), %error, "cannot sign a failure event");
        }
        settlement
    }

    fn failure_data(&self, event: &Event, attempts: u32, reason: &str) -> Map<String, Value> {
        let mut data = commit_of(Some(&event.data));
        let reason: String = reason.chars().take(2000).collect();
        data.insert("stage".to_owned(), json!(self.stage));
        data.insert("reason".to_owned(), json!(reason));
        data.insert("attempts".to_owned(), json!(attempts));
        data
    }

    /// Repeat work on the ledger until it succeeds: with a full disk, the message waits here, unacknowledged.
    pub(super) async fn until_written<T, F: Future<Output = Result<T, LedgerError>>>(&self, work: impl Fn() -> F) -> T {
        let mut failures = 0;
        loop {
            match work().await {
                Ok(value) => return value,
                Err(error) => {
                    failures += 1;
                    tracing::error!(bot = self.name(), %error, "cannot write to the ledger; trying again");
                    tokio::time::sleep(backoff(failures)).await;
                }
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.instances.bot().name
    }

    pub(super) fn log(&self, run: Option<&str>, level: Level, text: &str) {
        self.instances.bot().services.logs.write(self.name(), run, level, text);
    }
}

struct InHand<'a>(&'a Health);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Twice as long after each failed attempt.
pub(super) fn backoff(attempts: u32) -> Duration {
    BACKOFF
        .0
        .saturating_mul(1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX))
        .min(BACKOFF.1)
}

/// What the bot asks for, within the host's own backoff and its longest pause: a message that waits is held all the while.
fn pause(asked: Duration, attempts: u32) -> Duration {
    asked.clamp(backoff(attempts), BACKOFF.1)
}

fn message_of(event: &Event, topic: &str) -> Message {
    Message {
        id: event.id.clone(),
        topic: topic.to_owned(),
        event_type: event.event_type.clone(),
        source: event.source.clone(),
        subject: event.subject.clone(),
        time: event.time.clone(),
        run: event.run.clone(),
        attempt: 0,
        data: Value::Object(event.data.clone()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let seconds: Vec<_> = [1, 2, 3, 9, 10, 40].map(|n| backoff(n).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn a_bot_chooses_its_pause_within_bounds() {
        let seconds = |asked, attempts| pause(Duration::from_secs(asked), attempts).as_secs();
        assert_eq!(seconds(0, 3), 4, "no sooner than the backoff");
        assert_eq!(seconds(30, 3), 30);
        assert_eq!(seconds(3600, 3), 300, "no later than the longest pause");
        assert_eq!(seconds(u64::MAX, 40), 300);
        assert_eq!(pause(Duration::MAX, 1).as_secs(), 300);
    }

    #[test]
    fn a_bot_is_quarantined_after_faults_in_a_row_only() {
        let health = Health::default();
        for _ in 0..QUARANTINE_AFTER - 1 {
            health.faulted();
        }
        health.succeeded();
        for _ in 0..QUARANTINE_AFTER - 1 {
            health.faulted();
        }
        assert!(!health.quarantine.is_cancelled());
        health.faulted();
        assert!(health.quarantine.is_cancelled());
    }
}
