//! Who may say what: the one decision about a verified event (`docs/adr/0024-who-may-say-what.md`).
//!
//! Pure: the signer's binding, the event and its topic come in, *yes* or the rule that was broken goes out.

mod presented;

use std::sync::Arc;

use time::OffsetDateTime;

pub(super) use self::presented::lasts;
pub use self::presented::{BOT_PRESENCE, HOST_PRESENCE, presented_on};
use super::envelope::Event;
use super::topics::{FAILURES, Topics};
use crate::keys::{Binding, Claims, Duties, Duty, Fingerprint};

mod fit;
mod loose;
mod origin;
mod work;

pub(super) use fit::fits_topic;
use fit::fits_type;
pub use loose::{BuilderGroups, Loose, loose};
pub use work::may_work_in;

/// The type of failures.
const FAILURE: &str = "foundry.failure.v1";

/// What each duty of the pipeline allows: a type, on the topic that it belongs to.
const PIPELINE: [(Duty, &str, &str); 4] = [
    (Duty::Watch, "foundry.commit.v1", "commits"),
    (Duty::Build, "foundry.build.v1", "builds"),
    (Duty::Sign, "foundry.sign.v1", "signs"),
    (Duty::Publish, "foundry.dist.v1", "dists"),
];

/// What the stock bots call themselves and their work in a failure's `stage`.
const STAGES: [(Duty, [&str; 3]); 4] = [
    (Duty::Watch, ["watchbot", "watch", "commit"]),
    (Duty::Build, ["buildbot", "build", "builder"]),
    (Duty::Sign, ["signbot", "sign", "signing"]),
    (Duty::Publish, ["distbot", "dist", "publish"]),
];

/// Where an operator's wishes go.
const CONTROL: [&str; 2] = ["control", "jobs"];

/// Topics where hosts ask each other.
const PEERS: &str = "peers/";

/// Since when this host does what it did not do before. What it signed itself before that may do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgraded {
    /// It names topics in events.
    pub topics: OffsetDateTime,
    /// It says in events what their ids derive from.
    pub origins: OffsetDateTime,
    /// Its events carry the announcement of their commit.
    pub announcements: OffsetDateTime,
}

/// Who said something: the holder of a key.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// The key that made the signature.
    pub key: Fingerprint,
    /// Whose key it is; none for one that was imported before keys had hosts.
    pub binding: Option<Binding>,
    /// Whether it is this host itself.
    pub is_own: bool,
    /// The groups that the keys of all hosts are bound to.
    pub claims: Arc<Claims>,
}

/// The rule that an event breaks. The words end with what helps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rule {
    /// It was meant for another topic.
    #[error(
        "it was published to {named} and came on {came_on} (an event counts on its own topic alone; whoever brought it here, \
         such as a bridge between brokers, has to keep the names of topics)"
    )]
    OtherTopic {
        /// The full topic that the event names.
        named: String,
        /// The full topic that it came on.
        came_on: String,
    },
    /// It does not say which topic it was meant for.
    #[error(
        "it names no topic, as events of older versions did (upgrade host {host}, then push the commit again, or have it \
         built again)"
    )]
    NoTopic {
        /// The host that it says it is of.
        host: String,
    },
    /// No key of the store made the signature.
    #[error(
        "it is signed by key {key}, which is not among the messages keys here (if host {host} is one of yours, run \
         `foundry-host key import --role messages --host {host} --may DUTY FILE` with its public key, or \
         `foundry-host key import --farm FILE`)"
    )]
    UnknownKey {
        /// The key that the signature names.
        key: String,
        /// The host that the event says it is of, if that can be a host's name.
        host: String,
    },
    /// The key belongs to nobody yet.
    #[error(
        "it is signed by key {key}, which is bound to no host, and so believed in nothing (run `foundry-host key allow {key} \
         --host {host} --may DUTY` if it is that host's)"
    )]
    Unbound {
        /// The key.
        key: Fingerprint,
        /// The host that the event says it is of.
        host: String,
    },
    /// The key is another host's.
    #[error(
        "it says that it is of {source_name}, and is signed by key {key} of host {host} (if the key has moved, run \
         `foundry-host key allow {key} --host NAME --may {may}`)"
    )]
    OtherHost {
        /// The key.
        key: Fingerprint,
        /// The host that it is bound to.
        host: String,
        /// What that host may say, as `key allow` is told.
        may: String,
        /// The event's source.
        source_name: String,
    },
    /// The host may not say that there.
    #[error(
        "host {host} may {}, and so no {what} (if it should, run `foundry-host key allow {key} --host \
         {host} --may {wanted}`)",
        words(.may)
    )]
    NotAllowed {
        /// The key.
        key: Fingerprint,
        /// The host.
        host: String,
        /// What it may say.
        may: Duties,
        /// The event's type, and the topic without prefix: one text, since refusals travel by value.
        what: String,
        /// What would be enough, as `key allow` is told.
        wanted: String,
    },
    /// The topic is where another host presents itself, or the event is no presence.
    #[error(
        "host {host} may present itself and its own bots, and so no {what} (no duty allows that: whoever has the host's key made \
         it; if somebody took the key, run `foundry-host key remove` with it)"
    )]
    Presence {
        /// The host.
        host: String,
        /// The event's type, and the topic without prefix.
        what: String,
    },
    /// The failure is of a bot that the host has not.
    #[error(
        "host {host} may {}, and so not say that {stage} failed (if it should, run `foundry-host key allow {key} --host \
         {host} --may {wanted}`)",
        words(.may)
    )]
    OthersFailure {
        /// The key.
        key: Fingerprint,
        /// The host.
        host: String,
        /// What it may say.
        may: Duties,
        /// The failure's stage.
        stage: String,
        /// What would be enough, as `key allow` is told.
        wanted: String,
    },
    /// It does not say what its id derives from.
    #[error(
        "it does not say what its id derives from, as events of older versions did not (upgrade host {host}, then push the commit \
         again, or have it built again; a program that is no foundry-host has to send the attributes `work`, `owner` and what \
         belongs to them)"
    )]
    NoOrigin {
        /// The host that it says it is of.
        host: String,
    },
    /// It has the id of another event.
    #[error(
        "its id {id} is not the one that it has by its own words: {why} (host {host} may have been taken over: look into it, and \
         take its key away with `foundry-host key remove {key}` if so)"
    )]
    OthersId {
        /// The key.
        key: Fingerprint,
        /// The host.
        host: String,
        /// The event's id.
        id: String,
        /// What does not fit.
        why: &'static str,
    },
    /// It is work of a group in which the host may not work.
    #[error(
        "host {host} may work in {groups}, and so not in {group} (if it should, run `foundry-host key allow {key} --host {host} \
         --may {wanted})"
    )]
    OthersGroup {
        /// The key.
        key: Fingerprint,
        /// The host.
        host: String,
        /// The groups in which it may work.
        groups: String,
        /// The group.
        group: String,
        /// What would be enough, as `key allow` is told, and what else to see to. One field, since refusals are returned in many places
        /// and are not to be larger than they have to.
        wanted: String,
    },
}

