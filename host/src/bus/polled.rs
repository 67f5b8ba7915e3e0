//! A connection's event loop, polled by a task that is never cancelled while the connection lasts.
//!
//! `EventLoop::poll` of rumqttc is not cancel-safe: it takes a request out of its queue, or a packet that wants an answer out of the socket, and
//! writes in the same future. One that is dropped while the socket is full has the packet in no queue and not on the wire, and the
//! connection goes on as if it had been sent (`a_poll_that_is_dropped_loses…` below). So nobody but the task in here polls,
//! and who owns the connection waits for [`Polled::next`], which may be dropped at any time: an event is in the channel until it is taken.
//!
//! *Backpressure.* The channel is bounded. While it is full the task waits between two polls, where no packet is in hand, and no more is read from
//! the socket, so that a broker that sends too much is slowed down by TCP. Nor are there any signs of life meanwhile, and that is meant: an owner that has
//! taken no event for the whole of a keep-alive is stuck, and the broker should give what it has to others. Owners handle events without waiting for
//! anybody, but for the publisher, which reads the ledger: for that long the channel has room for a whole window and its answers, and pings go on.
//! An answer to a ping that lay unread meanwhile is not held against the broker.
//!
//! *Silence.* rumqttc gives up a broker that does not answer a CONNECT within its connection timeout, or a ping until the next one is due. It waits for ever for
//! the answer to any other packet, and for room in a socket that the broker does not empty. Both end the connection here ([`Patience`]);
//! what was unanswered is sent again over the next one.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{ConnectionError, Event, EventLoop};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

/// Events that may wait for the owner: a window of rows that left, with their acknowledgements.
const ROOM: usize = 256;

/// How long a broker may leave the connection's packets alone.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For a PUBACK, SUBACK or UNSUBACK. The embedded broker sends a PUBACK once the message is on its disk, which may be a slow one.
    answer: Duration,
    /// For room in the socket, beyond the time in which a ping is sent and answered.
    socket: Duration,
}

impl Patience {
    const USUAL: Self = Self {
        answer: Duration::from_secs(120),
        socket: Duration::from_secs(10),
    };
}

/// What happens on a connection. Dropped, it ends the connection, without a DISCONNECT if none was sent.
pub(super) struct Polled {
    events: mpsc::Receiver<Result<Event, ConnectionError>>,
    poller: AbortHandle,
}

impl Polled {
    /// Have a task of its own poll that loop, from CONNECT on, until there is an error or nobody is left to hear of events.
    pub(super) fn start(events: EventLoop) -> Self {
        Self::with(events, ROOM, Patience::USUAL)
    }

    fn with(events: EventLoop, room: usize, patience: Patience) -> Self {
        let (sender, receiver) = mpsc::channel(room);
        Self {
            events: receiver,
            poller: tokio::spawn(poll(events, sender, patience)).abort_handle(),
        }
    }

    /// The next event, or the error that ended the connection. Cancel-safe: what is not returned is returned by the next call.
    ///
    /// # Errors
    /// [`ConnectionError`] once the connection has ended, and each time from then on.
    pub(super) async fn next(&mut self) -> Result<Event, ConnectionError> {
        self.events.recv().await.unwrap_or(Err(ConnectionError::RequestsDone))
    }

    /// Wait until the connection has ended, after a DISCONNECT, but no longer than that: what was sent before is on its way then.
    pub(super) async fn ends_within(&mut self, time: Duration) {
        let _ = timeout(time, async { while self.next().await.is_ok() {} }).await;
    }
}

impl Drop for Polled {
    // The last poll is cancelled, which harms nothing: its connection ends with it.
    fn drop(&mut self) {
        self.poller.abort();
    }
}

async fn poll(mut events: EventLoop, sender: mpsc::Sender<Result<Event, ConnectionError>>, patience: Patience) {
    let mut unanswered = Unanswered::default();
    loop {
        let Some(place) = place(&mut events, &sender).await else {
            return;
        };
        // It returns at least once in a keep-alive, for the ping; the broker may have set another one than was asked for.
        let most = 2 * events.options.keep_alive() + connecting(&events) + patience.socket;
        let event = match timeout(most, events.poll()).await {
            Ok(event) => event,
            Err(_) => Err(silent("it takes nothing of what is sent to it".to_owned())),
        };
        let event = event.and_then(|event| {
            unanswered.note(&event, Instant::now());
            unanswered.check(Instant::now(), patience.answer)?;
            Ok(event)
        });
        let is_end = event.is_err();
        place.send(event);
        if is_end {
            return;
        }
    }
}

/// A place for the next event; none if nobody is left to take it.
async fn place<'a>(
    events: &mut EventLoop,
    sender: &'a mpsc::Sender<Result<Event, ConnectionError>>,
) -> Option<mpsc::Permit<'a, Result<Event, ConnectionError>>> {
    if let Ok(place) = sender.try_reserve() {
        return Some(place);
    }
    let place = sender.reserve().await.ok();
    // The answer to the last ping may lie in the socket, and the next one be due.
    events.state.await_pingresp = false;
    place
}

/// How long the first poll may take to connect.
fn connecting(events: &EventLoop) -> Duration {
    Duration::from_secs(events.options.connection_timeout())
}

fn silent(why: String) -> ConnectionError {
    ConnectionError::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the broker does not answer: {why}"),
    ))
}

/// A packet that wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Publish,
    Subscribe,
    Unsubscribe,
}

/// Packets that the broker has not answered, oldest first. Never more than the connection has packet ids.
#[derive(Debug, Default)]
struct Unanswered {
    asked: VecDeque<(Asked, u16, Instant)>,
}

impl Unanswered {
    fn note(&mut self, event: &Event, now: Instant) {
        match event {
            // QoS 0, which is never answered, has no packet id.
            Event::Outgoing(Outgoing::Publish(0)) => {}
            Event::Outgoing(Outgoing::Publish(id)) => self.asked.push_back((Asked::Publish, *id, now)),
            Event::Outgoing(Outgoing::Subscribe(id)) => self.asked.push_back((Asked::Subscribe, *id, now)),
            Event::Outgoing(Outgoing::Unsubscribe(id)) => self.asked.push_back((Asked::Unsubscribe, *id, now)),
            Event::Incoming(Packet::PubAck(ack)) => self.answered(Asked::Publish, ack.pkid),
            Event::Incoming(Packet::SubAck(ack)) => self.answered(Asked::Subscribe, ack.pkid),
            Event::Incoming(Packet::UnsubAck(ack)) => self.answered(Asked::Unsubscribe, ack.pkid),
            _ => {}
        }
    }

    /// Brokers answer in order, mostly: it is found at the beginning.
    fn answered(&mut self, what: Asked, id: u16) {
        let place = self
            .asked
            .iter()
            .position(|(asked, other, _)| (*asked, *other) == (what, id));
        if let Some(place) = place {
            self.asked.remove(place);
        }
    }

    fn check(&self, now: Instant, patience: Duration) -> Result<(), ConnectionError> {
        match self.asked.front() {
            Some((what, _, at)) if now.saturating_duration_since(*at) > patience => {
                let packet = format!("{what:?}").to_uppercase();
                Err(silent(format!(
                    "no word about a {packet} packet for {} s",
                    patience.as_secs()
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
