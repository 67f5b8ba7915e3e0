//! What others hold for a connection, to be let go even if the connection's task panics.

use std::sync::Arc;

use super::Context;
use crate::group::{Leaving, MemberId};
use crate::message::SessionId;
use crate::session::Session;

/// Dropped without [`Seat::leave`], it ends the connection's leases and its session: its client identifier must not
/// stay taken, and its messages must not stay with nobody.
pub(super) struct Seat {
    context: Arc<Context>,
    client_id: String,
    session: SessionId,
    member: MemberId,
    taken: bool,
}

impl Seat {
    pub(super) fn new(context: Arc<Context>, session: &Session, member: MemberId) -> Self {
        Self {
            context,
            client_id: session.client_id.clone(),
            session: session.id,
            member,
            taken: true,
        }
    }

    /// The connection ends in good order, and sees to everything itself.
    pub(super) fn leave(&mut self) {
        self.taken = false;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.taken {
            tracing::error!(client = self.client_id, "a connection was dropped in the middle");
            self.context.groups.leave(self.member, Leaving::Died);
            self.context.hub.forget_all(self.session);
            self.context
                .registry
                .lost(std::mem::take(&mut self.client_id), self.member);
        }
    }
}
