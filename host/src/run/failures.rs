//! Which failures count against a run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::EventRow;
use super::causes::Causes;
use super::stage::{Stage, is_failure};

/// A run's failures, judged.
pub(super) struct Failures<'a> {
    /// Those that end a chain, in no meaningful order.
    pub(super) counted: Vec<Counted<'a>>,
    /// Those that are shown beside the chains: of bots that are no part of the pipeline, and refused messages of which
    /// nobody knows whose they were.
    pub(super) beside: Vec<&'a EventRow>,
}

/// A failure that ends a chain.
pub(super) struct Counted<'a> {
    /// The failure.
    pub(super) event: &'a EventRow,
    /// The event that its stage could not handle, if it was seen.
    pub(super) cause: Option<&'a EventRow>,
}

impl<'a> Failures<'a> {
    /// Of all events of a run.
    pub(super) fn of(causes: &Causes<'a>) -> Self {
        let done = Done::of(causes);
        // A stage that fails twice at one message, of one bot, has failed once.
        let mut counted = BTreeMap::new();
        let mut beside = Vec::new();
        for event in causes.events().filter(|event| is_failure(&event.event_type)) {
            match weigh(event, causes, &done) {
                Weight::Counts(stage) => {
                    let worker = (stage, event.cause.as_deref(), event.source.as_str());
                    let cause = causes.cause(event);
                    counted.insert(worker, Counted { event, cause });
                }
                Weight::Beside => beside.push(event),
                Weight::Outdated => {}
            }
        }
        let counted = counted.into_values().collect();
        Self { counted, beside }
    }
}

/// What a failure says of its run.
enum Weight {
    /// The stage failed.
    Counts(Stage),
    /// It is worth a word, and no more.
    Beside,
    /// What it speaks of was done after all.
    Outdated,
}

fn weigh(event: &EventRow, causes: &Causes<'_>, done: &Done<'_>) -> Weight {
    let by_itself = done.has_answered(event);
    let Some(stage) = text(event, "stage").and_then(Stage::failed_in) else {
        return if by_itself { Weight::Outdated } else { Weight::Beside };
    };
    let cause = causes.cause(event);
    if cause.is_some_and(|cause| Stage::done_by(&cause.event_type) != stage.before()) {
        // buildbot was sent something that is no commit, for instance: that is no build of this run.
        return Weight::Beside;
    }
    if done.has_succeeded(stage, event) || done.has_another_member_succeeded(stage, event) {
        return Weight::Outdated;
    }
    // What nobody knows led to it may be anything, and takes nothing away from what was done.
    if cause.is_none() && done.furthest >= Some(stage) {
        return Weight::Beside;
    }
    if !is_refusal(event) {
        return Weight::Counts(stage);
    }
    // Whoever wrote a message that was refused may have named any run and any cause. It takes nothing away from what
    // was verified.
    if done.is_done(stage, event) {
        Weight::Outdated
    } else {
        Weight::Counts(stage)
    }
}

/// Whether a failure says that a message was refused before anybody handled it.
pub(super) fn is_refusal(event: &EventRow) -> bool {
    event.data.get("refused").and_then(Value::as_bool) == Some(true)
}

/// The host that says an event.
fn host(event: &EventRow) -> &str {
    event.source.split_once('/').map_or(&event.source, |(host, _)| host)
}

/// A text of a failure's data.
pub(super) fn text<'a>(event: &'a EventRow, key: &str) -> Option<&'a str> {
    event.data.get(key).and_then(Value::as_str)
}

/// What was done, by the id of the message that was handled.
#[derive(Default)]
struct Done<'a> {
    /// With the bot that published something about it which is no failure.
    answers: BTreeSet<(&'a str, &'a str)>,
    /// With the stage and the bot that did it.
    by_whom: BTreeSet<(&'a str, Stage, &'a str)>,
    /// With the stage, the group whose work it was, and the hosts that did it.
    by_group: BTreeMap<(&'a str, Stage, &'a str), BTreeSet<&'a str>>,
    /// With the stage.
    stages: BTreeSet<(&'a str, Stage)>,
    /// The furthest stage that any event of the run tells of.
    furthest: Option<Stage>,
}

impl<'a> Done<'a> {
    fn of(causes: &Causes<'a>) -> Self {
        let mut done = Self::default();
        for event in causes.events().filter(|event| !is_failure(&event.event_type)) {
            let stage = Stage::done_by(&event.event_type);
            done.furthest = done.furthest.max(stage);
            let Some(cause) = event.cause.as_deref() else { continue };
            done.answers.insert((cause, &event.source));
            if let Some(stage) = stage {
                done.by_whom.insert((cause, stage, &event.source));
                if let Some(group) = event.group.as_deref() {
                    let hosts = done.by_group.entry((cause, stage, group)).or_default();
                    hosts.insert(host(event));
                }
                done.stages.insert((cause, stage));
            }
        }
        done
    }

    /// Whether the bot that failed published something else about the same message.
    fn has_answered(&self, failure: &'a EventRow) -> bool {
        let cause = failure.cause.as_deref();
        cause.is_some_and(|cause| self.answers.contains(&(cause, failure.source.as_str())))
    }

    /// Whether the bot that failed did this stage for the same message. It stands for its group: two groups that
    /// handle one message have a bot each, and the success of one says nothing of the other.
    fn has_succeeded(&self, stage: Stage, failure: &'a EventRow) -> bool {
        let cause = failure.cause.as_deref();
        cause.is_some_and(|cause| self.by_whom.contains(&(cause, stage, failure.source.as_str())))
    }

    /// Whether a member of the same group on another host did this stage for the same message: a member that dies, or lies,
    /// spoils nothing that another one did. What one host says in both ways is left as it is.
    fn has_another_member_succeeded(&self, stage: Stage, failure: &'a EventRow) -> bool {
        let (Some(cause), Some(group)) = (failure.cause.as_deref(), failure.group.as_deref()) else {
            return false;
        };
        let hosts = self.by_group.get(&(cause, stage, group));
        hosts.is_some_and(|hosts| hosts.iter().any(|other| *other != host(failure)))
    }

    /// Whether anybody did this stage for the same message.
    fn is_done(&self, stage: Stage, failure: &'a EventRow) -> bool {
        let cause = failure.cause.as_deref();
        cause.is_some_and(|cause| self.stages.contains(&(cause, stage)))
    }
}
