//! The outbox's way to the broker: a row is forgotten only when the broker has acknowledged it (PUBACK).

use std::collections::{HashMap, VecDeque};

use foundry_broker::killpoint;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::connection::{Backoff, ConnectionOptions};
use crate::ledger::{Ledger, LedgerError};

/// Rows that are on their way at the same time.
const WINDOW: usize = 128;

/// Live messages that may wait; more are dropped, since nothing depends on them.
const LIVE: usize = 4096;

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

/// Publishes the ledger's outbox, and live messages.
#[derive(Clone)]
pub struct Publisher {
    live: mpsc::Sender<LiveMessage>,
}

impl Publisher {
    /// Run until cancelled, over any number of connections.
    #[must_use]
    pub fn start(
        options: ConnectionOptions,
        hello: Option<LiveMessage>,
        ledger: Ledger,
        cancel: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (live, queue) = mpsc::channel(LIVE);
        let task = tokio::spawn(run(options, hello, ledger, queue, cancel));
        (Self { live }, task)
    }

    /// Send a live message, if there is room for it.
    pub fn live(&self, message: LiveMessage) {
        let _ = self.live.try_send(message);
    }
}

async fn run(
    options: ConnectionOptions,
    hello: Option<LiveMessage>,
    ledger: Ledger,
    mut live: mpsc::Receiver<LiveMessage>,
    cancel: CancellationToken,
) {
    let mut backoff = Backoff::new();
    let mut warned = false;
    loop {
        let end = tokio::select! {
            end = connection(&options, hello.as_ref(), &ledger, &mut live, &mut backoff, &mut warned) => end,
            () = cancel.cancelled() => return,
        };
        // Said once, not at each attempt: the broker may be away for hours.
        if !std::mem::replace(&mut warned, true) {
            tracing::warn!(broker = ?options.broker, why = end, "no connection to the broker; messages wait in the outbox");
        }
        tokio::select! {
            () = backoff.pause() => {}
            () = cancel.cancelled() => return,
        }
    }
}

/// One connection. Whatever was unacknowledged at its end is sent again by the next one, from the ledger.
async fn connection(
    options: &ConnectionOptions,
    hello: Option<&LiveMessage>,
    ledger: &Ledger,
    live: &mut mpsc::Receiver<LiveMessage>,
    backoff: &mut Backoff,
    warned: &mut bool,
) -> String {
    let (client, mut events) = options.client();
    let mut flight = Flight::default();
    let mut connected = false;
    loop {
        tokio::select! {
            event = events.poll() => match event {
                Err(error) => return error.to_string(),
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    connected = true;
                    backoff.reset();
                    if std::mem::take(warned) {
                        tracing::info!(broker = ?options.broker, "connected to the broker again");
                    }
                    if let Some(hello) = hello {
                        send_live(&client, hello);
                    }
                    if let Err(error) = flight.fill(ledger, &client).await {
                        return error.to_string();
                    }
                }
                Ok(Event::Outgoing(Outgoing::Publish(packet_id))) => flight.left(packet_id),
                Ok(Event::Incoming(Packet::PubAck(ack))) => {
                    let accepted = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                    if !accepted {
                        return format!("the broker refuses a message: {:?}", ack.reason);
                    }
                    killpoint::pass("before-forget");
                    if let Some(seq) = flight.acknowledged(ack.pkid) {
                        forget(ledger, seq);
                    }
                    if flight.has_room() && let Err(error) = flight.fill(ledger, &client).await {
                        return error.to_string();
                    }
                }
                Ok(_) => {}
            },
            () = ledger.outbox_changed(), if connected => {
                if let Err(error) = flight.fill(ledger, &client).await {
                    return error.to_string();
                }
            }
            Some(message) = live.recv(), if connected => send_live(&client, &message),
        }
    }
}

fn send_live(client: &AsyncClient, message: &LiveMessage) {
    let _ = client.try_publish(&message.topic, QoS::AtMostOnce, message.retain, message.payload.clone());
}

/// Forget an acknowledged row. Nobody waits for it: the ledger commits many of these at once, and a row that a crash
/// brings back is only sent again.
fn forget(ledger: &Ledger, seq: i64) {
    let ledger = ledger.clone();
    tokio::spawn(async move {
        if let Err(error) = ledger.published(vec![seq]).await {
            tracing::warn!(%error, "a published message stays in the outbox and will be sent again");
        }
    });
}

/// The outbox rows that are on their way, and which packet carries which.
#[derive(Default)]
struct Flight {
    last: i64,
    more: bool,
    queued: VecDeque<i64>,
    carried: HashMap<u16, i64>,
}

impl Flight {
    fn in_hand(&self) -> usize {
        self.queued.len() + self.carried.len()
    }

    /// Whether rows that had no room last time may have it now: half a window at a time, so that one read of the
    /// ledger serves many acknowledgements.
    fn has_room(&self) -> bool {
        self.more && self.in_hand() <= WINDOW / 2
    }

    /// Hand more rows to the client, up to the window.
    async fn fill(&mut self, ledger: &Ledger, client: &AsyncClient) -> Result<(), LedgerError> {
        let room = WINDOW.saturating_sub(self.in_hand());
        let rows = ledger.outbox(self.last, room as u32).await?;
        self.more = rows.len() == room;
        for row in rows {
            if client
                .try_publish(&row.topic, QoS::AtLeastOnce, false, row.payload)
                .is_err()
            {
                self.more = true;
                break;
            }
            self.last = row.seq;
            self.queued.push_back(row.seq);
        }
        Ok(())
    }

    /// The client has given the oldest queued row a packet id. QoS 0 messages have packet id 0.
    fn left(&mut self, packet_id: u16) {
        if packet_id != 0
            && let Some(seq) = self.queued.pop_front()
        {
            self.carried.insert(packet_id, seq);
        }
    }

    /// The row that an acknowledged packet carried.
    fn acknowledged(&mut self, packet_id: u16) -> Option<i64> {
        self.carried.remove(&packet_id)
    }
}
