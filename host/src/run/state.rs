//! A run's state: its chains, and what they make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::EventRow;
use super::causes::Causes;
use super::failures::{Counted, Failures, is_refusal, text};
use super::stage::Stage;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// The commit was announced.
    Announced,
    /// Nothing failed, and the furthest chain is built.
    Built,
    /// Nothing failed, and the furthest chain is signed.
    Signed,
    /// Nothing failed, and a chain is published.
    Published,
    /// Some chain failed, and none is published.
    Failed,
    /// Some chain failed, and another one is published.
    PartlyFailed,
}

impl RunStatus {
    /// Whether some chain failed, so that not all of the run will be published.
    #[must_use]
    pub fn has_failed(self) -> bool {
        matches!(self, Self::Failed | Self::PartlyFailed)
    }

    /// For people: `partly failed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Built => "built",
            Self::Signed => "signed",
            Self::Published => "published",
            Self::Failed => "failed",
            Self::PartlyFailed => "partly failed",
        }
    }
}

/// How far a chain has come. What is further is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainStatus {
    /// The commit was announced, and nothing came of it yet.
    Announced,
    /// Its packages were built.
    Built,
    /// They were signed.
    Signed,
    /// They were published: an end.
    Published,
    /// A stage failed: an end.
    Failed,
}

impl ChainStatus {
    /// For people: `built`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Built => "built",
            Self::Signed => "signed",
            Self::Published => "published",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing is to follow.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Published | Self::Failed)
    }

    fn after(stage: Stage) -> Self {
        match stage {
            Stage::Commit => Self::Announced,
            Stage::Build => Self::Built,
            Stage::Sign => Self::Signed,
            Stage::Dist => Self::Published,
        }
    }
}

/// What failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageFailure {
    /// What failed, in the event's words: a kind of work (`build`) or a bot (`lintbot`).
    pub stage: String,
    /// Where in the stage, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why.
    pub reason: String,
    /// Who says so, `<host>/<bot>`.
    pub source: String,
    /// Id of the event that says so.
    pub event: String,
    /// Whether the message was refused before anybody handled it. Who wrote it is known only if the reason names a key that
    /// is bound to a host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

impl StageFailure {
    fn of(event: &EventRow) -> Self {
        let owned = |key: &str| text(event, key).map(ToOwned::to_owned);
        Self {
            stage: owned("stage").unwrap_or_default(),
            phase: owned("phase").filter(|phase| !phase.is_empty()),
            reason: owned("reason").unwrap_or_default(),
            source: event.source.clone(),
            event: event.id.clone(),
            refused: is_refusal(event),
        }
    }
}

/// `build (dependencies) failed: no such package`.
impl fmt::Display for StageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stage, phase, reason, ..
        } = self;
        match phase {
            Some(phase) => write!(f, "{stage} ({phase}) failed: {reason}"),
            None => write!(f, "{stage} failed: {reason}"),
        }
    }
}

/// One way from the commit: what one group built, another signed, and a third one published; as far as it has come. (It is
/// a branch of the graph of causes. That word is git's here.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chain {
    /// The architecture that was built for. `None` before there is a build.
    pub architecture: Option<String>,
    /// Who built, `<host>/<bot>`. `None` before there is a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// How far it has come.
    pub status: ChainStatus,
    /// Who published its newest event, `<host>/<bot>`.
    pub source: String,
    /// The id of that event.
    pub event: String,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<StageFailure>,
}

impl Chain {
    /// What people know it by: its architecture, or else who published its newest event.
    #[must_use]
    pub fn label(&self) -> &str {
        self.architecture.as_deref().unwrap_or(&self.source)
    }

    /// What distinguishes it from another one with the same label.
    fn detail(&self, with_source: bool) -> String {
        match &self.builder {
            Some(builder) if with_source && *builder != self.source => format!("{builder}, {}", self.source),
            Some(builder) => builder.clone(),
            None => self.source.clone(),
        }
    }

    fn order(&self) -> impl Ord + '_ {
        (self.label(), &self.builder, &self.source, self.status, &self.event)
    }

    /// That ends with an event, which goes on from events of the pipeline.
    fn ending(event: &EventRow, status: ChainStatus, from: Option<&EventRow>, causes: &Causes<'_>) -> Self {
        let way: Vec<_> = from.into_iter().flat_map(|from| causes.back_from(from)).collect();
        let architecture = way.iter().find_map(|event| text(event, "architecture"));
        let build = way
            .iter()
            .find(|event| Stage::done_by(&event.event_type) == Some(Stage::Build));
        Self {
            architecture: architecture.map(ToOwned::to_owned),
            builder: build.map(|build| build.source.clone()),
            status,
            source: event.source.clone(),
            event: event.id.clone(),
            failure: None,
        }
    }

    fn reached(event: &EventRow, stage: Stage, causes: &Causes<'_>) -> Self {
        Self::ending(event, ChainStatus::after(stage), Some(event), causes)
    }

    fn failed(failure: &Counted<'_>, causes: &Causes<'_>) -> Self {
        Self {
            failure: Some(StageFailure::of(failure.event)),
            ..Self::ending(failure.event, ChainStatus::Failed, failure.cause, causes)
        }
    }
}

