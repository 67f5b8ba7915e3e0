//! A client that sees all presence there is, and what hosts say to each other, as it comes.

use std::sync::{Arc, Mutex};

use foundry_host::bus::BrokerAddress;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;
use tokio::task::JoinHandle;

/// What came, in its order: the topic without its first part, and what it said; of presence, the event's data.
pub struct Witness {
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    task: JoinHandle<()>,
}

impl Witness {
    /// Subscribed when it returns.
    pub async fn start(broker: &BrokerAddress) -> Self {
        let mut options = MqttOptions::new("witness", &broker.host, broker.port);
        if let Some((user, password)) = &broker.login {
            options.set_credentials(user, password);
        }
        let (client, mut events) = AsyncClient::new(options, 10);
        for topic in ["foundry/hosts/+", "foundry/bots/+/+", "foundry/peers/+"] {
            client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
        }
        let mut answers = 0;
        while answers < 3 {
            if let Event::Incoming(Packet::SubAck(_)) = events.poll().await.unwrap() {
                answers += 1;
            }
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let _client = client;
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(publish)) = event {
                    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                    let said: Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
                    let topic = topic.replacen("foundry/", "", 1);
                    // What hosts say to each other is looked at as a whole.
                    let said = match topic.starts_with("peers/") {
                        true => said,
                        false => said["data"].clone(),
                    };
                    kept.lock().unwrap().push((topic, said));
                }
            }
        });
        Self { seen, task }
    }

    /// What a topic said, in order.
    pub fn of(&self, topic: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        let of_topic = seen.iter().filter(|(of, _)| of == topic);
        of_topic.map(|(_, said)| said.clone()).collect()
    }

    /// The topics that had this status at some time.
    pub fn saw(&self, status: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let with = seen.iter().filter(|(_, said)| said["status"] == status);
        with.map(|(topic, _)| topic.clone()).collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
