//! Presence: what a host says of itself and of its bots, on topics that name it.

use super::Rule;
use crate::event::Event;

/// The type of what a host says of itself, on `hosts/HOST`.
pub const HOST_PRESENCE: &str = "foundry.host-presence.v1";

/// The type of what a host says of one of its bots, on `bots/HOST/BOT`.
pub const BOT_PRESENCE: &str = "foundry.bot-presence.v1";

/// The host that presents itself or a bot on a topic (without prefix); none if the topic is not for that.
#[must_use]
pub fn presented_on(topic: &str) -> Option<&str> {
    let mut levels = topic.split('/');
    match (levels.next()?, levels.next()?, levels.next(), levels.next()) {
        ("hosts", host, None, None) | ("bots", host, Some(_), None) => Some(host),
        _ => None,
    }
}

/// A host that has a duty presents itself and its own bots on the topics `of` its own name. No duty is enough for more.
pub(super) fn presents(host: &str, of: &str, event_type: &str, topic: &str) -> Result<(), Rule> {
    let fits = match topic.starts_with("hosts/") {
        true => HOST_PRESENCE,
        false => BOT_PRESENCE,
    };
    if host == of && event_type == fits {
        return Ok(());
    }
    Err(Rule::Presence {
        host: host.to_owned(),
        what: format!("{event_type} on {topic}"),
    })
}

/// Whether an event counts as long as nothing newer was said, whatever its age: the broker keeps presence while its host
/// lives.
pub(in crate::event) fn lasts(event: &Event, topic: &str) -> bool {
    presented_on(topic).is_some() && [HOST_PRESENCE, BOT_PRESENCE].contains(&event.event_type.as_str())
}
