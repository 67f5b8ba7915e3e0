//! The outbox's way to the broker: a row is forgotten only when the broker has acknowledged it (PUBACK).

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use foundry_broker::killpoint;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAck, PublishProperties};
use rumqttc::v5::{AsyncClient, Event};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::connection::{Backoff, ConnectionOptions, is_of_ours, why};
use super::flight::{Carried, Fate, Flight, Keeping};
use super::herald::{Card, Visit};
use super::packet_size::packet_size;
use crate::ledger::{Ledger, LedgerError, OutboxRow, Size};

/// User property of an event that another host, or this one before, may have published already.
pub const AGAIN_PROPERTY: &str = "foundry-again";

/// How long the publisher's connection may be silent. The host's presence is the will of this connection, and what is kept
/// until the broker has proved to be alive should not be kept for long.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Live messages that may wait; more are dropped, since nothing depends on them.
const LIVE: usize = 4096;

/// Pause before the ledger is asked again to forget a row.
const LEDGER_PAUSE: Duration = Duration::from_secs(1);

/// A message that is only for whoever listens now: log lines, presence.
#[derive(Debug, Clone)]
pub struct LiveMessage {
    /// Full topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
}

/// How the publisher and its broker are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublisherStatus {
    /// Whether there is a connection.
    pub connected: bool,
    /// Since when there has been none, once an attempt has failed.
    pub disconnected_since: Option<OffsetDateTime>,
    /// Why not, or why a topic's events wait.
    pub trouble: Option<String>,
    /// Events in the outbox that the broker has acknowledged, and that are kept in case that it dies and forgets them.
    pub kept: u64,
}

/// For how long what the broker does not do is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long an event that nobody subscribes to is kept, for brokers that forget shared subscriptions when they
    /// restart.
    pub readers: Duration,
    /// How long an acknowledged event is kept, for brokers that acknowledge before they write.
    pub disk: Duration,
}

impl Patience {
    /// For a broker whose acknowledgement says that the message is on disk, and whose groups outlive it.
    pub const NONE: Self = Self {
        readers: Duration::ZERO,
        disk: Duration::ZERO,
    };
}

/// The part of the outbox that kept events may fill.
const KEPT: u64 = 4;

/// Publishes the ledger's outbox, and live messages.
#[derive(Clone)]
pub struct Publisher {
    live: mpsc::Sender<LiveMessage>,
    status: watch::Receiver<PublisherStatus>,
}

impl Publisher {
    /// Run until cancelled, over any number of connections.
    #[must_use]
    pub fn start(
        options: ConnectionOptions,
        presence: Option<Card>,
        patience: Patience,
        ledger: Ledger,
        cancel: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (live, queue) = mpsc::channel(LIVE);
        let (status, watcher) = watch::channel(PublisherStatus::default());
        let (gone, goners) = mpsc::unbounded_channel();
        let line = Line {
            options,
            presence,
            ledger,
            live: queue,
            status,
            gone,
            goners,
            patience,
            warned: false,
        };
        let task = tokio::spawn(line.run(cancel));
        (Self { live, status: watcher }, task)
    }