impl Rule {
    /// A short name that stays the same: what refusals are told apart by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::OtherTopic { .. } => "other-topic",
            Self::NoTopic { .. } => "no-topic",
            Self::UnknownKey { .. } => "unknown-key",
            Self::Unbound { .. } => "unbound-key",
            Self::OtherHost { .. } => "other-host",
            Self::NotAllowed { .. } => "duty",
            Self::Presence { .. } => "presence",
            Self::OthersFailure { .. } => "stage",
            Self::NoOrigin { .. } => "no-origin",
            Self::OthersId { .. } => "id",
            Self::OthersGroup { .. } => "group",
        }
    }

    /// Whether another trust store could come to another decision.
    #[must_use]
    pub fn is_about_trust(&self) -> bool {
        !matches!(
            self,
            Self::OtherTopic { .. }
                | Self::NoTopic { .. }
                | Self::NoOrigin { .. }
                | Self::OthersId { .. }
                | Self::Presence { .. }
        )
    }
}

/// Decides whether a speaker may say an event on the full topic that it came on. `upgraded` is since when this host's own events
/// have all that events have to have.
///
/// # Errors
/// The [`Rule`] that it breaks.
pub fn decide(
    speaker: &Speaker,
    event: &Event,
    came_on: &str,
    topics: &Topics,
    upgraded: Upgraded,
) -> Result<(), Rule> {
    let topic = topics.short(came_on);
    match &event.topic {
        Some(named) if named == came_on => {}
        Some(named) => {
            return Err(Rule::OtherTopic {
                named: named.clone(),
                came_on: came_on.to_owned(),
            });
        }
        None if is_from_before(speaker, event, topic, upgraded.topics) => {}
        None => {
            return Err(Rule::NoTopic {
                host: presentable(event.host()),
            });
        }
    }
    let Some(binding) = &speaker.binding else {
        return Err(Rule::Unbound {
            key: speaker.key,
            host: presentable(event.host()),
        });
    };
    if event.host() != binding.host() {
        return Err(Rule::OtherHost {
            key: speaker.key,
            host: binding.host().to_owned(),
            may: flags(binding, &binding.may),
            source_name: event.source.clone(),
        });
    }
    allowed(speaker, binding, event, topic)?;
    origin::check(speaker, binding, event, topic, upgraded.origins)
}

