//! What a client sends, checked and carried out.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, End, Owed};
use crate::archive::Change;
use crate::codec::{Packet, Publish, Subscribe, SubscribeEntry, Version, reason};
use crate::group::{Joining, Refusal};
use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::receipt::receipt;
use crate::routing::{SubscribeRequest, SubscriptionOptions};
use crate::session::Mail;
use crate::topic::{Subscribable, TopicFilter, TopicName};

/// A topic that makes the connection panic, to see what happens then.
#[cfg(test)]
pub(super) const POISON: &str = "poison";

fn protocol(what: &'static str) -> End {
    End::Closed(reason::PROTOCOL_ERROR, what)
}

fn encoding(_: mqtt_protocol_core::mqtt::result_code::MqttError) -> End {
    End::Closed(reason::IMPLEMENTATION_SPECIFIC, "cannot encode an answer")
}

impl<S: AsyncRead + AsyncWrite + Send> Connection<S> {
    pub(super) async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubAck { id, reason: code } => {
                match self.session.outbound.acknowledge(id) {
                    Some(mail) => self.delivered(&mail, code),
                    None => {
                        tracing::debug!(client = self.session.client_id, id, "PUBACK of nothing")
                    }
                }
                Ok(())
            }
            Packet::PubRec { id, reason: code } => self.pubrec(id, code),
            Packet::PubComp { id } => {
                if let Some(row) = self.session.outbound.complete(id) {
                    self.context.archive.note(Change::Done(row));
                }
                Ok(())
            }
            Packet::PubRel { id } => {
                let found = self.session.inbound.remove(&id);
                if !self.session.is_lasting() {
                    return self.encoder.pubcomp(id, found, &mut self.out).map_err(encoding);
                }
                // The client will use the packet id again, and must not find it taken after a restart.
                let (receipt, completion) = receipt(&self.session.mailbox);
                let forgot = Change::Forgot(self.session.id, id);
                self.context.archive.write(forgot, completion);
                self.owed.push_back((Owed::PubComp(id, found), receipt));
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await,
            Packet::Unsubscribe { id, filters } => self.unsubscribe(id, &filters).await,
            Packet::PingReq => {
                self.encoder.pingresp(&mut self.out);
                Ok(())
            }
            Packet::Disconnect {
                reason: code,
                session_expiry,
            } => {
                // The session of a client that may not have a lasting one ends now, as CONNACK said.
                if let Some(expiry) = session_expiry.filter(|_| self.permissions.may_last()) {
                    // A session that was to end with the connection cannot be kept now (section 3.14.2.2.2).
                    if self.session.expiry == 0 && expiry > 0 {
                        return Err(protocol("DISCONNECT raises a session expiry of 0"));
                    }
                    self.session.expiry = expiry.min(self.context.limits.session_expiry);
                }
                Err(End::Disconnected {
                    will: code == reason::DISCONNECT_WITH_WILL,
                })
            }
            Packet::Connect(_) => Err(protocol("second CONNECT")),
            Packet::Auth => Err(protocol("AUTH without an authentication method")),
        }
    }

    fn publish(&mut self, publish: Publish) -> Result<(), End> {
        #[cfg(test)]
        assert_ne!(publish.topic, POISON, "this is what the test wants");
        let topic = self.topic_of(&publish)?;
        if publish.qos == QoS::AtMostOnce && topic.as_str() == crate::PLACES_TOPIC {
            self.set_places(publish.payload.as_slice());
            return Ok(());
        }
        if !self.permissions.may_publish(&topic) {
            return self.forbid(&publish, &topic);
        }
        let under_way = self.unanswered + self.session.inbound.len();
        let repeated = self.session.inbound.contains(&publish.id);
        // Only MQTT 5 clients know the limit; the others are slowed down by not being read.
        if publish.qos != QoS::AtMostOnce
            && !repeated
            && self.version == Version::V5
            && under_way >= usize::from(self.context.limits.receive_maximum)
        {
            return Err(End::Closed(
                reason::RECEIVE_MAXIMUM_EXCEEDED,
                "receive maximum exceeded",
            ));
        }
        if publish.qos == QoS::ExactlyOnce && !self.session.inbound.insert(publish.id) {
            // While the fate of the first copy is not known, its PUBREC is the answer to this one too.
            let first = |owed: &Owed| matches!(owed, Owed::PubRec(id) if *id == publish.id);
            if self.owed.iter().any(|(owed, _)| first(owed)) {
                return Ok(());
            }
            // Sent again because our PUBREC was lost: the message itself is not taken twice.
            return self
                .encoder
                .pubrec(publish.id, reason::SUCCESS, &mut self.out)
                .map_err(encoding);
        }
        let owed = match publish.qos {
            QoS::AtMostOnce => Owed::Nothing,
            QoS::AtLeastOnce => {
                self.unanswered += 1;
                Owed::PubAck(publish.id)
            }
            QoS::ExactlyOnce => Owed::PubRec(publish.id),
        };
        let message = Arc::new(Message {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires: publish.expiry.map(|seconds| Timestamp::now().plus_seconds(seconds)),
            properties: publish.properties,
            publisher: self.session.id,
        });
        let receipt = self.context.publisher.publish_for(&message, &self.session.mailbox);
        self.owed.push_back((owed, receipt));
        Ok(())
    }

    /// The client says how many of its groups' messages it has places for.
    fn set_places(&mut self, payload: &[u8]) {
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
        let Some(places) = number else {
            tracing::debug!(client = self.session.client_id, "not a number of places");
            return;
        };
        self.capacity = self.window.min(places);
        if self.is_member {
            self.context.groups.resize(self.member, self.capacity);
        }
    }

    /// MQTT 5 publishers are told; those who cannot be told lose the connection rather than a message they count on.
    fn forbid(&mut self, publish: &Publish, topic: &TopicName) -> Result<(), End> {
        tracing::info!(client = self.session.client_id, user = self.permissions.user, %topic, "may not publish");
        let (id, code) = (publish.id, reason::NOT_AUTHORIZED);
        match (self.version, publish.qos) {
            (Version::V5, QoS::AtLeastOnce) => self.encoder.puback(id, code, &mut self.out).map_err(encoding),
            (Version::V5, QoS::ExactlyOnce) => self.encoder.pubrec(id, code, &mut self.out).map_err(encoding),
            _ => Err(End::Closed(code, "not authorized to publish")),
        }
    }

    fn topic_of(&mut self, publish: &Publish) -> Result<TopicName, End> {
        if let Some(alias) = publish.alias {
            if !self.in_aliases.allows(alias) {
                return Err(End::Closed(reason::TOPIC_ALIAS_INVALID, "topic alias out of range"));
            }
            if publish.topic.is_empty() {
                let topic = self.in_aliases.get(alias);
                return topic.ok_or(protocol("topic alias that was not set"));
            }
        }
        let topic = TopicName::new(&publish.topic).map_err(|error| {
            tracing::debug!(client = self.session.client_id, topic = publish.topic, %error, "bad topic");
            End::Closed(reason::TOPIC_INVALID, "invalid topic name")
        })?;
        if let Some(alias) = publish.alias {
            self.in_aliases.set(alias, &topic);
        }
        Ok(topic)
    }

    fn pubrec(&mut self, id: u16, code: u8) -> Result<(), End> {
        if code >= 0x80 {
            // The client does not take it: that ends the exchange.
            if let Some(mail) = self.session.outbound.acknowledge(id) {
                self.delivered(&mail, code);
            }
            return Ok(());
        }
        let received = self.session.outbound.received(id);
        let found = received.is_ok();
        let mail = received.ok().flatten();
        let Some(kept) = mail.as_ref().and_then(Mail::kept) else {
            if let Some(mail) = mail {
                self.delivered(&mail, code);
            }
            return self.encoder.pubrel(id, found, &mut self.out).map_err(encoding);
        };
        // With PUBREL the client forgets the packet id, so the message must not be sent again after a restart.
        let (receipt, completion) = receipt(&self.session.mailbox);
        self.context.archive.write(Change::Received(kept.row), completion);
        self.owed.push_back((Owed::PubRel(id, found), receipt));
        Ok(())
    }

    /// The client has answered for a delivery. A refused lease goes back to its group; refused ordinary messages
    /// are the client's own affair.
    fn delivered(&self, mail: &Mail, code: u8) {
        if let Mail::Leased(delivery) = mail {
            match code {
                reason::PAYLOAD_INVALID => self.context.groups.refuse(self.member, delivery.entry, Refusal::Never),
                0x80.. => self.context.groups.refuse(self.member, delivery.entry, Refusal::Later),
                _ => self.context.groups.acknowledge(self.member, delivery.entry),
            }
        }
        self.is_done_with(mail);
    }

    /// Notes something about a session that outlives its connection.
    pub(super) fn note_if_lasting(&self, change: impl FnOnce(SessionId) -> Change) {
        if self.session.is_lasting() {
            self.context.archive.note(change(self.session.id));
        }
    }

    /// Waits until the disk has what was noted of a session that outlives its connection.
    async fn settle(&self) -> Result<(), End> {
        if self.session.is_lasting() && !self.context.archive.settled().await {
            return Err(End::Closed(reason::UNSPECIFIED, "cannot store the session"));
        }
        Ok(())
    }

    async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), End> {
        let mut codes = Vec::with_capacity(subscribe.entries.len());
        let mut plain = Vec::new();
        // Where their codes are, and the options that they had before.
        let mut earlier = Vec::new();
        for entry in subscribe.entries {
            let options = SubscriptionOptions {
                qos: entry.qos,
                no_local: entry.no_local,
                retain_as_published: entry.retain_as_published,
                identifier: subscribe.identifier,
            };
            codes.push(match Subscribable::parse(&entry.filter) {
                Err(error) => {
                    tracing::debug!(client = self.session.client_id, filter = entry.filter, %error, "bad filter");
                    reason::FILTER_INVALID
                }
                Ok(_) if self.too_many_subscriptions(&entry) => reason::QUOTA_EXCEEDED,
                Ok(Subscribable::Plain(filter)) if !self.permissions.may_subscribe(&filter) => reason::NOT_AUTHORIZED,
                Ok(Subscribable::Shared(key)) if !self.permissions.may_share(&key.filter) => reason::NOT_AUTHORIZED,
                Ok(Subscribable::Plain(filter)) => {
                    let before = self.session.subscriptions.insert(filter.clone(), options);
                    earlier.push((codes.len(), filter.clone(), before));
                    plain.push((filter, options, entry.retain_handling));
                    entry.qos as u8
                }
                // Section 3.8.3.1.
                Ok(Subscribable::Shared(_)) if entry.no_local => {
                    return Err(protocol("No Local on a shared subscription"));
                }
                Ok(Subscribable::Shared(key)) => {
                    self.session
                        .groups
                        .insert(key.clone(), (options.qos, options.identifier));
                    match self.join(key.clone(), options.qos, options.identifier).await {
                        Ok(()) => {
                            self.note_if_lasting(|id| Change::Join(id, key, options.qos, options.identifier));
                            entry.qos as u8
                        }
                        Err(code) => {
                            self.session.groups.remove(&key);
                            code
                        }
                    }
                }
            });
        }
        if !plain.is_empty() {
            let request = SubscribeRequest {
                session: self.session.id,
                mailbox: Arc::clone(&self.session.mailbox),
                filters: plain,
            };
            let taken = self.context.hub.subscribe(request).await;
            let refused = earlier.into_iter().zip(taken).filter(|(_, taken)| !taken);
            for ((number, filter, before), _) in refused {
                codes
                    .get_mut(number)
                    .into_iter()
                    .for_each(|code| *code = reason::QUOTA_EXCEEDED);
                match before {
                    Some(options) => drop(self.session.subscriptions.insert(filter, options)),
                    None => drop(self.session.subscriptions.remove(&filter)),
                }
            }
        }
        self.settle().await?;
        self.encoder
            .suback(subscribe.id, &codes, &mut self.out)
            .map_err(encoding)
    }

    fn too_many_subscriptions(&self, entry: &SubscribeEntry) -> bool {
        let count = self.session.subscriptions.len() + self.session.groups.len();
        let known =
            TopicFilter::new(&entry.filter).is_ok_and(|filter| self.session.subscriptions.contains_key(&filter));
        count >= self.context.limits.subscriptions && !known
    }

    pub(super) async fn join(
        &mut self,
        key: crate::topic::GroupKey,
        qos: QoS,
        identifier: Option<u32>,
    ) -> Result<(), u8> {
        self.is_member = true;
        let joining = Joining {
            member: self.member,
            capacity: self.capacity,
            qos,
            subscription: identifier,
        };
        let mailbox = Arc::clone(&self.session.mailbox);
        self.context.groups.join(key, joining, mailbox).await
    }

    async fn unsubscribe(&mut self, id: u16, filters: &[String]) -> Result<(), End> {
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            let existed = match Subscribable::parse(filter) {
                Err(_) => {
                    codes.push(reason::FILTER_INVALID);
                    continue;
                }
                Ok(Subscribable::Plain(filter)) => {
                    self.session.subscriptions.remove(&filter);
                    let existed = self.context.hub.unsubscribe(self.session.id, vec![filter]).await;
                    existed.first().copied().unwrap_or(false)
                }
                Ok(Subscribable::Shared(key)) => {
                    self.session.groups.remove(&key);
                    self.note_if_lasting(|session| Change::Quit(session, key.clone()));
                    self.context.groups.quit(key, self.member).await
                }
            };
            codes.push(if existed {
                reason::SUCCESS
            } else {
                reason::NO_SUBSCRIPTION_EXISTED
            });
        }
        self.settle().await?;
        self.encoder.unsuback(id, &codes, &mut self.out).map_err(encoding)
    }
}
