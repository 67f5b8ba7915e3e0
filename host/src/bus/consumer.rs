//! A bot's session: it receives the messages of its groups, and acknowledges each one when it is settled.

use bytes::Bytes;
use foundry_broker::{ATTEMPT_PROPERTY, PLACES_TOPIC};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{Backoff, ConnectionOptions, is_of_ours, why};
use super::heirs::Heirs;
use super::herald::Card;
use super::polled::Polled;
use super::publisher::AGAIN_PROPERTY;
use super::way::{Handed, UNCOUNTED, Uncounted, Way};
use crate::ability::BotAbility;
use crate::ledger::{DeadLetter, Revived};

/// How long a clean end of the session may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a broker may take to a clean end of a session that gives its messages back. One that does not come counts as a death, and each message as
/// a failed attempt.
const STEP_BACK: Duration = Duration::from_secs(10);

/// A received message, unacknowledged.
pub struct Delivery {
    /// Full topic.
    pub topic: String,
    /// The bytes as they came.
    pub payload: Bytes,
    /// Whether it was the broker's retained message.
    pub retained: bool,
    /// Whether somebody may have had it before: the broker brings it again, or its publisher sends it again.
    pub again: bool,
    /// The dead letter that it was.
    pub revived: Option<Revived>,
    receipt: Option<(Publish, AsyncClient)>,
    /// Cancelled once its connection has given it back, for others of the group.
    returned: CancellationToken,
    /// Its place among those of QoS 0, until it is dropped.
    _uncounted: Option<Uncounted>,
}

impl Delivery {
    /// One that has just come over a client's connection.
    pub(super) fn received(publish: Publish, client: &AsyncClient) -> Self {
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.clone(),
            retained: publish.retain,
            again: publish.dup || has_property(&publish, ATTEMPT_PROPERTY) || has_property(&publish, AGAIN_PROPERTY),
            revived: None,
            receipt: Some((publish, client.clone())),
            returned: CancellationToken::new(),
            _uncounted: None,
        }
    }

    /// The same on its way to whoever handles it. Its connection may give it back; one of QoS 0 has its place among those.
    pub(super) fn over_way(
        publish: Publish,
        client: &AsyncClient,
        returned: CancellationToken,
        uncounted: Option<Uncounted>,
    ) -> Self {
        Self {
            returned,
            _uncounted: uncounted,
            ..Self::received(publish, client)
        }
    }

    /// A dead letter that is tried again, from the ledger.
    #[must_use]
    pub fn of_dead_letter(letter: DeadLetter) -> Self {
        Self {
            topic: letter.topic,
            payload: letter.payload.into(),
            retained: false,
            // Its publisher may have sent it again meanwhile, to another host of the group.
            again: !letter.anew,
            revived: Some(Revived {
                number: letter.seq,
                anew: letter.anew,
            }),
            receipt: None,
            returned: CancellationToken::new(),
            _uncounted: None,
        }
    }

    /// Whether its group has it back, since the bot cannot work. It is not to be begun then.
    #[must_use]
    pub fn is_returned(&self) -> bool {
        self.returned.is_cancelled()
    }

    /// Acknowledge it (PUBACK). If the connection that brought it is gone, the broker has given the message to
    /// somebody else or brings it again, and this does nothing.
    pub fn acknowledge(&self) {
        let Some((publish, client)) = self.receipt.clone() else {
            return;
        };
        // Whoever waited here for a full queue would keep the place that the session waits for to go on reading, and
        // the session is what empties the queue.
        if client.try_ack(&publish).is_err() {
            let topic = self.topic.clone();
            tokio::spawn(async move {
                if let Err(error) = client.ack(&publish).await {
                    tracing::debug!(topic, %error, "the acknowledgement came too late");
                }
            });
        }
    }
}

/// Where a session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerState {
    /// Not connected; the reason, once there is one.
    Connecting(Option<String>),
    /// Connected and subscribed.
    Subscribed,
    /// Not connected, so that others of its groups get their messages: something keeps the bot from work.
    Unable(String),
    /// The broker refuses a subscription for good.
    Refused(String),
}

/// Connections of which messages may wait to be handled.
const CONNECTIONS: usize = 4;

/// A session with its subscriptions.
pub struct Consumer {
    /// How it connects.
    pub options: ConnectionOptions,
    /// Filters, `$share/…` ones among them.
    pub filters: Vec<String>,
    /// Who presents himself over it.
    pub presence: Option<Card>,
    /// How many messages can be held by now, where that is less than the receive maximum. The embedded broker is told, so
    /// that it gives the others to idle members.
    pub places: Option<watch::Receiver<u16>>,
    /// Whether the bot can work, for a member of groups. Other sessions only look.
    pub ability: Option<BotAbility>,
    /// Who takes the work of a member of groups that leaves, at a broker where groups are nothing but their members; none where the
    /// session does not matter to any group.
    pub heirs: Option<Heirs>,
}

