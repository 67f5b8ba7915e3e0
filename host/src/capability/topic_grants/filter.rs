//! MQTT topic filters (MQTT 5, section 4.7), as grants have them.

use std::fmt;
use std::str::FromStr;

use crate::event::LONGEST_TOPIC;

/// Branches of topics that belong to the hosts: no bot publishes or reads there, whatever it is granted.
pub(super) const HOSTS_OWN: [&str; 4] = ["logs", "hosts", "bots", "peers"];

/// Whether a topic (without prefix) is, or lies below, a branch that the hosts keep for themselves.
#[must_use]
pub fn is_hosts_own(topic: &str) -> bool {
    let first = topic.split('/').next().unwrap_or_default();
    HOSTS_OWN.contains(&first)
}

/// A topic or an endpoint without prefix, in which `+` stands for one level and a final `#` for any number of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFilter(String);

/// Why a text is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// It is empty, or too long.
    #[error("a topic has 1 to {LONGEST_TOPIC} characters")]
    Length,
    /// It begins as no topic does, or holds what none holds.
    #[error("a topic begins with neither $ nor /, and holds no control character")]
    Characters,
    /// A wildcard is in a place where it stands for nothing.
    #[error("`+` stands for a whole level, and `#` for all that are left: write reports/+/new or reports/#")]
    Wildcard,
    /// It names a branch of the hosts.
    #[error("the hosts keep logs/, hosts/, bots/ and peers/ for themselves, and no grant reaches them")]
    HostsOwn,
}

impl TopicFilter {
    /// Whether a name fits. Wildcards are compared level by level; `a/#` fits `a` as well.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let mut levels = name.split('/');
        for wanted in self.0.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether a topic fits that a bot can be granted: those of the hosts fit no filter.
    #[must_use]
    pub fn reaches(&self, topic: &str) -> bool {
        !is_hosts_own(topic) && self.fits(topic)
    }

    /// Whether it can reach nothing, since it names a branch of the hosts.
    #[must_use]
    pub(super) fn names_hosts_own(&self) -> bool {
        is_hosts_own(&self.0)
    }
}

impl FromStr for TopicFilter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        if text.is_empty() || text.len() > LONGEST_TOPIC {
            return Err(BadFilter::Length);
        }
        if text.starts_with(['$', '/']) || text.chars().any(char::is_control) {
            return Err(BadFilter::Characters);
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            if level.contains(['+', '#']) && level != "+" && !(level == "#" && is_last) {
                return Err(BadFilter::Wildcard);
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
