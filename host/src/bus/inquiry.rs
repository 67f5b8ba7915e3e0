//! Asking whether somebody else has this host's name, over a connection whose client identifier nobody has.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish};
use rumqttc::v5::{AsyncClient, Event as MqttEvent};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::client_id::client_id_of_part;
use super::connection::{Backoff, ConnectionOptions};
use super::holder::{Answer, Arrival, Holder, Known, Presented, Word, arrival};
use super::polled::Polled;
use super::presence;
use crate::event::{Event, Origin, OutgoingEvent, Refusal, Topics, Verifier};
use crate::keys::{SignError, Signer};

/// How often what is known is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Pause before the question is repeated.
const PAUSE: Duration = Duration::from_secs(1);

/// How long hosts that took over each other's sessions are heard.
const CONTEST: Duration = Duration::from_secs(10);

/// How long the end of the connection may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What came of asking who takes over this host's sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contest {
    /// No host answered.
    Alone,
    /// A host on this machine has the name, and its start number is greater: it ends.
    Won(String),
    /// A host on this machine has the name, and its start number is smaller: it stays.
    Lost(String),
}

/// What asking takes.
pub struct Inquiry {
    /// Who asks.
    pub own: Holder,
    /// How the host connects; the client identifier is another one.
    pub connection: ConnectionOptions,
    /// Signs questions and answers.
    pub signer: Arc<Signer>,
    /// Says whose answers are believed.
    pub verifier: Arc<Verifier>,
}

impl Inquiry {
    /// Ask, before the host opens any session, whether somebody has its name. Waits for one that seems to be online and
    /// does not answer until the broker has noticed that it is gone, unless this host may `take_over`.
    pub async fn arrive(&self, take_over: bool) -> Arrival {
        let mut said = false;
        self.converse(false, |known, elapsed| {
            let done = arrival(&self.own, known, elapsed, take_over);
            if done.is_none() && known.online && elapsed > PAUSE && !std::mem::replace(&mut said, true) {
                tracing::warn!(
                    host = self.own.host,
                    "a host of this name seems to be online and does not answer; waiting for the broker to notice that it is \
                     gone (`--take-over` does not wait)"
                );
            }
            done
        })
        .await
    }

    /// Ask who takes over this host's sessions, and answer others who ask.
    pub async fn contest(&self) -> Contest {
        self.converse(true, |known, elapsed| match &known.answer {
            Some(other) if other.start < self.own.start => Some(Contest::Lost(other.machine.clone())),
            // The other one has to hear of this one as well.
            _ if elapsed < CONTEST => None,
            Some(other) => Some(Contest::Won(other.machine.clone())),
            None => Some(Contest::Alone),
        })
        .await
    }

    /// Ask again and again, over any number of connections, until what is heard is enough.
    async fn converse<T>(&self, is_running: bool, mut enough: impl FnMut(&Known, Duration) -> Option<T>) -> T {
        let begun = Instant::now();
        let mut known = Known::default();
        let mut backoff = Backoff::new();
        loop {
            let mut line = Line::open(self);
            let mut asked: Option<Instant> = None;
            while let Some(event) = line.next().await {
                if let Some(publish) = event {
                    self.hear(&publish, &mut known, begun.elapsed(), is_running, &line);
                }
                if let Some(done) = enough(&known, begun.elapsed()) {
                    line.close().await;
                    return done;
                }
                if line.subscribed && asked.is_none_or(|at| at.elapsed() >= PAUSE) {
                    asked = Some(Instant::now());
                    self.say(&self.own.question(), &line);
                }
            }
            if let Some(done) = enough(&known, begun.elapsed()) {
                return done;
            }
            backoff.pause().await;
        }
    }

