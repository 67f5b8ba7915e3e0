//! Looking on: an ordinary subscription whose messages are shown to a person, with what became of their signatures.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::connection::ConnectionOptions;
use super::consumer::{Consumer, ConsumerState, Delivery};
use crate::event::Verifier;
use crate::event::policy::presented_on;

/// Messages that a slow onlooker may be behind before some are left out.
const BACKLOG: usize = 1024;

/// A message as an onlooker sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sighting {
    /// Topic, without the prefix where it has it.
    pub topic: String,
    /// Whether the broker had kept it from before.
    pub retained: bool,
    /// What its signature is worth.
    pub seal: Seal,
    /// The payload: JSON as it is, anything else as text.
    pub payload: Value,
    /// Messages that were left out before this one, since the onlooker was too slow.
    pub missed: u64,
}

/// What a message's signature is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seal {
    /// Signed by a trusted key, and fit to be handled.
    Verified,
    /// Bots would refuse it; why.
    Refused(String),
    /// Live logs carry no signature, and the removal of presence is no word of anybody.
    Unsigned,
}

/// Subscribe to a filter, without prefix, until cancelled.
#[must_use]
pub fn tap(
    options: ConnectionOptions,
    filter: &str,
    verifier: Arc<Verifier>,
    cancel: CancellationToken,
) -> (mpsc::Receiver<Sighting>, watch::Receiver<ConsumerState>) {
    let consumer = Consumer::onlooker(options, vec![verifier.topics.full(filter)]);
    let (mut deliveries, state, _task) = consumer.start(cancel.clone());
    let (sightings, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        let mut missed = 0;
        loop {
            let delivery = tokio::select! {
                delivery = deliveries.recv() => delivery,
                // Nobody looks any more.
                () = sightings.closed() => None,
            };
            let Some(delivery) = delivery else { break };
            let sighting = Sighting {
                missed,
                ..see(&delivery, &verifier)
            };
            // A slow onlooker must not hold up the session, which has the broker's pings to answer.
            match sightings.try_send(sighting) {
                Ok(()) => missed = 0,
                Err(_) => missed += 1,
            }
            delivery.acknowledge();
        }
        cancel.cancel();
    });
    (receiver, state)
}

fn see(delivery: &Delivery, verifier: &Verifier) -> Sighting {
    let topic = verifier.topics.short(&delivery.topic);
    let is_removal = delivery.payload.is_empty() && presented_on(topic).is_some();
    let seal = if topic.starts_with("logs/") || is_removal {
        Seal::Unsigned
    } else {
        match verifier.verify(&delivery.payload, &delivery.topic, OffsetDateTime::now_utc()) {
            Ok(_) => Seal::Verified,
            Err(refusal) => Seal::Refused(refusal.to_string()),
        }
    };
    let payload = serde_json::from_slice(&delivery.payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&delivery.payload).into_owned()));
    Sighting {
        topic: topic.to_owned(),
        retained: delivery.retained,
        seal,
        payload,
        missed: 0,
    }
}
