//! Dead letters of the groups.

use std::sync::Arc;

use super::Worker;
use crate::group::dead_letters::DeadLetter;
use crate::group::types::{Death, GroupId};
use crate::message::{Message, SessionId, Timestamp};
use crate::topic::{GroupKey, TopicName};

impl Worker {
    /// Tells about a dead letter on its topic; a group may collect it there. What dies there is only set aside.
    pub(super) fn publish_dead(
        &mut self,
        group: GroupId,
        message: &Message,
        attempts: u32,
        death: Death,
        now: Timestamp,
    ) {
        let Some(key) = self.groups.key(group) else { return };
        tracing::warn!(group = %key, topic = %message.topic, attempts, reason = death.as_str(), "message is a dead letter");
        if message.topic.as_str().starts_with(&self.config.dead_prefix) {
            return;
        }
        let Ok(topic) = TopicName::new(&format!("{}/{}", self.config.dead_prefix, key.name)) else {
            return;
        };
        let letter = Arc::new(Message {
            topic,
            retain: false,
            expires: None,
            publisher: SessionId(0),
            properties: crate::group::dead_properties(message, key, attempts, death),
            ..message.clone()
        });
        self.hub.publish(Arc::clone(&letter), None);
        self.plan(letter, None, now);
    }

    pub(super) fn dead_letters(&self, key: &GroupKey, after: Option<i64>, limit: usize) -> Vec<DeadLetter> {
        let Some(group) = self.groups.find(key) else {
            return Vec::new();
        };
        self.writer
            .call(move |store| store.dead_letters(group, after, limit))
            .unwrap_or_else(|error| {
                tracing::error!(%error, "cannot list dead letters");
                Vec::new()
            })
    }

    pub(super) fn requeue(&mut self, key: &GroupKey, ids: Option<Vec<i64>>, now: Timestamp) -> usize {
        let Some(group) = self.groups.find(key) else { return 0 };
        match self.writer.call(move |store| store.revive(group, ids.as_deref())) {
            Ok(entries) => {
                let count = entries.len();
                for entry in entries {
                    self.groups
                        .restore(entry.group, entry.id, entry.message, entry.attempts, entry.since);
                }
                self.groups.bury(group, count);
                self.groups.rebalance(now, &mut self.effects);
                count
            }
            Err(error) => {
                tracing::error!(%error, "cannot requeue dead letters");
                0
            }
        }
    }

    pub(super) fn discard(&mut self, key: &GroupKey, ids: Option<Vec<i64>>) -> usize {
        let Some(group) = self.groups.find(key) else { return 0 };
        match self.writer.call(move |store| store.discard_dead(group, ids.as_deref())) {
            Ok(count) => {
                self.groups.bury(group, count);
                count
            }
            Err(error) => {
                tracing::error!(%error, "cannot discard dead letters");
                0
            }
        }
    }
}
