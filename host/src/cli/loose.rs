//! Keys that should be bound to a group: what `check` and `key list` say of them.

use std::path::Path;
use std::time::Duration;

use crate::bus::Presence;
use crate::config::{Config, Problem, Severity};
use crate::control::{Answer, Client, LoadedBots, Request};
use crate::event::policy::{BuilderGroups, Loose, loose};
use crate::keys::{KeyInfo, KeyStore};
use crate::supervisor::{BotSpec, ENDPOINT};

/// How long a running host may take to say who builds where. Without its answer the command names no group.
const PATIENCE: Duration = Duration::from_secs(5);

/// What builds, and the group that it works in unless told otherwise.
const BUILDBOT: (&str, &str) = ("buildbot", "pub/buildbot");

/// The topic of commits and that of builds.
const FROM_TO: (&str, &str) = ("commits", "builds");

/// The keys among these that should be bound to a group, as far as the host of a state directory, if it runs, and the keys
/// themselves tell the groups.
pub(super) async fn of_keys(keys: &[KeyInfo], state: &Path) -> Vec<Loose> {
    let mut known = BuilderGroups::default();
    add_present(&mut known, state).await;
    loose(keys, &known)
}

/// The same as problems of a configuration, which tells of groups as well. A store that can't be read is told by other checks.
pub(super) async fn problems(config: &Config, loaded: &LoadedBots, state: &Path) -> Vec<Problem> {
    let Ok(keys) = KeyStore::open(state.join("keys")).and_then(|store| store.list()) else {
        return Vec::new();
    };
    let mut known = BuilderGroups::default();
    let kept = loaded.all().0;
    let specs = config.bots.iter().map(|bot| &bot.spec);
    for spec in specs.chain(kept.iter().map(|(_, spec)| spec)) {
        if let Some(group) = endpoint(spec) {
            known.add(group);
        }
    }
    for (_, group) in config.messages.expect.iter().filter(|(topic, _)| topic == FROM_TO.0) {
        known.add(group);
    }
    add_present(&mut known, state).await;
    let problem = |Loose { what, remedy }| Problem {
        severity: Severity::Warning,
        file: config.path.as_deref().unwrap_or(Path::new("foundry.toml")).to_owned(),
        line: None,
        key: "messages.trust".to_owned(),
        message: what,
        remedy,
    };
    loose(&keys, &known).into_iter().map(problem).collect()
}

/// The group of a buildbot.
fn endpoint(spec: &BotSpec) -> Option<&str> {
    let named = spec.options.get(ENDPOINT).and_then(|groups| groups.first());
    let is_builder = spec.source.stock() == Some(BUILDBOT.0);
    is_builder.then(|| named.map_or(BUILDBOT.1, String::as_str))
}

/// Add what the running host knows of its own and others' groups.
async fn add_present(known: &mut BuilderGroups, state: &Path) {
    let client = Client::new(state).with_patience(PATIENCE);
    let Ok(Answer::Bots { bots, .. }) = client.ask(Request::List).await else {
        return;
    };
    for Presence {
        host,
        component,
        group,
        publishes,
        ..
    } in bots.into_iter().map(|bot| bot.presence)
    {
        let builds = component == BUILDBOT.0 || publishes.iter().any(|topic| topic == FROM_TO.1);
        if let Some(group) = group {
            known.add_of(&host, &group);
            if builds {
                known.add(&group);
            }
        }
    }
}