impl Consumer {
    /// A session that only looks: nobody presents himself over it, and no group's work comes by it.
    #[must_use]
    pub fn onlooker(options: ConnectionOptions, filters: Vec<String>) -> Self {
        Self {
            options,
            filters,
            presence: None,
            places: None,
            ability: None,
            heirs: None,
        }
    }

    /// Run the session until it is cancelled, over any number of connections.
    pub fn start(
        self,
        cancel: CancellationToken,
    ) -> (
        mpsc::Receiver<Delivery>,
        watch::Receiver<ConsumerState>,
        tokio::task::JoinHandle<()>,
    ) {
        let (deliveries, receiver) = mpsc::channel(self.unacknowledged() + UNCOUNTED);
        let way = Way::to(deliveries);
        let (state, watcher) = watch::channel(ConsumerState::Connecting(None));
        let task = tokio::spawn(async move {
            let mut backoff = Backoff::new();
            // Whether the broker has the session, as far as it was here before.
            let mut known = false;
            while !cancel.is_cancelled() {
                tokio::select! {
                    () = self.able(&state) => {}
                    () = cancel.cancelled() => break,
                }
                let end = self.connection(&way, &state, &mut backoff, &mut known, &cancel).await;
                match end {
                    End::Cancelled => break,
                    End::Refused(why) => {
                        state.send_replace(ConsumerState::Refused(why));
                        break;
                    }
                    // What it is connected for next is another matter than the broker.
                    End::Unable => {
                        backoff.reset();
                        continue;
                    }
                    End::Broken(why) => {
                        tracing::debug!(client = self.options.client_id, why, "connection to the broker ended");
                        state.send_replace(ConsumerState::Connecting(Some(why)));
                    }
                }
                tokio::select! {
                    () = backoff.pause() => {}
                    () = cancel.cancelled() => break,
                }
            }
        });
        (receiver, watcher, task)
    }

    /// What keeps a member of groups from taking work.
    fn trouble(&self) -> Option<String> {
        self.ability.as_ref()?.trouble()
    }

    /// Wait until the bot can work. It is not connected meanwhile, so that the broker gives the work to others.
    async fn able(&self, state: &watch::Sender<ConsumerState>) {
        let Some(ability) = &self.ability else { return };
        while let Some(trouble) = ability.trouble() {
            state.send_replace(ConsumerState::Unable(trouble));
            ability.regained().await;
            state.send_replace(ConsumerState::Connecting(None));
        }
    }

    /// Messages that may wait to be acknowledged: those of this connection, and those of lost ones, which come again on it.
    fn unacknowledged(&self) -> usize {
        usize::from(self.options.receive_maximum) * CONNECTIONS
    }

