//! What an older host left at a broker elsewhere: a bot's session under the client identifier of that time.
//!
//! Until it expires, a week after its end, such a session stays a member of its groups, and a broker that gives messages to
//! members that are away (Mosquitto does) gives it a share that nobody would come for. So it is taken up once more: it
//! leaves its groups, and what waits in it is handled. Once there is nothing left, it is removed.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, ConnectionError, Event};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{Backoff, ConnectionOptions};
use super::consumer::Delivery;
use super::polled::Polled;
use crate::ability::BotAbility;

/// A session that brings nothing for so long has nothing: what waits in it comes at once.
const QUIET: Duration = Duration::from_secs(10);

/// How long the broker may take to end a connection in order.
const GOODBYE: Duration = Duration::from_secs(2);

/// A session from before client identifiers had their present form.
#[derive(Debug, Clone)]
pub struct OldSession {
    options: ConnectionOptions,
    filters: Vec<String>,
}

/// How a connection ended.
enum End {
    /// There is no such session.
    Absent,
    /// Nothing is left in it.
    Empty,
    /// The bot ends.
    Cancelled,
    /// Something keeps the bot from work.
    Unable,
    /// Another attempt may do.
    Broken(String),
}

impl OldSession {
    /// The session that a bot had, with the same connection and filters as it has now.
    #[must_use]
    pub fn of(host: &str, bot: &str, connection: &ConnectionOptions, filters: &[String]) -> Self {
        Self {
            options: ConnectionOptions {
                client_id: format!("foundry-{host}-{bot}"),
                persistent: true,
                ..connection.clone()
            },
            filters: filters.to_vec(),
        }
    }

    /// Take it up, while the bot can work. Its messages come as long as there are any; one that was not acknowledged comes again with the next
    /// connection, once the bot can work again or at the next start. The task tells whether there is no such session any more.
    pub fn start(self, ability: BotAbility, cancel: CancellationToken) -> (mpsc::Receiver<Delivery>, JoinHandle<bool>) {
        let (deliveries, receiver) = mpsc::channel(usize::from(self.options.receive_maximum).max(1));
        let task = tokio::spawn(async move {
            let mut backoff = Backoff::new();
            loop {
                tokio::select! {
                    () = ability.regained() => {}
                    () = cancel.cancelled() => return false,
                }
                match self.connection(&deliveries, &ability, &cancel).await {
                    End::Absent => return true,
                    End::Empty => return self.remove().await,
                    End::Cancelled => return false,
                    End::Unable => continue,
                    End::Broken(why) => tracing::debug!(client = self.options.client_id, why, "not taken up"),
                }
                tokio::select! {
                    () = backoff.pause() => {}
                    () = cancel.cancelled() => return false,
                }
            }
        });
        (receiver, task)
    }

    async fn connection(
        &self,
        deliveries: &mpsc::Sender<Delivery>,
        ability: &BotAbility,
        cancel: &CancellationToken,
    ) -> End {
        let (client, mut events) = self.options.client();
        let mut brought = false;
        let mut left = false;
        let end = loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = tokio::time::sleep(QUIET), if left && !brought => break End::Empty,
                _ = ability.lost() => break End::Unable,
                () = cancel.cancelled() => break End::Cancelled,
            };
            match event {
                Err(error) => return End::Broken(error.to_string()),
                Ok(Event::Incoming(Packet::ConnAck(connack))) if !connack.session_present => break End::Absent,
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    tracing::info!(
                        client = self.options.client_id,
                        "takes up what an older version of this host left at the broker"
                    );
                    for filter in &self.filters {
                        if let Err(error) = client.try_unsubscribe(filter) {
                            return End::Broken(error.to_string());
                        }
                    }
                }
                Ok(Event::Incoming(Packet::UnsubAck(_))) => left = true,
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    brought = true;
                    tokio::select! {
                        sent = deliveries.send(Delivery::received(publish, &client)) => {
                            if sent.is_err() {
                                break End::Cancelled;
                            }
                        }
                        _ = ability.lost() => break End::Unable,
                        () = cancel.cancelled() => break End::Cancelled,
                    }
                }
                Ok(_) => {}
            }
        };
        goodbye(&client, &mut events).await;
        // A session that was not there has been made by asking for it.
        if matches!(end, End::Absent) {
            self.remove().await;
        }
        end
    }

    /// Remove the session: one that starts clean and does not last takes its place. Returns whether it did.
    async fn remove(&self) -> bool {
        let options = ConnectionOptions {
            persistent: false,
            ..self.options.clone()
        };
        let (client, mut events) = options.client();
        let connected = async {
            while !matches!(events.next().await?, Event::Incoming(Packet::ConnAck(_))) {}
            Ok::<(), ConnectionError>(())
        };
        let is_connected = matches!(timeout(QUIET, connected).await, Ok(Ok(())));
        if is_connected {
            goodbye(&client, &mut events).await;
        }
        is_connected
    }
}

async fn goodbye(client: &AsyncClient, events: &mut Polled) {
    let _ = client.try_disconnect();
    let _ = timeout(GOODBYE, async { while events.next().await.is_ok() {} }).await;
}
