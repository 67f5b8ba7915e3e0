//! What a client gets: acknowledgements in order, deliveries within its window.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, End, OUT_HIGH, Owed};
use crate::archive::Change;
use crate::codec::{EncodedPublish, reason};
use crate::group::Refusal;
use crate::message::{QoS, Timestamp};
use crate::receipt::{Receipt, receipt};
use crate::session::{Mail, Resend};

fn encoding(_: mqtt_protocol_core::mqtt::result_code::MqttError) -> End {
    End::Closed(reason::IMPLEMENTATION_SPECIFIC, "cannot encode a packet")
}

impl<S: AsyncRead + AsyncWrite + Send> Connection<S> {
    /// After CONNACK: a resumed session is a member of its groups again, and gets again what it did not acknowledge.
    pub(super) async fn resume(&mut self) -> Result<(), End> {
        for (key, (qos, identifier)) in self.session.groups.clone() {
            if let Err(code) = self.join(key.clone(), qos, identifier).await {
                tracing::warn!(client = self.session.client_id, group = %key, code, "cannot rejoin group");
                self.session.groups.remove(&key);
                self.note_if_lasting(|session| Change::Quit(session, key));
            }
        }
        self.session.outbound.interrupt();
        Ok(())
    }

    /// Sends again what the last connection had under way, as far as this one's window and the output have room.
    fn send_again(&mut self, now: Timestamp) -> Result<(), End> {
        while self.out.len() < OUT_HIGH && self.session.outbound.under_way() < self.window {
            let Some((flight, resend)) = self.session.outbound.next_resend() else {
                return Ok(());
            };
            let too_large = match resend {
                Resend::Publish(id, mail) => {
                    let publish = publish_of(mail, id, true);
                    let sent = self.encoder.publish(&publish, self.packet_limit, now, &mut self.out);
                    (!sent.map_err(encoding)?).then_some(id)
                }
                Resend::PubRel(id) => {
                    self.encoder.pubrel(id, true, &mut self.out).map_err(encoding)?;
                    None
                }
            };
            self.session.outbound.resent(flight);
            // For this client the message does not exist: see `Connection::send`.
            if let Some(mail) = too_large.and_then(|id| self.session.outbound.acknowledge(id)) {
                self.is_done_with(&mail);
            }
        }
        Ok(())
    }

    /// Gives the next message another packet id if the client still has to answer for an earlier one with its own: a
    /// single delivery that stays unacknowledged must not stop all others. It is sent when that is on disk: a QoS 2
    /// message must have the same id after a restart.
    fn renumber(&mut self) {
        let outbound = &self.session.outbound;
        if let Some((row, id)) = self.session.mailbox.renumber(|id| outbound.holds(id)) {
            let (receipt, completion) = receipt(&self.session.mailbox);
            self.context.archive.write(Change::Renumber(row, id), completion);
            self.renumbered = Some(receipt);
        }
    }

