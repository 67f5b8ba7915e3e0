//! A loaded bot's life: its session, its timers, the messages in its hands, its end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::believed::Party;
use super::message::{Handler, Health};
use super::places::{Place, Places};
use super::spec::{BotStatus, Condition, InForce};
use super::timers;
use crate::ability::BotAbility;
use crate::bus::{
    Card, ConnectionOptions, Consumer, ConsumerState, Delivery, Heirs, Observer, OldSession, Presence, Publisher,
    Subject,
};
use crate::capability::Level;
use crate::ledger::OutboxStatus;

/// How long messages that are let go of may take to finish what cannot be interrupted.
const LETTING_GO: Duration = Duration::from_secs(2);

/// A bot that is ready to start.
pub(super) struct Prepared {
    pub(super) handler: Arc<Handler>,
    pub(super) status: BotStatus,
    pub(super) in_force: InForce,
    pub(super) instances: u16,
    pub(super) filters: Vec<String>,
    /// What an older version of the host may have left at the broker.
    pub(super) old_session: Option<OldSession>,
    pub(super) timers: Vec<(String, Duration)>,
    pub(super) connection: ConnectionOptions,
    pub(super) publisher: Publisher,
    /// Who else is there.
    pub(super) observer: Observer,
}

/// A bot that has been started.
pub(super) struct RunningBot {
    fixed: BotStatus,
    in_force: InForce,
    party: Option<Party>,
    health: Arc<Health>,
    condition: Arc<Mutex<(Condition, Option<String>)>>,
    session: watch::Receiver<ConsumerState>,
    /// It takes no more messages.
    cancel: CancellationToken,
    /// It lets go of those that it has.
    abandon: CancellationToken,
    task: JoinHandle<()>,
    /// Nobody can stop what nobody holds: whoever drops it has let go of it.
    _ends: [DropGuard; 2],
}

impl RunningBot {
    /// How it is.
    pub(super) fn status(&self) -> BotStatus {
        let (condition, detail) = self
            .condition
            .lock()
            .map_or((Condition::Quarantined, None), |condition| condition.clone());
        let detail = detail.or_else(|| self.health.waits.described());
        BotStatus {
            condition,
            detail,
            handled: self.health.handled.load(Ordering::Relaxed),
            failed: self.health.failed.load(Ordering::Relaxed),
            in_hand: self.health.in_hand.load(Ordering::Relaxed),
            ..self.fixed.clone()
        }
    }

    /// Its rights and limits.
    pub(super) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// What it is, as far as keys of packages go.
    pub(super) fn party(&self) -> Option<Party> {
        self.party.clone()
    }

    /// Where its session stands.
    pub(super) fn session(&self) -> watch::Receiver<ConsumerState> {
        self.session.clone()
    }

    /// End it. Messages in hand may be finished for so long; the others go back to the broker.
    pub(super) async fn stop(self, drain: Duration) {
        self.cancel.cancel();
        let abandon = async {
            tokio::time::sleep(drain).await;
            self.abandon.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = self.task => {}
            () = abandon => {}
        }
    }
}

impl Prepared {
    /// Start it.
    pub(super) fn start(mut self) -> RunningBot {
        let (cancel, abandon) = (CancellationToken::new(), CancellationToken::new());
        let condition = Arc::new(Mutex::new((Condition::Starting, None)));
        let health = Arc::clone(&self.handler.health);
        let presence = Subject::Bot(Box::new(self.presence("running", None)));
        let places = Places::new(self.instances);
        self.connection.receive_maximum = places.most();
        let card = self.handler.link.herald.card(presence);
        let consumer = Consumer {
            options: self.connection.clone(),
            filters: std::mem::take(&mut self.filters),
            presence: Some(card.clone()),
            places: Some(places.held()),
            ability: Some(self.handler.ability.clone()),
            heirs: Some(Heirs::of(self.observer.clone(), self.presence("running", None))),
        };
        // The session goes on while messages in hand are finished, so that they can be acknowledged.
        let end_of_session = CancellationToken::new();
        let (deliveries, session, session_task) = consumer.start(end_of_session.clone());
        let old = self.old_session.take();
        let old = old.map(|old| take_up(old, &self.handler, end_of_session.clone()));
        let fixed = self.status.clone();
        let in_force = self.in_force.clone();
        let party = self.party();
        let life = Life {
            prepared: self,
            places,
            card,
            condition: Arc::clone(&condition),
            session: session.clone(),
            cancel: cancel.clone(),
            abandon: abandon.clone(),
            end_of_session,
        };
        let task = tokio::spawn(life.run(deliveries, session_task, old));
        RunningBot {
            fixed,
            in_force,
            party,
            health,
            condition,
            session,
            _ends: [cancel.clone().drop_guard(), abandon.clone().drop_guard()],
            cancel,
            abandon,
            task,
        }
    }

