//! Whether an event has the id that its work has, and whether its host may do that work.

use time::OffsetDateTime;

use super::super::envelope::Event;
use super::super::origin::Origin;
use super::super::topics::FAILURES;
use super::presented::presented_on;
use super::work::open_groups;
use super::{CONTROL, FAILURE, PEERS, Rule, Speaker, presentable};
use crate::keys::{Binding, Fingerprint, is_plain_group};

/// Checks an event on a topic (without prefix) that its host may say there, as far as its type goes. Before `upgraded` this host's
/// own events did not say what their ids derive from.
pub(super) fn check(
    speaker: &Speaker,
    binding: &Binding,
    event: &Event,
    topic: &str,
    upgraded: OffsetDateTime,
) -> Result<(), Rule> {
    if event.derivation.are_missing() {
        let is_from_before = speaker.is_own && event.moment().is_ok_and(|made| made < upgraded);
        return match is_from_before {
            true => Ok(()),
            false => Err(Rule::NoOrigin {
                host: presentable(event.host()),
            }),
        };
    }
    let origin = fitting(event, topic).map_err(|why| Rule::OthersId {
        key: speaker.key,
        host: binding.host().to_owned(),
        id: event.id.clone(),
        why,
    })?;
    // Nobody but this host itself has its own key, and nobody binds that.
    let group = origin.group().filter(|_| !speaker.is_own);
    let closed = group.and_then(|group| Some((group, open_groups(binding, &speaker.claims, group)?)));
    match closed {
        Some((group, open)) => Err(others_group(speaker.key, binding, group, open)),
        None => Ok(()),
    }
}

/// The origin that an event names and that its id derives from, or what does not fit.
fn fitting(event: &Event, topic: &str) -> Result<Origin, &'static str> {
    let origin = event
        .origin()
        .ok_or("what it says of its work is incomplete, or contradicts itself")?;
    match &origin {
        Origin::Own { .. } if !has_ids_of_its_own(topic) => return Err("ids on this topic derive from work"),
        Origin::Own { host, .. } if host != event.host() => return Err("it is another host's own"),
        // These ids have no type and no topic in them.
        Origin::GivenUp { .. } | Origin::Refused { .. } if event.event_type != FAILURE || topic != FAILURES => {
            return Err("that work makes failures, on their topic");
        }
        // A failure with a group is weighed against what others of the group did.
        Origin::StockTimer { .. } | Origin::Timer { .. } if event.event_type == FAILURE && event.cause.is_some() => {
            return Err("no message leads to a timer's failure");
        }
        _ => {}
    }
    match origin.id(&[&event.event_type, topic]) == event.id {
        true => Ok(origin),
        false => Err("type, topic, run, cause and work make another one"),
    }
}

/// Whether what is said on a topic derives from nothing that others would repeat.
fn has_ids_of_its_own(topic: &str) -> bool {
    topic.starts_with(PEERS) || CONTROL.contains(&topic) || presented_on(topic).is_some()
}

fn others_group(key: Fingerprint, binding: &Binding, group: &str, open: String) -> Rule {
    let shown = match is_plain_group(group) {
        true => group,
        false => "GROUP",
    };
    let others = match binding.groups.are_any() {
        true => ", and with --group for each other group of its bots: a bound key works in no others",
        false => "",
    };
    Rule::OthersGroup {
        key,
        host: binding.host().to_owned(),
        groups: open,
        group: shown.to_owned(),
        wanted: format!("{} --group {shown}`{others}", super::flags(binding, &binding.may)),
    }
}

#[cfg(test)]
mod tests;
