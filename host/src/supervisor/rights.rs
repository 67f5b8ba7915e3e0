//! What a bot may do on this host: its operator's grants against what its component asks for.

use std::time::Duration;

use super::error::LoadFailure;
use super::inspector;
use super::options::{OptionError, Resolved};
use super::spec::{BotSource, BotSpec};
use crate::capability::topic_grants::{Bearer, Request, Routes, is_reserved_name, weigh};
use crate::capability::{Grants, Lacking, MissingGrant};
use crate::runtime::wit::types::Description;
use crate::runtime::{ComponentInfo, Limits};

/// What a bot may do, and what it lacks.
pub(super) struct Rights {
    pub(super) grants: Grants,
    pub(super) routes: Routes,
    /// Imports that are not granted.
    pub(super) imports: Vec<MissingGrant>,
    /// Topics that are not granted.
    pub(super) topics: Vec<MissingGrant>,
}

impl Rights {
    /// The rights of a bot that is loaded as `name`.
    ///
    /// # Errors
    /// [`LoadFailure`] if no grant could make up for what is wrong: a reserved name, or a topic that no grant can name.
    pub(super) fn of(
        spec: &BotSpec,
        name: &str,
        component: &ComponentInfo,
        description: &Description,
        resolved: &Resolved,
    ) -> Result<Self, LoadFailure> {
        if matches!(spec.source, BotSource::File(_)) {
            check_name(name)?;
            check_topics(name, description, resolved)?;
        }
        let grants = inspector::grants(spec, component, description, &resolved.values);
        let request = Request {
            inputs: &resolved.inputs,
            endpoint_chosen: resolved.endpoint_chosen,
            outputs: &resolved.outputs,
        };
        let (routes, topics) = weigh(bearer(spec, name, description), &request, &grants);
        Ok(Self {
            imports: component.lacks(&grants),
            topics,
            routes,
            grants,
        })
    }

    /// Make sure that nothing is missing.
    ///
    /// # Errors
    /// [`LoadFailure::NotGranted`] with all that is.
    pub(super) fn require(&self, name: &str, description: &Description) -> Result<(), LoadFailure> {
        let missing = self.imports.iter().chain(&self.topics).cloned();
        require(name, description, missing.collect())
    }
}

/// Refuse a bot that lacks something.
pub(super) fn require(name: &str, description: &Description, missing: Vec<MissingGrant>) -> Result<(), LoadFailure> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(LoadFailure::NotGranted {
        name: name.to_owned(),
        lacking: Lacking {
            grants: missing,
            bots_own: super::known_options(description),
        },
    })
}

/// Who a bot is, as far as its topics depend on it.
pub(super) fn bearer<'a>(spec: &'a BotSpec, name: &'a str, description: &'a Description) -> Bearer<'a> {
    match &spec.source {
        BotSource::Stock(stock) => Bearer::Stock(stock),
        BotSource::File(_) => Bearer::File {
            name,
            component: &description.name,
        },
    }
}

fn check_name(name: &str) -> Result<(), LoadFailure> {
    if is_reserved_name(name) {
        return Err(LoadFailure::ReservedName(name.to_owned()));
    }
    Ok(())
}

/// Grants are written with `:` and `@`: a topic with one of them would be granted as something else.
fn check_topics(name: &str, description: &Description, resolved: &Resolved) -> Result<(), LoadFailure> {
    let bad = |topic: &str| topic.contains([':', '@']);
    let inputs = description.inputs.iter().map(|input| &input.option);
    let outputs = description.outputs.iter().map(|output| (&output.option, &output.topic));
    let read = inputs.zip(resolved.inputs.iter().map(|(_, topic)| topic));
    let published = outputs.filter_map(|(option, topic)| Some((option, resolved.outputs.get(topic)?)));
    let Some((option, topic)) = read.chain(published).find(|(_, topic)| bad(topic)) else {
        return Ok(());
    };
    Err(LoadFailure::Options {
        name: name.to_owned(),
        error: OptionError::Malformed {
            name: option.clone(),
            value: topic.clone(),
            why: "a topic of a bot from a file holds no : and no @, with which grants are written".to_owned(),
        },
    })
}

/// Time that one message may take: what the operator says, else what the bot asks for as far as the host allows it, else
/// the host's default. Stock bots have what they ask for.
pub(super) fn limits(spec: &BotSpec, description: &Description, longest: Duration) -> Limits {
    let defaults = Limits::default();
    let asked = asked(description);
    let most = match spec.source {
        BotSource::Stock(_) => Duration::MAX,
        BotSource::File(_) => longest,
    };
    let wall_time = spec
        .timeout
        .unwrap_or_else(|| asked.unwrap_or(defaults.wall_time).min(most));
    Limits {
        memory: spec.memory.unwrap_or(defaults.memory),
        guest_time: defaults.guest_time,
        wall_time,
    }
}

fn asked(description: &Description) -> Option<Duration> {
    description
        .message_timeout
        .map(|seconds| Duration::from_secs(seconds.into()))
}

/// What its operator should know of a bot that does not get all that it asks for.
pub(super) fn notes(spec: &BotSpec, description: &Description, routes: &Routes, limits: &Limits) -> Vec<String> {
    let mut notes: Vec<_> = routes.moved.iter().map(ToString::to_string).collect();
    if spec.timeout.is_none()
        && let Some(asked) = asked(description).filter(|asked| *asked > limits.wall_time)
    {
        notes.push(format!(
            "it asks for {} s for a message and has {} s (--timeout gives it more, host.longest-message gives it to all bots)",
            asked.as_secs(),
            limits.wall_time.as_secs_f32()
        ));
    }
    notes
}