fn allowed(speaker: &Speaker, binding: &Binding, event: &Event, topic: &str) -> Result<(), Rule> {
    let (may, event_type) = (&binding.may, event.event_type.as_str());
    let anybody = !may.is_empty();
    if let Some(of) = presented_on(topic)
        && anybody
    {
        return presented::presents(binding.host(), of, event_type, topic);
    }
    if may.iter().any(|duty| covers(duty, event_type, topic)) {
        return Ok(());
    }
    if anybody && is_between_hosts(event_type, topic) {
        return Ok(());
    }
    let (key, host) = (speaker.key, binding.host().to_owned());
    if anybody && event_type == FAILURE && topic == FAILURES {
        let stage = event.data.get("stage").and_then(serde_json::Value::as_str);
        return match of_stage(stage.unwrap_or_default()) {
            Some(needs) if !may.contains(&needs) => Err(Rule::OthersFailure {
                key,
                host,
                may: may.clone(),
                stage: stage.unwrap_or_default().to_owned(),
                wanted: flags(binding, &with(may, needs)),
            }),
            _ => Ok(()),
        };
    }
    Err(Rule::NotAllowed {
        key,
        host,
        may: may.clone(),
        what: format!("{event_type} on {topic}"),
        wanted: flags(binding, &with(may, what_allows(event_type, topic))),
    })
}

/// Whether a duty is enough for a type on a topic (without prefix), whatever the event says.
fn covers(duty: &Duty, event_type: &str, topic: &str) -> bool {
    match duty {
        Duty::All => true,
        Duty::Operate => CONTROL.contains(&topic) && home_of(event_type).is_none(),
        Duty::Extra {
            event_type: pattern,
            topic: filter,
        } => fits_type(pattern, event_type) && fits_topic(filter, topic),
        named => PIPELINE
            .iter()
            .any(|(duty, of, on)| duty == named && *of == event_type && *on == topic),
    }
}

fn with(may: &Duties, another: Duty) -> Duties {
    may.iter().cloned().chain([another]).collect()
}

/// Duties, and the groups of a binding, as `key allow` is told behind `--may`.
fn flags(binding: &Binding, may: &Duties) -> String {
    let may = match may.is_empty() {
        true => "DUTY".to_owned(),
        false => may.to_string(),
    };
    format!("{may}{}", binding.groups.flags())
}

/// Duties as a message names them.
fn words(may: &Duties) -> String {
    match may.is_empty() {
        true => "nothing".to_owned(),
        false => may.to_string(),
    }
}

/// The duty that would allow a type on a topic.
fn what_allows(event_type: &str, topic: &str) -> Duty {
    let named = PIPELINE.iter().map(|(duty, ..)| duty).chain([&Duty::Operate]);
    let named = named.into_iter().find(|duty| covers(duty, event_type, topic));
    named.cloned().unwrap_or_else(|| Duty::Extra {
        event_type: event_type.to_owned(),
        topic: topic.to_owned(),
    })
}

/// Questions and answers of hosts: whoever has a duty takes part.
fn is_between_hosts(event_type: &str, topic: &str) -> bool {
    let kind = event_type.strip_prefix("foundry.").unwrap_or_default();
    topic.starts_with(PEERS) && (kind.ends_with("-question.v1") || kind.ends_with("-answer.v1"))
}

/// The duty of the stock bot that a failure's `stage` means; none if it means another bot.
#[must_use]
pub fn of_stage(stage: &str) -> Option<Duty> {
    let stage = stage.trim().to_ascii_lowercase();
    let mut stages = STAGES.iter();
    stages
        .find(|(_, names)| names.contains(&stage.as_str()))
        .map(|(duty, _)| duty.clone())
}

/// The topic that a type of the pipeline belongs to.
fn home_of(event_type: &str) -> Option<&'static str> {
    let failures = (event_type == FAILURE).then_some(FAILURES);
    let mut pipeline = PIPELINE.iter();
    failures.or_else(|| pipeline.find(|(_, of, _)| *of == event_type).map(|(.., topic)| *topic))
}

/// Whether an event without a topic may count: it waited in this host's own queues while the host was upgraded. Types of
/// other bots belong anywhere but on the pipeline's topics.
fn is_from_before(speaker: &Speaker, event: &Event, topic: &str, upgraded: OffsetDateTime) -> bool {
    let is_at_home = match home_of(&event.event_type) {
        Some(home) => home == topic,
        None => {
            let taken = PIPELINE.iter().any(|(.., of_pipeline)| *of_pipeline == topic);
            !taken && topic != FAILURES && !CONTROL.contains(&topic) && !topic.starts_with(PEERS)
        }
    };
    speaker.is_own && is_at_home && event.moment().is_ok_and(|made| made < upgraded)
}

/// A host's name out of an event that need not be what it says, fit for a command line.
pub(super) fn presentable(host: &str) -> String {
    match Binding::new(host, Duties::default()) {
        Ok(binding) => binding.host().to_owned(),
        Err(_) => "HOST".to_owned(),
    }
}

#[cfg(test)]
mod tests;
