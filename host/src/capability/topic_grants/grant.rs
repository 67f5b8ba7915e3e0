//! A grant of a topic, as an operator writes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::filter::{BadFilter, TopicFilter};
use crate::reach::stored_as_text;

/// A topic that a bot may read in groups of its own: `TOPIC`, or also in another group: `TOPIC@ENDPOINT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReadGrant {
    topic: TopicFilter,
    endpoint: Option<TopicFilter>,
}

/// A topic that a bot may publish on: `TOPIC` for events of all types but the pipeline's, `TOPIC:TYPE` for that type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublishGrant {
    topic: TopicFilter,
    event_type: Option<String>,
}

/// Why a text is no grant of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadGrant {
    /// The topic, or the endpoint, is none.
    #[error(transparent)]
    Filter(#[from] BadFilter),
    /// What follows the colon is no type.
    #[error("after the colon comes one whole type of events, such as foundry.build.v1")]
    Type,
}

impl ReadGrant {
    /// Whether it allows to receive a topic's events, in a group of the bot's own.
    #[must_use]
    pub fn allows(&self, topic: &str) -> bool {
        self.topic.reaches(topic)
    }

    /// Whether it allows to share a topic's events with the members of a group.
    #[must_use]
    pub fn allows_in(&self, topic: &str, endpoint: &str) -> bool {
        let shares = self.endpoint.as_ref().is_some_and(|granted| granted.fits(endpoint));
        self.allows(topic) && shares
    }
}

impl PublishGrant {
    /// Whether it allows to publish something on a topic.
    #[must_use]
    pub fn reaches(&self, topic: &str) -> bool {
        self.topic.reaches(topic)
    }

    /// The one type that it is for; `None` for all types but the pipeline's.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }
}

impl FromStr for ReadGrant {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        let (topic, endpoint) = match text.split_once('@') {
            Some((topic, endpoint)) => (topic, Some(endpoint.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            topic: grantable(topic)?,
            endpoint,
        })
    }
}

impl FromStr for PublishGrant {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        let (topic, event_type) = match text.split_once(':') {
            Some((topic, event_type)) => (topic, Some(event_type.to_owned())),
            None => (text, None),
        };
        let is_type = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'*');
        if !event_type.as_ref().is_none_or(is_type) {
            return Err(BadGrant::Type);
        }
        Ok(Self {
            topic: grantable(topic)?,
            event_type,
        })
    }
}

/// A filter that can reach something.
fn grantable(text: &str) -> Result<TopicFilter, BadFilter> {
    let filter: TopicFilter = text.parse()?;
    if filter.names_hosts_own() {
        return Err(BadFilter::HostsOwn);
    }
    Ok(filter)
}

impl fmt::Display for ReadGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "{}@{endpoint}", self.topic),
            None => write!(f, "{}", self.topic),
        }
    }
}

impl fmt::Display for PublishGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event_type {
            Some(event_type) => write!(f, "{}:{event_type}", self.topic),
            None => write!(f, "{}", self.topic),
        }
    }
}

stored_as_text!(ReadGrant => BadGrant, PublishGrant => BadGrant);