    /// What it is, as far as keys of packages go.
    pub(super) fn party(&self) -> Option<Party> {
        let bot = self.handler.instances.bot();
        Party::of(&bot.name, bot.stock.as_deref(), &bot.options)
    }

    fn presence(&self, status: &str, detail: Option<String>) -> Presence {
        Presence {
            host: self.handler.link.host.clone(),
            bot: self.status.name.clone(),
            component: self.status.component.clone(),
            status: status.to_owned(),
            detail,
            group: self.status.group.clone(),
            reads: self.status.reads.clone(),
            publishes: self.status.publishes.clone(),
            since: self.status.since.clone(),
        }
    }
}

/// Take up the session that an older version left. Once nothing is left of it, it is not looked for any more.
fn take_up(
    old: OldSession,
    handler: &Arc<Handler>,
    cancel: CancellationToken,
) -> (mpsc::Receiver<Delivery>, JoinHandle<()>) {
    let (deliveries, end) = old.start(handler.ability.clone(), cancel);
    let handler = Arc::clone(handler);
    let noted = tokio::spawn(async move {
        if !matches!(end.await, Ok(true)) {
            return;
        }
        if let Err(error) = handler.link.ledger.old_session_ended(handler.name()).await {
            tracing::warn!(%error, "cannot note that an old session is gone; it is looked for again");
        }
    });
    (deliveries, noted)
}

struct Life {
    prepared: Prepared,
    places: Arc<Places>,
    /// What its session presents.
    card: Card,
    condition: Arc<Mutex<(Condition, Option<String>)>>,
    session: watch::Receiver<ConsumerState>,
    cancel: CancellationToken,
    abandon: CancellationToken,
    end_of_session: CancellationToken,
}

