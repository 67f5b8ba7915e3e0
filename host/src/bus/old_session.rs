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
    events.ends_within(GOODBYE).await;
}

#[cfg(test)]
mod tests {
    use foundry_broker::Broker;
    use rumqttc::v5::MqttOptions;
    use rumqttc::v5::mqttbytes::QoS;

    use super::*;
    use crate::ability::{Ability, Whom};
    use crate::bus::{BrokerAddress, Concerns, TakeOvers};

    /// Whatever a test waits for comes much sooner.
    const LONG: Duration = Duration::from_secs(180);

    const FILTER: &str = "left";

    async fn broker(directory: &std::path::Path) -> Broker {
        let config = foundry_broker::Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: directory.to_owned(),
            ..foundry_broker::Config::default()
        };
        Broker::start(config).await.unwrap()
    }

    fn connection(broker: &Broker) -> ConnectionOptions {
        let owner = broker.owner();
        let login = Some((owner.user().to_owned(), owner.password().to_owned()));
        ConnectionOptions {
            broker: BrokerAddress {
                login,
                ..BrokerAddress::local(broker.address())
            },
            client_id: "foundry/h/b".to_owned(),
            persistent: true,
            receive_maximum: 4,
            tls: None,
            keep_alive: Duration::from_secs(20),
            concerns: Concerns::default(),
            take_overs: TakeOvers::default(),
        }
    }

    /// Do something over a connection of a session, and end it in order once there is such an answer.
    async fn visit(broker: &Broker, id: &str, ask: impl FnOnce(&AsyncClient), is_answer: impl Fn(&Packet) -> bool) {
        let address = broker.address();
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options
            .set_credentials(broker.owner().user(), broker.owner().password())
            .set_clean_start(false)
            .set_session_expiry_interval(Some(3600));
        let (client, mut events) = AsyncClient::new(options, 10);
        ask(&client);
        loop {
            if let Event::Incoming(packet) = events.poll().await.unwrap()
                && is_answer(&packet)
            {
                break;
            }
        }
        client.try_disconnect().unwrap();
        while events.poll().await.is_ok() {}
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_old_session_is_taken_up_only_while_its_bot_can_work() {
        let directory = tempfile::tempdir().unwrap();
        let broker = broker(directory.path()).await;
        let subscribe = |client: &AsyncClient| client.try_subscribe(FILTER, QoS::AtLeastOnce).unwrap();
        visit(&broker, "foundry-h-b", subscribe, |packet| {
            matches!(packet, Packet::SubAck(_))
        })
        .await;
        let publish = |client: &AsyncClient| client.try_publish(FILTER, QoS::AtLeastOnce, false, "x").unwrap();
        visit(&broker, "other", publish, |packet| matches!(packet, Packet::PubAck(_))).await;

        let ability = Ability::default();
        let lose = || ability.lose(Whom::All, "test", "no".to_owned());
        let regain = || ability.regain(Whom::All, "test");
        lose();
        let cancel = CancellationToken::new();
        let session = OldSession::of("h", "b", &connection(&broker), &[FILTER.to_owned()]);
        let (mut deliveries, task) = session.start(ability.of_bot("b", false), cancel.clone());
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(deliveries.is_empty(), "it is taken up though the bot cannot work");
        }
        regain();
        let delivery = timeout(LONG, deliveries.recv()).await.unwrap().unwrap();
        assert_eq!(&delivery.payload[..], b"x");
        // It is not acknowledged, so it comes again with the next connection, once this one has ended.
        let again = async {
            loop {
                lose();
                tokio::time::sleep(Duration::from_millis(50)).await;
                regain();
                if let Ok(Some(delivery)) = timeout(Duration::from_millis(500), deliveries.recv()).await {
                    return delivery;
                }
            }
        };
        let delivery = timeout(LONG, again).await.unwrap();
        assert!(delivery.again);
        cancel.cancel();
        assert!(
            !timeout(LONG, task).await.unwrap().unwrap(),
            "there is something left in it"
        );
    }
}