    /// One connection, from CONNECT to its end.
    async fn connection(
        &self,
        way: &Way,
        state: &watch::Sender<ConsumerState>,
        backoff: &mut Backoff,
        known: &mut bool,
        cancel: &CancellationToken,
    ) -> End {
        let mut places = self.places.clone();
        let held = places.as_mut().map(|places| *places.borrow_and_update());
        let visit = self.presence.as_ref().and_then(Card::visit);
        let (client, mut events) = self.options.client_of(visit.as_ref(), held);
        let returned = CancellationToken::new();
        // Whether the broker wants to know of the places.
        let mut told = false;
        let mut unanswered = 0usize;
        // Whether messages came that there was no room for.
        let mut missed = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = way.drained(), if missed => {
                    return End::Broken("the broker is asked for the messages that there was no room for".to_owned());
                }
                () = cancel.cancelled() => {
                    let leaves = !told && self.heirs.as_ref().is_some_and(Heirs::stay);
                    let left = if leaves { self.filters.as_slice() } else { &[] };
                    goodbye(&client, &mut events, left, self.presence.as_ref()).await;
                    return End::Cancelled;
                }
                () = lost(self.ability.as_ref()) => return self.step_back(&client, &mut events, told, &returned).await,
                Some(number) = changed(&mut places), if told => {
                    if client.try_publish(PLACES_TOPIC, QoS::AtMostOnce, false, number.to_string()).is_err() {
                        return End::Broken("the connection takes no more packets".to_owned());
                    }
                    continue;
                }
            };
            match event {
                Err(error) => {
                    if self.options.take_overs.note(&self.options.client_id, &error) {
                        backoff.taken_over();
                    }
                    return End::Broken(why(&error));
                }
                Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                    backoff.reset();
                    told = is_of_ours(&connack);
                    self.options.concerns.note(&connack, self.options.session_expiry());
                    if self.trouble().is_some() {
                        return self.step_back(&client, &mut events, told, &returned).await;
                    }
                    if self.options.persistent && std::mem::replace(known, true) && !connack.session_present {
                        tracing::warn!(
                            client = self.options.client_id,
                            "the broker has forgotten this session; one that keeps no groups of its own may have lost what waited in it"
                        );
                    }
                    unanswered = self.filters.len();
                    for filter in &self.filters {
                        if let Err(error) = client.try_subscribe(filter, QoS::AtLeastOnce) {
                            return End::Broken(error.to_string());
                        }
                    }
                    if unanswered == 0 {
                        state.send_replace(ConsumerState::Subscribed);
                    }
                    if let (Some(card), Some(visit)) = (&self.presence, &visit) {
                        card.begin(visit);
                        // What a full queue has no room for, the host says again when it finds something else in its place.
                        let _ = client.try_publish(&visit.topic, QoS::AtLeastOnce, true, visit.hello.clone());
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    let refusal = ack
                        .return_codes
                        .iter()
                        .find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
                    if let Some(code) = refusal {
                        return End::Refused(format!("the broker refuses the subscription: {code:?}"));
                    }
                    unanswered = unanswered.saturating_sub(1);
                    if unanswered == 0 {
                        state.send_replace(ConsumerState::Subscribed);
                    }
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => match way.hand_over(publish, &client, &returned) {
                    Handed::Over => {}
                    Handed::NoRoom if missed => {}
                    Handed::NoRoom => {
                        missed = true;
                        self.say_missed();
                    }
                    Handed::Closed => return End::Cancelled,
                },
                Ok(_) => {}
            }
        }
    }

    /// Mosquitto brings all at once that it took for an away member's session, where its own limit is none. The connection lasts until
    /// those that found room are done with: were it given up at once, none of them could be acknowledged, and the next one would
    /// end in the same way, for ever. The others come again with the next connection.
    fn say_missed(&self) {
        tracing::info!(
            client = self.options.client_id,
            most = self.options.receive_maximum,
            "the broker brings more messages than may be unacknowledged; it is asked again for those that there was no room for"
        );
    }

    /// Leave the groups, with all of their messages that are not acknowledged. The end is an orderly one (DISCONNECT), so that the embedded
    /// broker gives them to other members at once, and counts no failed attempt. A broker that keeps a share of the messages for members that
    /// are away (Mosquitto) keeps those that it has sent, and no others, since the subscriptions end before. Without another member there they do
    /// not end: such a broker drops what comes for a group that has no member.
    async fn step_back(
        &self,
        client: &AsyncClient,
        events: &mut Polled,
        ours: bool,
        returned: &CancellationToken,
    ) -> End {
        // Before others can have them.
        returned.cancel();
        if ours || self.heirs.as_ref().is_none_or(Heirs::work) {
            leave(client, &self.filters);
        }
        let _ = client.try_disconnect();
        events.ends_within(STEP_BACK).await;
        End::Unable
    }
}

/// Without room for it the session stays subscribed; the embedded broker's groups leave it out all the same.
fn leave(client: &AsyncClient, filters: &[String]) {
    for filter in filters {
        let _ = client.try_unsubscribe(filter);
    }
}

/// What keeps a bot from work, once something does.
async fn lost(ability: Option<&BotAbility>) {
    match ability {
        Some(ability) => drop(ability.lost().await),
        None => std::future::pending().await,
    }
}

/// The number of places, when it changes.
async fn changed(places: &mut Option<watch::Receiver<u16>>) -> Option<u16> {
    let places = places.as_mut()?;
    places.changed().await.ok()?;
    Some(*places.borrow_and_update())
}

fn has_property(publish: &Publish, name: &str) -> bool {
    let properties = publish.properties.iter().flat_map(|all| &all.user_properties);
    properties.into_iter().any(|(key, _)| key == name)
}

enum End {
    Cancelled,
    /// Something keeps the bot from work.
    Unable,
    Refused(String),
    Broken(String),
}

/// Leave groups, take the leave and end the connection in order, so that the broker doesn't publish the will.
async fn goodbye(client: &AsyncClient, events: &mut Polled, groups: &[String], presence: Option<&Card>) {
    leave(client, groups);
    let mut said = true;
    for (topic, payload) in presence.into_iter().flat_map(Card::leave) {
        said &= client.try_publish(topic, QoS::AtLeastOnce, true, payload).is_ok();
    }
    let _ = client.try_disconnect();
    let end = async {
        while let Ok(event) = events.next().await {
            // What was said before is on its way then.
            if let (true, Event::Outgoing(Outgoing::Disconnect), Some(card)) = (said, event, presence) {
                card.has_left();
            }
        }
    };
    let _ = timeout(GOODBYE, end).await;
}
