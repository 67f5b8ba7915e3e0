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

    /// Takes note of a message with the RETAIN flag: an empty one deletes. `false` when there is no room; the topic's earlier
    /// message stays then.
    pub fn store(&mut self, message: &Arc<Message>) -> bool {
        let freed = self.messages.get(&message.topic).map_or(0, |old| old.size());
        let without = self.bytes.saturating_sub(freed);
        if message.payload.is_empty() {
            self.messages.remove(&message.topic);
            self.bytes = without;
            return true;
        }
        let bytes = without.saturating_add(message.size());
        if bytes > self.limit {
            return false;
        }
        self.bytes = bytes;
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

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::ArcPayload;

    use super::*;

    fn message(topic: &str, payload: &str) -> Arc<Message> {
        Arc::new(Message {
            payload: ArcPayload::new(payload.as_bytes().into(), 0, payload.len()),
            retain: true,
            ..Message::empty(topic)
        })
    }

    #[test]
    fn what_does_not_fit_leaves_what_is_there() {
        let small = message("t/1", "x");
        let mut retained = Retained::new(2 * small.size());
        assert!(retained.store(&small) && retained.store(&message("t/2", "x")));
        assert!(!retained.store(&message("t/3", "x")));
        assert!(!retained.store(&message("t/1", "larger than one byte")));
        let all = TopicFilter::new("#").unwrap();
        let there: Vec<_> = retained
            .matching(&all, Timestamp(0))
            .iter()
            .map(|m| m.topic.to_string())
            .collect();
        assert_eq!(there, ["t/1", "t/2"]);
        assert!(retained.store(&message("t/1", "y")), "another one of the same size");
        assert!(retained.store(&message("t/2", "")) && retained.store(&message("t/3", "x")));
        assert_eq!(retained.bytes, 2 * small.size());
    }
}