impl Life {
    async fn run(
        mut self,
        mut deliveries: mpsc::Receiver<Delivery>,
        session: JoinHandle<()>,
        old: Option<(mpsc::Receiver<Delivery>, JoinHandle<()>)>,
    ) {
        let (mut old_deliveries, old_session) = old.unzip();
        let handler = Arc::clone(&self.prepared.handler);
        let places = Arc::clone(&self.places);
        let (mut work, mut helpers) = (JoinSet::new(), JoinSet::new());
        for (timer, interval) in std::mem::take(&mut self.prepared.timers) {
            helpers.spawn(timers::run(Arc::clone(&handler), timer, interval));
        }
        helpers.spawn(revive(Arc::clone(&handler), self.abandon.clone()));
        let quarantine = handler.health.quarantine.clone();
        let mut outbox = handler.link.ledger.outbox_level();
        let mut in_hand = None;
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => break,
                () = quarantine.cancelled() => break,
                Ok(()) = self.session.changed() => self.follow_session(),
                // A broker of ours sends no more than there are places for; others may send what then waits for one.
                Some(delivery) = deliveries.recv(), if in_hand.is_none() => in_hand = Some(delivery),
                Some(delivery) = next_of(&mut old_deliveries), if in_hand.is_none() => in_hand = Some(delivery),
                // Taken for a message that is there: one that waits for another attempt needs the place otherwise.
                Some(mut place) = place_for_work(&places, &mut outbox, &handler.ability), if in_hand.is_some() => {
                    let Some(delivery) = in_hand.take() else { continue };
                    let (handler, abandon) = (Arc::clone(&handler), self.abandon.clone());
                    work.spawn(async move {
                        handler.deliver(&delivery, &mut place, &abandon).await;
                    });
                }
                Some(_) = work.join_next(), if !work.is_empty() => {}
            }
        }
        helpers.shutdown().await;
        if quarantine.is_cancelled() {
            self.abandon.cancel();
        }
        finish(work, &self.abandon).await;
        self.end_of_session.cancel();
        let _ = session.await;
        if let Some(old_session) = old_session {
            let _ = old_session.await;
        }
        // Its next life begins without them.
        handler.link.ability.forget(handler.name());
        if quarantine.is_cancelled() && !self.cancel.is_cancelled() {
            self.quarantined().await;
        } else {
            // Its session may not have been there to do it.
            let leave = self.card.belated_leave();
            leave.into_iter().for_each(|word| self.prepared.publisher.live(word));
        }
    }

    fn follow_session(&mut self) {
        let state = self.session.borrow_and_update().clone();
        let now = match state {
            ConsumerState::Subscribed => (Condition::Running, None),
            ConsumerState::Connecting(why) => (Condition::Starting, why),
            ConsumerState::Unable(why) => {
                self.say("unable", &why);
                (Condition::Unable, Some(why))
            }
            ConsumerState::Refused(why) => (Condition::Starting, Some(why)),
        };
        self.set(now);
    }

    /// Present the bot otherwise than its connection does, which is not there.
    fn say(&self, status: &str, why: &str) {
        let presence = self.prepared.presence(status, Some(why.to_owned()));
        let said = self.prepared.handler.link.herald.say(Subject::Bot(Box::new(presence)));
        said.into_iter().for_each(|word| self.prepared.publisher.live(word));
    }

    /// Stay visible, and do nothing, until the operator stops the bot.
    async fn quarantined(self) {
        let why = "its code failed again and again; see its log, then stop and load it".to_owned();
        self.set((Condition::Quarantined, Some(why.clone())));
        let handler = &self.prepared.handler;
        handler.log(None, Level::Error, &format!("quarantined: {why}"));
        let presence = self.prepared.presence("quarantined", Some(why));
        let (herald, publisher) = (&handler.link.herald, &self.prepared.publisher);
        let said = herald.say(Subject::Bot(Box::new(presence.clone())));
        said.into_iter().for_each(|word| publisher.live(word));
        self.cancel.cancelled().await;
        herald
            .farewell(&presence)
            .into_iter()
            .for_each(|word| publisher.live(word));
    }

    fn set(&self, now: (Condition, Option<String>)) {
        if let Ok(mut condition) = self.condition.lock() {
            *condition = now;
        }
    }
}

/// The next message of a session, if there is one.
async fn next_of(deliveries: &mut Option<mpsc::Receiver<Delivery>>) -> Option<Delivery> {
    deliveries.as_mut()?.recv().await
}

/// A place among the messages in hand, once there is one, the outbox has room for what comes of it, and the bot can work.
async fn place_for_work(
    places: &Arc<Places>,
    outbox: &mut watch::Receiver<OutboxStatus>,
    ability: &BotAbility,
) -> Option<Place> {
    outbox.wait_for(|status| !status.full).await.ok()?;
    ability.regained().await;
    Some(places.take().await)
}

/// Try the bot's dead letters again that the operator asks for, one after the other beside its other messages.
async fn revive(handler: Arc<Handler>, abandon: CancellationToken) {
    let places = Places::new(1);
    let ledger = &handler.link.ledger;
    loop {
        let next = ledger.dead_letter_requeued();
        for letter in handler.until_written(|| ledger.requeued(handler.name())).await {
            handler.ability.regained().await;
            let mut place = places.take().await;
            handler
                .deliver(&Delivery::of_dead_letter(letter), &mut place, &abandon)
                .await;
        }
        // One that the bot could not handle here is its own all the same.
        if handler.ability.trouble().is_none() {
            next.await;
        }
    }
}

/// Wait for messages in hand, and for those that are let go of.
async fn finish(mut work: JoinSet<()>, abandon: &CancellationToken) {
    let abandoned = async {
        abandon.cancelled().await;
        tokio::time::sleep(LETTING_GO).await;
    };
    tokio::select! {
        () = async { while work.join_next().await.is_some() {} } => {}
        // The ledger cannot be written: what is in hand comes again.
        () = abandoned => work.shutdown().await,
    }
}