    fn hear(&self, publish: &Publish, known: &mut Known, at: Duration, is_running: bool, line: &Line) {
        if publish.topic == self.verifier.topics.host(&self.own.host) {
            if let Some(word) = self.presented(publish) {
                known.see(word, &self.own);
            }
            return;
        }
        match self.verified(publish) {
            Ok(Some(Word::Question(question))) if question.start == self.own.start => {
                known.passed.get_or_insert(at);
            }
            Ok(Some(Word::Question(question))) if is_running => self.say(&self.own.answer(question.start), line),
            Ok(Some(Word::Answer(answer))) if self.is_for_this_start(&answer) => known.answer = Some(answer),
            Ok(_) => {}
            Err(refusal) => {
                if let Some(Word::Answer(answer)) = Word::unproven(&publish.payload)
                    && self.is_for_this_start(&answer)
                {
                    known.unproven = Some(refusal.to_string());
                }
            }
        }
    }

    /// What can be believed of who presents himself under this host's name.
    fn presented(&self, publish: &Publish) -> Option<Presented> {
        let topic = String::from_utf8_lossy(&publish.topic);
        let verified = self
            .verifier
            .verify(&publish.payload, &topic, OffsetDateTime::now_utc());
        presence::of_host(verified.ok()?, &self.verifier.topics)
    }

    fn is_for_this_start(&self, answer: &Answer) -> bool {
        answer.to == self.own.start && answer.start != self.own.start
    }

    /// What a host of this name says; none if it is about something else.
    fn verified(&self, publish: &Publish) -> Result<Option<Word>, Refusal> {
        let topic = String::from_utf8_lossy(&publish.topic);
        let event = self
            .verifier
            .verify(&publish.payload, &topic, OffsetDateTime::now_utc())?;
        let is_own = event.host() == self.own.host;
        Ok(Word::of(&event.event_type, &event.data).filter(|_| is_own))
    }

    fn say(&self, word: &Word, line: &Line) {
        match signed(&self.own.host, &self.verifier.topics, &self.signer, word) {
            Ok(payload) => line.publish(self.verifier.topics.peer(&self.own.host), payload),
            Err(error) => tracing::error!(%error, "cannot sign a word to other hosts of this name"),
        }
    }
}

/// The signed event that says a word to the hosts of a name.
///
/// # Errors
/// [`SignError`] if the key can't sign.
pub(super) fn signed(host: &str, topics: &Topics, signer: &Signer, word: &Word) -> Result<Vec<u8>, SignError> {
    let origin = Origin::of_its_own(host);
    let outgoing = OutgoingEvent::own(
        origin,
        &format!("peers/{host}"),
        word.event_type(),
        "peers",
        word.data(),
    );
    Event::of(outgoing, &format!("{host}/peers"), topics).sign(signer)
}

/// A connection that lasts as long as there is something to ask.
struct Line {
    client: AsyncClient,
    filters: [String; 2],
    events: Polled,
    subscribed: bool,
}

impl Line {
    fn open(inquiry: &Inquiry) -> Self {
        let Holder { host, start, .. } = &inquiry.own;
        let options = ConnectionOptions {
            client_id: client_id_of_part(host, &format!("start-{start:x}")),
            persistent: false,
            receive_maximum: 64,
            ..inquiry.connection.clone()
        };
        let (client, events) = options.client();
        Self {
            client,
            filters: [inquiry.verifier.topics.host(host), inquiry.verifier.topics.peer(host)],
            events,
            subscribed: false,
        }
    }

    /// What came within a short time; none at the end of the connection.
    async fn next(&mut self) -> Option<Option<Publish>> {
        let Ok(event) = timeout(LOOK, self.events.next()).await else {
            return Some(None);
        };
        match event {
            Ok(MqttEvent::Incoming(Packet::ConnAck(_))) => {
                let filters = self.filters.iter().map(|filter| Filter::new(filter, QoS::AtMostOnce));
                self.client.try_subscribe_many(filters).ok()?;
            }
            Ok(MqttEvent::Incoming(Packet::SubAck(_))) => self.subscribed = true,
            Ok(MqttEvent::Incoming(Packet::Publish(publish))) => return Some(Some(publish)),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "cannot ask whether somebody has this host's name");
                return None;
            }
        }
        Some(None)
    }

    fn publish(&self, topic: String, payload: Vec<u8>) {
        // What is lost here is said again.
        let _ = self.client.try_publish(topic, QoS::AtMostOnce, false, payload);
    }

    async fn close(mut self) {
        let _ = self.client.try_disconnect();
        self.events.ends_within(GOODBYE).await;
    }
}