/// How far a run has come, chain by chain. It depends on which events there are, and on nothing else: neither on when they
/// were published, nor on the order in which they were seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunState {
    /// What the chains make of it.
    pub status: RunStatus,
    /// Whether every chain that began has come to an end.
    #[serde(default)]
    pub finished: bool,
    /// The chains, by label and source.
    #[serde(default)]
    pub chains: Vec<Chain>,
    /// Failures that end no chain: of bots that are no part of the pipeline.
    #[serde(default)]
    pub other_failures: Vec<StageFailure>,
}

impl RunState {
    /// Of all events of a run, in any order.
    #[must_use]
    pub fn of(events: &[EventRow]) -> Self {
        let causes = Causes::of(events);
        let failures = Failures::of(&causes);
        let chains = chains(&causes, &failures.counted);
        let other_failures: Vec<_> = failures.beside.into_iter().map(StageFailure::of).collect();
        // A run of other bots alone has no chain. That one of them failed is all that is known of its end.
        let has_only_failed = chains.is_empty() && !other_failures.is_empty();
        Self {
            status: if has_only_failed {
                RunStatus::Failed
            } else {
                status(&chains)
            },
            finished: has_only_failed || (!chains.is_empty() && chains.iter().all(|chain| chain.status.is_end())),
            chains,
            other_failures,
        }
    }

    /// What people know the chains by, in their order: the label; where several have the same, with the builder; where one
    /// builder has several, with the source.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        let of_label = counted(self.chains.iter().map(Chain::label));
        let builder = |chain: &Chain| (chain.label().to_owned(), chain.detail(false));
        let of_builder = counted(self.chains.iter().map(builder));
        let label = |chain: &Chain| {
            let is_clear = chain.label() == chain.source || of_label.get(chain.label()) == Some(&1);
            if is_clear {
                return chain.label().to_owned();
            }
            let with_source = of_builder.get(&builder(chain)) != Some(&1);
            format!("{} ({})", chain.label(), chain.detail(with_source))
        };
        self.chains.iter().map(label).collect()
    }

    /// The chains that have not come to an end.
    pub fn pending(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(|chain| !chain.status.is_end())
    }

    /// Whether the end of the run is known: it is published, or cannot be published as a whole any more.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.finished || self.status.has_failed()
    }
}

/// How often each thing is there.
fn counted<T: Ord>(things: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    things.fold(BTreeMap::new(), |mut counted, thing| {
        *counted.entry(thing).or_default() += 1;
        counted
    })
}

fn status(chains: &[Chain]) -> RunStatus {
    let any = |status| chains.iter().any(|chain| chain.status == status);
    if any(ChainStatus::Failed) {
        return if any(ChainStatus::Published) {
            RunStatus::PartlyFailed
        } else {
            RunStatus::Failed
        };
    }
    match chains.iter().map(|chain| chain.status).max() {
        Some(ChainStatus::Published) => RunStatus::Published,
        Some(ChainStatus::Signed) => RunStatus::Signed,
        Some(ChainStatus::Built) => RunStatus::Built,
        _ => RunStatus::Announced,
    }
}

/// The ends of all ways: what nothing follows on, and what failed.
fn chains(causes: &Causes<'_>, failures: &[Counted<'_>]) -> Vec<Chain> {
    let mut chains: Vec<_> = failures.iter().map(|failure| Chain::failed(failure, causes)).collect();
    let (commits, tips): (Vec<_>, Vec<_>) = tips(causes, failures)
        .into_iter()
        .partition(|(_, stage)| *stage == Stage::Commit);
    let reached = |(event, stage)| Chain::reached(event, stage, causes);
    chains.extend(tips.into_iter().map(reached));
    if chains.is_empty() {
        // Once any work has begun, a commit that nothing follows on is no chain: whether anybody is to build it is
        // not known. It may also be that of work whose events name causes that were not seen.
        chains.extend(commits.into_iter().map(reached).take(1));
    }
    chains.sort_by(|a, b| a.order().cmp(&b.order()));
    chains
}

/// Successful events that nothing follows on, by id. What one bot publishes of one message in several suites is one end.
fn tips<'a>(causes: &Causes<'a>, failures: &[Counted<'a>]) -> Vec<(&'a EventRow, Stage)> {
    let parents = causes.events().filter_map(|event| {
        Stage::done_by(&event.event_type)?;
        causes.parent(event)
    });
    let failed = failures.iter().filter_map(|failure| failure.cause);
    let followed: BTreeSet<&str> = parents.chain(failed).map(|event| event.id.as_str()).collect();
    let mut tips = Vec::new();
    let mut published = BTreeMap::new();
    for event in causes.events().filter(|event| !followed.contains(event.id.as_str())) {
        match Stage::done_by(&event.event_type) {
            Some(Stage::Dist) => {
                let publication = (event.cause.as_deref().unwrap_or(&event.id), event.source.as_str());
                published.entry(publication).or_insert((event, Stage::Dist));
            }
            Some(stage) => tips.push((event, stage)),
            None => {}
        }
    }
    tips.extend(published.into_values());
    tips
}