    /// Is the packet id of the next message still on its way to disk?
    fn is_renumbering(&mut self) -> Result<bool, End> {
        match self.renumbered.as_ref().map(Receipt::outcome) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(reason::SUCCESS)) => {
                self.renumbered = None;
                Ok(false)
            }
            Some(Some(code)) => Err(End::Closed(code, "cannot store the session")),
        }
    }

    /// Acknowledges the publishes whose receipts have an outcome, in their order (section 4.6).
    pub(super) fn acknowledge_publishes(&mut self) -> Result<(), End> {
        while let Some(outcome) = self.owed.front().and_then(|(_, receipt)| receipt.outcome()) {
            let Some((owed, _)) = self.owed.pop_front() else {
                break;
            };
            let v4 = self.version == crate::codec::Version::V4;
            let cannot_refuse = match owed {
                Owed::Nothing => false,
                // MQTT 3.1.1 cannot say no: without an acknowledgement the client keeps the message.
                Owed::PubAck(_) | Owed::PubRec(_) => v4,
                Owed::PubRel(..) | Owed::PubComp(..) => true,
            };
            if outcome != reason::SUCCESS && cannot_refuse {
                if let Owed::PubRec(id) = owed {
                    self.session.inbound.remove(&id);
                }
                return Err(End::Closed(outcome, "message refused"));
            }
            match owed {
                Owed::Nothing => {}
                Owed::PubAck(id) => {
                    self.unanswered = self.unanswered.saturating_sub(1);
                    self.encoder.puback(id, outcome, &mut self.out).map_err(encoding)?;
                }
                Owed::PubRec(id) if outcome == reason::SUCCESS && self.must_remember(id) => {
                    // The message is on disk; now its packet id goes there, so that a repetition is known after a
                    // restart of the broker. What comes after it waits.
                    let (receipt, completion) = receipt(&self.session.mailbox);
                    let took = Change::Took(self.session.id, id);
                    self.context.archive.write(took, completion);
                    self.remembered = Some(id);
                    self.owed.push_front((Owed::PubRec(id), receipt));
                }
                Owed::PubRec(id) => {
                    self.remembered = None;
                    if outcome != reason::SUCCESS {
                        self.session.inbound.remove(&id);
                    }
                    self.encoder.pubrec(id, outcome, &mut self.out).map_err(encoding)?;
                }
                Owed::PubRel(id, found) => self.encoder.pubrel(id, found, &mut self.out).map_err(encoding)?,
                Owed::PubComp(id, found) => self.encoder.pubcomp(id, found, &mut self.out).map_err(encoding)?,
            }
        }
        Ok(())
    }

    /// Is the packet id of a QoS 2 publish still to be written?
    fn must_remember(&self, id: u16) -> bool {
        self.session.is_lasting() && self.remembered != Some(id)
    }

    /// Encodes deliveries while the window and the output have room.
    pub(super) fn drain_mailbox(&mut self) -> Result<(), End> {
        let now = Timestamp::now();
        self.send_again(now)?;
        if self.session.outbound.next_resend().is_some() {
            return Ok(());
        }
        while self.out.len() < OUT_HIGH && !self.is_renumbering()? {
            let outbound = &self.session.outbound;
            // What is not acknowledged counts as what waits does.
            let room = outbound.under_way() < self.window && outbound.bytes() <= self.context.limits.queued_bytes;
            let fits = |mail: &Mail| room && mail.kept().is_none_or(|kept| !outbound.holds(kept.packet_id));
            let wanted = |mail: &Mail| qos_of(mail) == QoS::AtMostOnce || fits(mail);
            let Some(mail) = self.session.mailbox.take(wanted) else {
                if room {
                    self.renumber();
                }
                break;
            };
            if matches!(&mail, Mail::Ordinary(ordinary) if ordinary.message.is_expired(now)) {
                self.is_done_with(&mail);
                continue;
            }
            self.send(mail, now)?;
        }
        Ok(())
    }

    fn send(&mut self, mail: Mail, now: Timestamp) -> Result<(), End> {
        let id = match qos_of(&mail) {
            QoS::AtMostOnce => 0,
            // The window is smaller than the number of ids.
            _ => self
                .session
                .outbound
                .send(mail.clone())
                .ok_or(End::Closed(reason::IMPLEMENTATION_SPECIFIC, "out of packet ids"))?,
        };
        let redelivered = match &mail {
            Mail::Leased(delivery) => delivery.again,
            Mail::Ordinary(ordinary) => ordinary.kept.is_some_and(|kept| kept.restored),
        };
        let mut publish = publish_of(&mail, id, redelivered && id > 0);
        publish.alias = self.out_aliases.of(&publish.message.topic);
        let sent = self
            .encoder
            .publish(&publish, self.packet_limit, now, &mut self.out)
            .map_err(encoding)?;
        if !sent {
            // Larger than the client takes: for it the message does not exist (MQTT 5 section 3.1.2.11.4).
            if let Some((_, true)) = publish.alias {
                self.out_aliases.forget(&publish.message.topic);
            }
            self.session.outbound.acknowledge(id);
            self.is_done_with(&mail);
        }
        match mail {
            Mail::Leased(delivery) if !sent => self.context.groups.refuse(self.member, delivery.entry, Refusal::Later),
            Mail::Leased(delivery) if id == 0 => self.unsent_leases.push(delivery.entry),
            _ => {}
        }
        Ok(())
    }

    /// A message needs to be kept no longer.
    pub(super) fn is_done_with(&self, mail: &Mail) {
        if let Some(kept) = mail.kept() {
            self.context.archive.note(Change::Done(kept.row));
        }
    }

    /// QoS 0 leases are done when they are sent.
    pub(super) fn finish_unsent_leases(&mut self) {
        for entry in self.unsent_leases.drain(..) {
            self.context.groups.acknowledge(self.member, entry);
        }
    }
}

fn qos_of(mail: &Mail) -> QoS {
    match mail {
        Mail::Ordinary(ordinary) => ordinary.qos,
        Mail::Leased(delivery) => delivery.qos,
    }
}

fn publish_of(mail: &Mail, id: u16, dup: bool) -> EncodedPublish<'_> {
    match mail {
        Mail::Ordinary(ordinary) => EncodedPublish {
            message: &ordinary.message,
            qos: ordinary.qos,
            dup,
            retain: ordinary.retain,
            id,
            subscription: ordinary.subscription,
            alias: None,
            attempt: 0,
        },
        Mail::Leased(delivery) => EncodedPublish {
            message: &delivery.message,
            qos: delivery.qos,
            dup,
            retain: false,
            id,
            subscription: delivery.subscription,
            alias: None,
            attempt: delivery.attempt,
        },
    }
}
