//! What this host knows of the others: who is there, and which events went by.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::connection::ConnectionOptions;
use super::consumer::{Consumer, ConsumerState, Delivery};
use super::crowd::{Crowd, Full, MAX_PRESENCE};
use super::record::record;
use crate::event::Verifier;
use crate::ledger::{Ledger, LedgerError};

/// Messages that may be unacknowledged at the observer.
const RECEIVE_MAXIMUM: u16 = 256;

/// A bot, as it presents itself on `foundry/bots/<host>/<bot>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its host.
    pub host: String,
    /// Its name there.
    pub bot: String,
    /// What it is: `buildbot`.
    pub component: String,
    /// `starting`, `running`, `quarantined`, `stopping`, or `offline` once its host is gone.
    pub status: String,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Topics that it reads.
    #[serde(default)]
    pub reads: Vec<String>,
    /// Topics that it publishes to.
    #[serde(default)]
    pub publishes: Vec<String>,
    /// Since when it is loaded, RFC 3339.
    pub since: String,
}

/// Keeps the presence of all bots, and the events of all hosts.
pub struct Observer {
    bots: Arc<Mutex<Crowd>>,
}

impl Observer {
    /// Begin to watch the broker. Events on `event_topics` (without prefix) are recorded for `runs`.
    #[must_use]
    pub fn start(
        options: ConnectionOptions,
        event_topics: &[String],
        verifier: Arc<Verifier>,
        ledger: Ledger,
        cancel: CancellationToken,
    ) -> (Self, watch::Receiver<ConsumerState>) {
        let bots = Arc::new(Mutex::default());
        let topics = &verifier.topics;
        let mut filters = vec![topics.full("bots/+/+")];
        filters.extend(event_topics.iter().map(|topic| topics.full(topic)));
        let (_, hello) = watch::channel(None);
        let options = ConnectionOptions {
            receive_maximum: RECEIVE_MAXIMUM,
            ..options
        };
        let (deliveries, state, _task) = Consumer {
            options,
            filters,
            hello,
            places: None,
        }
        .start(cancel);
        let recorder = Recorder {
            bots: Arc::clone(&bots),
            said_full: AtomicBool::new(false),
            verifier,
            ledger,
        };
        tokio::spawn(recorder.run(deliveries));
        (Self { bots }, state)
    }

    /// All bots that are known on the broker, by host and name.
    #[must_use]
    pub fn bots(&self) -> Vec<Presence> {
        self.bots
            .lock()
            .map(|bots| bots.all().cloned().collect())
            .unwrap_or_default()
    }
}

struct Recorder {
    bots: Arc<Mutex<Crowd>>,
    /// Whether it was said that there are too many bots to know.
    said_full: AtomicBool,
    verifier: Arc<Verifier>,
    ledger: Ledger,
}

impl Recorder {
    async fn run(self, mut deliveries: mpsc::Receiver<Delivery>) {
        while let Some(delivery) = deliveries.recv().await {
            let topic = self.verifier.topics.short(&delivery.topic);
            if topic.starts_with("bots/") {
                self.presence(topic, &delivery.payload).await;
            } else {
                self.event(&delivery).await;
            }
            delivery.acknowledge();
        }
    }

    async fn presence(&self, topic: &str, payload: &[u8]) {
        // A bot speaks for itself only.
        let presence = Some(payload)
            .filter(|payload| payload.len() <= MAX_PRESENCE)
            .and_then(|payload| serde_json::from_slice::<Presence>(payload).ok())
            .filter(|presence| topic == format!("bots/{}/{}", presence.host, presence.bot));
        let left = {
            let Ok(mut bots) = self.bots.lock() else { return };
            match presence.clone().map(|presence| bots.enter(topic, presence)) {
                Some(Ok(before)) => before,
                Some(Err(Full)) => return self.say_full(),
                None => bots.leave(topic),
            }
        };
        if let Err(error) = self.membership(presence.as_ref(), left.as_ref()).await {
            tracing::warn!(%error, "cannot note who else is in a group");
        }
    }

    fn say_full(&self) {
        if !self.said_full.swap(true, Ordering::Relaxed) {
            tracing::warn!("there are too many bots on the broker: those that came last are not in the list");
        }
    }

    /// Note which other hosts have a member of which group, also of those that are away: they may have settled what
    /// comes here again. One that takes its leave is forgotten after a while.
    async fn membership(&self, now: Option<&Presence>, before: Option<&Presence>) -> Result<(), LedgerError> {
        let group_of = |presence: &Presence| presence.group.clone().filter(|_| presence.host != self.verifier.host);
        if let Some((presence, group)) = now.and_then(|presence| Some((presence, group_of(presence)?))) {
            if !self.ledger.remember_peer(&group, &presence.host).await? {
                tracing::debug!(
                    group,
                    host = presence.host,
                    "not remembered: too many hosts are in groups"
                );
            }
            return Ok(());
        }
        let Some((left, group)) = before.and_then(|left| Some((left, group_of(left)?))) else {
            return Ok(());
        };
        let has_another = self.bots.lock().is_ok_and(|bots| {
            bots.all()
                .any(|other| other.host == left.host && other.group.as_ref() == Some(&group))
        });
        if has_another {
            return Ok(());
        }
        self.ledger
            .peer_left(&group, &left.host, OffsetDateTime::now_utc())
            .await
    }

    /// Refused events are the business of the bots they were meant for; here they are just not recorded. One whose reason may pass is
    /// kept for then.
    async fn event(&self, delivery: &Delivery) {
        let topic = self.verifier.topics.short(&delivery.topic);
        let now = OffsetDateTime::now_utc();
        let kept = match self.verifier.verify(&delivery.payload, &delivery.topic, now) {
            Ok(event) => record(&self.ledger, &self.verifier, &event, topic).await,
            Err(refusal) => {
                tracing::debug!(topic, %refusal, "not recorded");
                match refusal.cure(now) {
                    Some(cure) => {
                        let ledger = &self.ledger;
                        ledger.keep_unrecorded(&delivery.topic, &delivery.payload, cure).await
                    }
                    None => Ok(()),
                }
            }
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "cannot record an event");
        }
    }
}