    /// Send a live message, if there is room for it.
    pub fn live(&self, message: LiveMessage) {
        let _ = self.live.try_send(message);
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> PublisherStatus {
        self.status.borrow().clone()
    }
}

/// The publisher's end of the line to the broker.
struct Line {
    options: ConnectionOptions,
    presence: Option<Card>,
    ledger: Ledger,
    live: mpsc::Receiver<LiveMessage>,
    status: watch::Sender<PublisherStatus>,
    /// Rows that the ledger has forgotten.
    gone: mpsc::UnboundedSender<i64>,
    goners: mpsc::UnboundedReceiver<i64>,
    patience: Patience,
    warned: bool,
}

impl Line {
    async fn run(mut self, cancel: CancellationToken) {
        let doubtful = tokio::select! {
            doubtful = self.doubtful() => doubtful,
            () = cancel.cancelled() => return,
        };
        let mut flight = Flight::new(doubtful);
        let mut backoff = Backoff::new();
        loop {
            let end = tokio::select! {
                end = self.connection(&mut flight, &mut backoff) => end,
                () = cancel.cancelled() => return,
            };
            // Said once, not at each attempt: the broker may be away for hours.
            if !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(broker = ?self.options.broker, why = end, "no connection to the broker; messages wait in the outbox");
            }
            self.status.send_modify(|status| {
                status.connected = false;
                status.disconnected_since.get_or_insert_with(OffsetDateTime::now_utc);
                status.trouble = Some(end);
            });
            tokio::select! {
                () = backoff.pause() => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// The newest row that a process that ended may have sent.
    async fn doubtful(&self) -> i64 {
        loop {
            match self.ledger.newest_in_outbox().await {
                Ok(seq) => return seq,
                Err(error) => tracing::error!(%error, "cannot read the outbox; trying again"),
            }
            tokio::time::sleep(LEDGER_PAUSE).await;
        }
    }

    /// One connection. Whatever was unacknowledged at its end is sent again by the next one, from the ledger.
    async fn connection(&mut self, flight: &mut Flight, backoff: &mut Backoff) -> String {
        let visit = self.presence.as_ref().and_then(Card::visit);
        let (client, mut events) = self.options.client_of(visit.as_ref(), None);
        let mut largest = None;
        let mut connected = false;
        flight.reconnected();
        loop {
            let alarm = flight.alarm(Instant::now()).filter(|_| connected);
            let fill = tokio::select! {
                event = events.next() => match event {
                    Err(error) => {
                        if self.options.take_overs.note(&self.options.client_id, &error) {
                            backoff.taken_over();
                        }
                        return why(&error);
                    }
                    Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                        connected = true;
                        backoff.reset();
                        largest = largest_packet(&connack);
                        self.options.concerns.note(&connack, None);
                        flight.at_broker(self.patience.readers, self.keeping(&connack));
                        self.greet(&client, flight, visit.as_ref());
                        true
                    }
                    Ok(Event::Outgoing(Outgoing::Publish(packet_id))) => {
                        flight.left(packet_id);
                        false
                    }
                    Ok(Event::Incoming(Packet::PubAck(ack))) => {
                        self.answered(flight, &ack);
                        self.heard(flight);
                        flight.has_room()
                    }
                    Ok(Event::Incoming(_)) => {
                        self.heard(flight);
                        false
                    }
                    Ok(_) => false,
                },
                () = self.ledger.outbox_changed(), if connected => true,
                () = until(alarm), if alarm.is_some() => true,
                Some(seq) = self.goners.recv() => {
                    flight.gone(seq);
                    false
                }
                Some(message) = self.live.recv(), if connected => {
                    send_live(&client, flight, &message);
                    false
                }
            };
            if fill && let Err(error) = self.fill(flight, &client, largest).await {
                return error.to_string();
            }
        }
    }

    fn greet(&mut self, client: &AsyncClient, flight: &mut Flight, visit: Option<&Visit>) {
        if std::mem::take(&mut self.warned) {
            tracing::info!(broker = ?self.options.broker, "connected to the broker again");
        }
        self.status.send_modify(|status| {
            status.connected = true;
            status.disconnected_since = None;
            status.trouble = None;
        });
        if let (Some(card), Some(visit)) = (&self.presence, visit) {
            card.begin(visit);
            let hello = LiveMessage {
                topic: visit.topic.clone(),
                payload: visit.hello.clone(),
                retain: true,
            };
            send_live(client, flight, &hello);
        }
    }

    fn answered(&self, flight: &mut Flight, ack: &PubAck) {
        match flight.answered(ack.pkid, ack.reason, Instant::now()) {
            None => {}
            Some(Fate::Accepted) => {
                self.status.send_if_modified(|status| status.trouble.take().is_some());
            }
            Some(Fate::Bury(seq, why)) => self.bury(seq, why),
            Some(Fate::Later(why, pause)) => {
                let said = ack
                    .properties
                    .as_ref()
                    .and_then(|properties| properties.reason_string.clone());
                let why = said.map_or_else(|| why.clone(), |said| format!("{why}: {said}"));
                tracing::debug!(why, ?pause, "an event waits");
                self.status
                    .send_modify(|status| status.trouble = Some(format!("events wait: {why}")));
            }
        }
    }

    /// The broker is alive: what it acknowledged long enough ago can be forgotten.
    fn heard(&self, flight: &mut Flight) {
        let over = flight.heard(Instant::now());
        if !over.is_empty() {
            killpoint::pass("before-forget");
            self.forget(over);
        }
        let kept = flight.kept();
        self.status
            .send_if_modified(|status| std::mem::replace(&mut status.kept, kept) != kept);
    }

    /// What this broker makes it necessary to keep.
    fn keeping(&self, connack: &ConnAck) -> Keeping {
        if self.patience.disk.is_zero() || is_of_ours(connack) {
            return Keeping::NONE;
        }
        let limits = self.ledger.outbox_level().borrow().limits();
        Keeping {
            patience: self.patience.disk,
            most: Size {
                rows: limits.rows / KEPT,
                bytes: limits.bytes / KEPT,
            },
        }
    }

    /// Hand more rows to the client, up to the window.
    async fn fill(&self, flight: &mut Flight, client: &AsyncClient, largest: Option<usize>) -> Result<(), LedgerError> {
        let now = Instant::now();
        let (after, limit) = flight.next_rows(now);
        if limit == 0 {
            flight.there_is_more(true);
            return Ok(());
        }
        let rows = self
            .ledger
            .outbox(after, limit as u32, flight.waiting_topics(now))
            .await?;
        flight.there_is_more(rows.len() == limit);
        for row in rows {
            if !flight.wants(row.seq) {
                continue;
            }
            let again = row.again || flight.is_doubtful(row.seq);
            let property = again.then_some((AGAIN_PROPERTY, "1"));
            let size = packet_size(&row.topic, row.payload.len(), property);
            if let Some(largest) = largest.filter(|largest| size > *largest) {
                self.bury(
                    row.seq,
                    format!("it makes a packet of {size} bytes, and the broker takes {largest} at most"),
                );
                continue;
            }
            let seq = row.seq;
            let carried = Carried {
                seq,
                topic: row.topic.clone(),
                bytes: row.payload.len() as u64,
            };
            if !publish(client, row, property) {
                flight.put_back(seq);
                break;
            }
            flight.sent(carried);
        }
        Ok(())
    }

    /// Forget acknowledged rows. Nobody waits for it: the ledger commits many of these at once, and a row that a crash
    /// brings back is only sent again.
    fn forget(&self, seqs: Vec<i64>) {
        let (ledger, gone) = (self.ledger.clone(), self.gone.clone());
        tokio::spawn(async move {
            while let Err(error) = ledger.published(seqs.clone()).await {
                if matches!(error, LedgerError::Closed) {
                    return;
                }
                tracing::warn!(%error, "published messages stay in the outbox");
                tokio::time::sleep(LEDGER_PAUSE).await;
            }
            for seq in seqs {
                let _ = gone.send(seq);
            }
        });
    }

    /// Set a row aside that the broker will never take.
    fn bury(&self, seq: i64, why: String) {
        let (ledger, gone) = (self.ledger.clone(), self.gone.clone());
        tokio::spawn(async move {
            loop {
                match ledger.refused(seq, &why).await {
                    Ok(Some(number)) => {
                        tracing::warn!(
                            number,
                            why,
                            "an event is a dead letter (see `foundry-host dead-letters`)"
                        );
                        break;
                    }
                    Ok(None) => break,
                    Err(LedgerError::Closed) => return,
                    Err(error) => tracing::warn!(%error, "cannot set a refused event aside; trying again"),
                }
                tokio::time::sleep(LEDGER_PAUSE).await;
            }
            let _ = gone.send(seq);
        });
    }
}

/// Returns whether the client had room for it.
fn publish(client: &AsyncClient, row: OutboxRow, property: Option<(&str, &str)>) -> bool {
    let OutboxRow { topic, payload, .. } = row;
    match property {
        None => client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_ok(),
        Some((name, value)) => {
            let properties = PublishProperties {
                user_properties: vec![(name.to_owned(), value.to_owned())],
                ..PublishProperties::default()
            };
            client
                .try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
                .is_ok()
        }
    }
}

/// What the broker keeps is presence, which readers may not lose: it counts among what is on its way, as rows do.
fn send_live(client: &AsyncClient, flight: &mut Flight, message: &LiveMessage) {
    let qos = if message.retain {
        QoS::AtLeastOnce
    } else {
        QoS::AtMostOnce
    };
    let sent = client.try_publish(&message.topic, qos, message.retain, message.payload.clone());
    if sent.is_ok() && message.retain {
        flight.sent_live();
    }
}

/// The largest packet that the broker takes, if it says.
fn largest_packet(connack: &ConnAck) -> Option<usize> {
    let largest = connack.properties.as_ref()?.max_packet_size?;
    Some(largest as usize)
}

async fn until(alarm: Option<Instant>) {
    if let Some(alarm) = alarm {
        tokio::time::sleep_until(alarm.into()).await;
    }
}
