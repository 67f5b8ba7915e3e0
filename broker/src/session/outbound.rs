//! QoS 1 and 2 deliveries under way to a client. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::mailbox::Mail;

#[derive(Debug)]
enum Stage {
    /// PUBLISH sent; PUBACK or PUBREC will end the stage.
    Sent(Mail),
    /// PUBREL sent; PUBCOMP ends it. The client has the message; its row in the archive is kept for the packet id.
    Released(Option<i64>),
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
#[derive(Debug)]
pub struct Outbound {
    flights: BTreeMap<u64, (u16, Stage)>,
    by_id: HashMap<u16, u64>,
    /// Those that an earlier connection sent, and this one has not sent again yet.
    unsent: BTreeSet<u64>,
    /// Bytes of ordinary messages that the client has not got for certain.
    bytes: usize,
    /// Packet ids from here on are given to what has none.
    first_id: u16,
    last_id: u16,
    last_flight: u64,
}

impl Outbound {
    /// Nothing under way. Mail on disk brings its packet id along; the others get one from `first_id` on.
    pub fn new(first_id: u16) -> Self {
        Self {
            flights: BTreeMap::new(),
            by_id: HashMap::new(),
            unsent: BTreeSet::new(),
            bytes: 0,
            first_id,
            last_id: first_id - 1,
            last_flight: 0,
        }
    }

    /// Is this packet id in use?
    pub fn holds(&self, id: u16) -> bool {
        self.by_id.contains_key(&id)
    }

    /// A delivery whose message the client has, from before the broker's start.
    pub fn restore_released(&mut self, id: u16, row: i64) {
        self.fly(id, Stage::Released(Some(row)));
    }

    fn fly(&mut self, id: u16, stage: Stage) {
        self.last_flight += 1;
        self.bytes = self.bytes.saturating_add(size_of(&stage));
        self.by_id.insert(id, self.last_flight);
        self.flights.insert(self.last_flight, (id, stage));
    }

    fn land(&mut self, flight: u64) -> Option<Stage> {
        let (id, stage) = self.flights.remove(&flight)?;
        self.by_id.remove(&id);
        self.unsent.remove(&flight);
        self.bytes = self.bytes.saturating_sub(size_of(&stage));
        Some(stage)
    }

    /// How many deliveries are under way on this connection.
    pub fn under_way(&self) -> usize {
        self.flights.len().saturating_sub(self.unsent.len())
    }

    /// Bytes of the ordinary messages that are kept since the client has not acknowledged them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes a delivery and says its packet id; `None` when it would have one that is in use.
    pub fn send(&mut self, mail: Mail) -> Option<u16> {
        let id = match mail.kept() {
            Some(kept) => Some(kept.packet_id).filter(|id| !self.holds(*id))?,
            None => self.free_id()?,
        };
        self.fly(id, Stage::Sent(mail));
        Some(id)
    }

    fn free_id(&mut self) -> Option<u16> {
        for _ in self.first_id..=u16::MAX {
            self.last_id = self.last_id.checked_add(1).unwrap_or(self.first_id);
            if !self.holds(self.last_id) {
                return Some(self.last_id);
            }
        }
        None
    }

    /// PUBACK: ends a delivery. `None` when there is none of that id that waits for it.
    pub fn acknowledge(&mut self, id: u16) -> Option<Mail> {
        let flight = *self.by_id.get(&id)?;
        let (_, stage) = self.flights.get(&flight)?;
        if matches!(stage, Stage::Released(_)) {
            return None;
        }
        match self.land(flight)? {
            Stage::Sent(mail) => Some(mail),
            Stage::Released(_) => None,
        }
    }

    /// PUBREC: the client has the message. `Err` when the id is not known; `Ok(None)` when it was received before.
    pub fn received(&mut self, id: u16) -> Result<Option<Mail>, UnknownId> {
        let flight = self.by_id.get(&id).ok_or(UnknownId)?;
        let (_, stage) = self.flights.get_mut(flight).ok_or(UnknownId)?;
        let row = match stage {
            Stage::Sent(mail) => mail.kept().map(|kept| kept.row),
            Stage::Released(row) => *row,
        };
        self.bytes = self.bytes.saturating_sub(size_of(stage));
        match std::mem::replace(stage, Stage::Released(row)) {
            Stage::Sent(mail) => Ok(Some(mail)),
            Stage::Released(_) => Ok(None),
        }
    }

    /// PUBCOMP: ends a QoS 2 delivery. Says which row of the archive is not needed any more.
    pub fn complete(&mut self, id: u16) -> Option<i64> {
        let flight = *self.by_id.get(&id)?;
        let Some((_, Stage::Released(row))) = self.flights.get(&flight) else {
            return None;
        };
        let row = *row;
        self.land(flight);
        row
    }

    /// Lets go of leases: they ended with the connection.
    pub fn drop_leases(&mut self) {
        let (by_id, unsent) = (&mut self.by_id, &mut self.unsent);
        self.flights.retain(|flight, (id, stage)| {
            let lease = matches!(stage, Stage::Sent(Mail::Leased(_)));
            if lease {
                by_id.remove(id);
                unsent.remove(flight);
            }
            !lease
        });
    }

    /// There is another connection: all that is under way has to be sent again.
    pub fn interrupt(&mut self) {
        self.unsent = self.flights.keys().copied().collect();
    }

    /// What a resumed session sends again next, in order, with the number for [`Outbound::resent`].
    pub fn next_resend(&self) -> Option<(u64, Resend<'_>)> {
        let flight = *self.unsent.first()?;
        let (id, stage) = self.flights.get(&flight)?;
        let resend = match stage {
            Stage::Sent(mail) => Resend::Publish(*id, mail),
            Stage::Released(_) => Resend::PubRel(*id),
        };
        Some((flight, resend))
    }

    /// This was sent again.
    pub fn resent(&mut self, flight: u64) {
        self.unsent.remove(&flight);
    }
}

/// Leases are in the memory of their groups.
fn size_of(stage: &Stage) -> usize {
    match stage {
        Stage::Sent(Mail::Ordinary(ordinary)) => ordinary.message.size(),
        Stage::Sent(Mail::Leased(_)) | Stage::Released(_) => 0,
    }
}

/// No delivery has this packet id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no delivery has this packet id")]
pub struct UnknownId;
