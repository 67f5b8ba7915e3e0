//! What is told to the archive, and what it gives back after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::routing::SubscriptionOptions;
use crate::session::Ordinary;
use crate::topic::{GroupKey, TopicFilter, TopicName};

/// One thing that has to be remembered.
#[derive(Debug, Clone)]
pub enum Change {
    /// A lasting session began, with seconds that it outlives its connection.
    Open {
        /// The session.
        session: SessionId,
        /// Its client identifier.
        client_id: String,
        /// Who made it.
        user: Option<String>,
        /// Seconds that it outlives its connection.
        expiry: u32,
    },
    /// Its client is connected again.
    Resume(SessionId, u32),
    /// Its client is gone; it ends at that time, or never.
    Park(SessionId, u32, Option<Timestamp>),
    /// The session ended, with everything that belongs to it.
    End(SessionId),
    /// It subscribed.
    Subscribe(SessionId, TopicFilter, SubscriptionOptions),
    /// It unsubscribed.
    Unsubscribe(SessionId, TopicFilter),
    /// It became a member of a group.
    Join(SessionId, GroupKey, QoS, Option<u32>),
    /// It is no member any more.
    Quit(SessionId, GroupKey),
    /// A message waits for it.
    Mail(SessionId, Ordinary),
    /// The message in this row was acknowledged, or is not worth keeping any more.
    Done(i64),
    /// The client has the message in this row, and its packet id is still in use.
    Received(i64),
    /// The message in this row is delivered with another packet id.
    Renumber(i64, u16),
    /// The client published a QoS 2 message with this packet id.
    Took(SessionId, u16),
    /// The client released the packet id.
    Forgot(SessionId, u16),
    /// The last will of a client that is connected, and the seconds to wait with it.
    Will(SessionId, Message, u32),
    /// It was published, or will not be.
    NoWill(SessionId),
    /// A retained message.
    Retain(Arc<Message>),
    /// A topic without one.
    Unretain(TopicName),
}

impl Change {
    /// About how many bytes it takes in memory.
    pub fn size(&self) -> usize {
        let inside = match self {
            Self::Will(_, message, _) => message.size(),
            Self::Retain(message) => message.size(),
            Self::Mail(_, mail) => mail.message.size(),
            Self::Open { client_id, user, .. } => client_id.len() + user.as_ref().map_or(0, String::len),
            Self::Subscribe(_, filter, _) | Self::Unsubscribe(_, filter) => filter.as_str().len(),
            Self::Join(_, key, ..) | Self::Quit(_, key) => key.name.len() + key.filter.as_str().len(),
            Self::Unretain(topic) => topic.as_str().len(),
            _ => 0,
        };
        std::mem::size_of::<Self>() + inside
    }
}

/// A message that waits for a session.
#[derive(Debug)]
pub struct Mail {
    /// Its row.
    pub row: i64,
    /// Its packet id.
    pub packet_id: u16,
    /// The message, unless the client has it and only the packet id is still in use.
    pub ordinary: Option<Ordinary>,
}

/// A session as the archive knows it.
#[derive(Debug)]
pub struct ArchivedSession {
    /// Its number.
    pub id: SessionId,
    /// Its client identifier.
    pub client_id: String,
    /// Who made it.
    pub user: Option<String>,
    /// Seconds that it outlives its connection.
    pub expiry: u32,
    /// When it ends.
    pub ends: Option<Timestamp>,
    /// Ordinary subscriptions.
    pub subscriptions: BTreeMap<TopicFilter, SubscriptionOptions>,
    /// Groups that its connections are members of.
    pub groups: BTreeMap<GroupKey, (QoS, Option<u32>)>,
    /// What waits for it, oldest first.
    pub mail: Vec<Mail>,
    /// Packet ids of QoS 2 messages that the client has not released.
    pub inbound: BTreeSet<u16>,
}

/// Everything that the archive knows at a start.
#[derive(Debug, Default)]
pub struct Archived {
    /// Retained messages.
    pub retained: Vec<Arc<Message>>,
    /// Sessions that have not ended.
    pub sessions: Vec<ArchivedSession>,
    /// Wills of clients that were connected, with the seconds to wait.
    pub wills: Vec<(SessionId, Message, u32)>,
    /// The highest session number in use.
    pub last_session: u64,
    /// The highest row of mail in use.
    pub last_row: i64,
}
