//! The way from a session to whoever handles its messages: how many may be on it, and what becomes of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use super::consumer::Delivery;

/// Messages of QoS 0 that may wait to be handled, or be in hand.
pub(super) const UNCOUNTED: usize = 64;

/// A place of a message of QoS 0. The receive maximum does not bound them (MQTT 5, section 3.3.4).
#[derive(Debug)]
pub(super) struct Uncounted(Arc<AtomicUsize>);

impl Uncounted {
    /// One of [`UNCOUNTED`] places, if one is free. Whoever calls is the only one that takes any.
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        if taken.load(Ordering::Relaxed) >= UNCOUNTED {
            return None;
        }
        taken.fetch_add(1, Ordering::Relaxed);
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Pause between two looks whether those that wait have been taken.
const LOOK: Duration = Duration::from_millis(200);

/// The way to whoever handles the messages.
pub(super) struct Way {
    deliveries: mpsc::Sender<Delivery>,
    /// Messages of QoS 0 that are on it.
    uncounted: Arc<AtomicUsize>,
}

/// Whether a message that came could be handed over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handed {
    Over,
    /// There was no room for it: it stays unacknowledged.
    NoRoom,
    /// Nobody takes any more.
    Closed,
}

impl Way {
    /// To whoever receives them.
    pub(super) fn to(deliveries: mpsc::Sender<Delivery>) -> Self {
        Self {
            deliveries,
            uncounted: Arc::default(),
        }
    }

    /// Give a message to whoever handles it. Never waits: the session goes on acknowledging and showing signs of life, and can be
    /// cancelled, however long nobody takes any.
    pub(super) fn hand_over(&self, publish: Publish, client: &AsyncClient, returned: &CancellationToken) -> Handed {
        let is_uncounted = publish.qos == QoS::AtMostOnce;
        let uncounted = is_uncounted.then(|| Uncounted::take(&self.uncounted)).flatten();
        // They may be lost (MQTT 5, section 4.3.1).
        if is_uncounted && uncounted.is_none() {
            tracing::debug!(topic = ?publish.topic, "dropped a message of QoS 0: too many wait");
            return Handed::Over;
        }
        let delivery = Delivery::over_way(publish, client, returned.clone(), uncounted);
        match self.deliveries.try_send(delivery) {
            Ok(()) => Handed::Over,
            Err(TrySendError::Full(_)) => Handed::NoRoom,
            Err(TrySendError::Closed(_)) => Handed::Closed,
        }
    }

    /// Wait until all that were handed over have been taken, those of QoS 0 aside, of which anybody may send any number.
    pub(super) async fn drained(&self) {
        let on_it = || self.deliveries.max_capacity() - self.deliveries.capacity();
        while on_it() > self.uncounted.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use rumqttc::v5::{EventLoop, MqttOptions};

    use super::*;

    fn message(qos: QoS) -> Publish {
        Publish::new("foundry/bots/b/x", qos, "{}", None)
    }

    /// A way on which so many messages may wait, and a client to come over.
    fn way(room: usize) -> (Way, mpsc::Receiver<Delivery>, AsyncClient, EventLoop) {
        let (deliveries, receiver) = mpsc::channel(room);
        let (client, events) = AsyncClient::new(MqttOptions::new("c", "localhost", 1), 10);
        let way = Way::to(deliveries);
        (way, receiver, client, events)
    }

    fn handed(way: &Way, qos: QoS, client: &AsyncClient) -> Handed {
        way.hand_over(message(qos), client, &CancellationToken::new())
    }

    #[tokio::test]
    async fn messages_of_qos_1_that_wait_take_no_room_of_those_of_qos_0() {
        let (way, mut receiver, client, _events) = way(4 * UNCOUNTED);
        for _ in 0..2 * UNCOUNTED {
            assert_eq!(handed(&way, QoS::AtLeastOnce, &client), Handed::Over);
        }
        for _ in 0..2 * UNCOUNTED {
            assert_eq!(handed(&way, QoS::AtMostOnce, &client), Handed::Over);
        }
        assert_eq!(receiver.len(), 3 * UNCOUNTED, "the others of QoS 0 are dropped");
        while receiver.try_recv().is_ok() {}
        assert_eq!(handed(&way, QoS::AtMostOnce, &client), Handed::Over);
        assert_eq!(receiver.len(), 1, "there is room again");
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_asked_for_again_once_the_others_are_taken() {
        let (way, mut receiver, client, _events) = way(2);
        let all = [0, 1, 2].map(|_| handed(&way, QoS::AtLeastOnce, &client));
        assert_eq!(all, [Handed::Over, Handed::Over, Handed::NoRoom]);
        let drained = way.drained();
        tokio::pin!(drained);
        receiver.try_recv().unwrap();
        assert!(drained.as_mut().now_or_never().is_none(), "one waits");
        receiver.try_recv().unwrap();
        drained.await;
    }
}
