//! The last retained message of each topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::message::{Message, Timestamp};
use crate::topic::{TopicFilter, TopicName};

/// Retained messages. The [archive](crate::archive) keeps them over a restart of the broker.
#[derive(Debug)]
pub struct Retained {
    messages: BTreeMap<TopicName, Arc<Message>>,
    bytes: usize,
    limit: usize,
}

impl Retained {
    /// Keeps up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            messages: BTreeMap::new(),
            bytes: 0,
            limit,
        }
    }

    /// Takes note of a message with the RETAIN flag: an empty one deletes. `false` when there is no room.
    pub fn store(&mut self, message: &Arc<Message>) -> bool {
        if let Some(old) = self.messages.remove(&message.topic) {
            self.bytes = self.bytes.saturating_sub(old.size());
        }
        if message.payload.is_empty() {
            return true;
        }
        let size = message.size();
        if self.bytes.saturating_add(size) > self.limit {
            return false;
        }
        self.bytes += size;
        self.messages.insert(message.topic.clone(), Arc::clone(message));
        true
    }

    /// What a new subscription to `filter` gets.
    pub fn matching(&self, filter: &TopicFilter, now: Timestamp) -> Vec<Arc<Message>> {
        // Without a wildcard the filter is the topic.
        if !filter.as_str().contains(['+', '#']) {
            let message = self
                .messages
                .get(filter.as_str())
                .filter(|message| !message.is_expired(now));
            return message.cloned().into_iter().collect();
        }
        self.messages
            .values()
            .filter(|message| filter.matches(&message.topic) && !message.is_expired(now))
            .cloned()
            .collect()
    }

    /// Lets go of expired messages, and says which topics have none any more.
    pub fn expire(&mut self, now: Timestamp) -> Vec<TopicName> {
        let bytes = &mut self.bytes;
        let expired = self.messages.extract_if(.., |_, message| message.is_expired(now));
        expired
            .map(|(topic, message)| {
                *bytes = bytes.saturating_sub(message.size());
                topic
            })
            .collect()
    }
}
