//! Topic aliases in both directions.

use std::collections::HashMap;

use crate::topic::TopicName;

/// Aliases for what the client gets: the first topics that it gets have one, as many as it allows.
#[derive(Debug)]
pub(super) struct OutAliases {
    known: HashMap<TopicName, u16>,
    limit: u16,
}

impl OutAliases {
    pub(super) fn new(limit: u16) -> Self {
        Self {
            known: HashMap::new(),
            limit,
        }
    }

    /// The alias of a topic, and whether it is new to the client.
    pub(super) fn of(&mut self, topic: &TopicName) -> Option<(u16, bool)> {
        if self.limit == 0 {
            return None;
        }
        if let Some(alias) = self.known.get(topic) {
            return Some((*alias, false));
        }
        let next = u16::try_from(self.known.len() + 1)
            .ok()
            .filter(|next| *next <= self.limit)?;
        self.known.insert(topic.clone(), next);
        Some((next, true))
    }

    /// The newest alias did not reach the client.
    pub(super) fn forget(&mut self, topic: &TopicName) {
        self.known.remove(topic);
    }
}

/// Aliases that the client set.
#[derive(Debug)]
pub(super) struct InAliases {
    known: HashMap<u16, TopicName>,
    limit: u16,
}

impl InAliases {
    pub(super) fn new(limit: u16) -> Self {
        Self {
            known: HashMap::new(),
            limit,
        }
    }

    /// May the client use this alias?
    pub(super) fn allows(&self, alias: u16) -> bool {
        alias > 0 && alias <= self.limit
    }

    pub(super) fn get(&self, alias: u16) -> Option<TopicName> {
        self.known.get(&alias).cloned()
    }

    pub(super) fn set(&mut self, alias: u16, topic: &TopicName) {
        self.known.insert(alias, topic.clone());
    }
}
