//! QoS 1 and 2 deliveries under way to a client. Pure.

use std::collections::{BTreeMap, HashMap};

use super::mailbox::Mail;

#[derive(Debug)]
enum Stage {
    /// PUBLISH sent; PUBACK or PUBREC will end the stage.
    Sent(Mail),
    /// PUBREL sent; PUBCOMP ends it. The client has the message.
    Released,
}

/// What to send again when a session resumes.
#[derive(Debug)]
pub enum Resend<'a> {
    /// The PUBLISH, with DUP.
    Publish(u16, &'a Mail),
    /// The PUBREL.
    PubRel(u16),
}

/// Unacknowledged deliveries, in the order of their sending.
#[derive(Debug, Default)]
pub struct Outbound {
    flights: BTreeMap<u64, (u16, Stage)>,
    by_id: HashMap<u16, u64>,
    last_id: u16,
    last_flight: u64,
}

impl Outbound {
    /// How many deliveries are under way.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Gives a delivery a packet id; `None` when all 65,535 are in use.
    pub fn send(&mut self, mail: Mail) -> Option<u16> {
        if self.by_id.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&self.last_id) {
                break;
            }
        }
        self.last_flight += 1;
        self.by_id.insert(self.last_id, self.last_flight);
        self.flights.insert(self.last_flight, (self.last_id, Stage::Sent(mail)));
        Some(self.last_id)
    }

    /// PUBACK: ends a delivery. `None` when there is none of that id that waits for it.
    pub fn acknowledge(&mut self, id: u16) -> Option<Mail> {
        let flight = *self.by_id.get(&id)?;
        let (_, stage) = self.flights.get(&flight)?;
        if matches!(stage, Stage::Released) {
            return None;
        }
        self.by_id.remove(&id);
        match self.flights.remove(&flight)? {
            (_, Stage::Sent(mail)) => Some(mail),
            (_, Stage::Released) => None,
        }
    }

    /// PUBREC: the client has the message. `Err` when the id is not known; `Ok(None)` when it was received before.
    pub fn received(&mut self, id: u16) -> Result<Option<Mail>, UnknownId> {
        let flight = self.by_id.get(&id).ok_or(UnknownId)?;
        let (_, stage) = self.flights.get_mut(flight).ok_or(UnknownId)?;
        match std::mem::replace(stage, Stage::Released) {
            Stage::Sent(mail) => Ok(Some(mail)),
            Stage::Released => Ok(None),
        }
    }

    /// PUBCOMP: ends a QoS 2 delivery.
    pub fn complete(&mut self, id: u16) -> bool {
        let Some(flight) = self.by_id.get(&id).copied() else {
            return false;
        };
        if !matches!(self.flights.get(&flight), Some((_, Stage::Released))) {
            return false;
        }
        self.by_id.remove(&id);
        self.flights.remove(&flight).is_some()
    }

    /// Lets go of leases: they ended with the connection.
    pub fn drop_leases(&mut self) {
        let by_id = &mut self.by_id;
        self.flights.retain(|_, (id, stage)| {
            let lease = matches!(stage, Stage::Sent(Mail::Leased(_)));
            if lease {
                by_id.remove(id);
            }
            !lease
        });
    }

    /// What a resuming session sends again, in order.
    pub fn resend(&self) -> impl Iterator<Item = Resend<'_>> {
        self.flights.values().map(|(id, stage)| match stage {
            Stage::Sent(mail) => Resend::Publish(*id, mail),
            Stage::Released => Resend::PubRel(*id),
        })
    }
}

/// No delivery has this packet id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no delivery has this packet id")]
pub struct UnknownId;
