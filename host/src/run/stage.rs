//! The steps of the pipeline, and which events speak of them.

use crate::event::of_stage;
use crate::keys::Duty;

/// A step of the pipeline. A later step is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// A commit is announced.
    Commit,
    /// Its packages are built.
    Build,
    /// They are signed.
    Sign,
    /// They are published.
    Dist,
}

/// The CloudEvents type of failures.
const FAILURE: &str = "foundry.failure.v1";

impl Stage {
    /// The step whose success an event of this type is; `None` for failures, and for the types of other bots.
    pub(super) fn done_by(event_type: &str) -> Option<Self> {
        match event_type {
            "foundry.commit.v1" => Some(Self::Commit),
            "foundry.build.v1" => Some(Self::Build),
            "foundry.sign.v1" => Some(Self::Sign),
            "foundry.dist.v1" => Some(Self::Dist),
            _ => None,
        }
    }

    /// The step that a failure names in `stage`: the kind of work, as bots say it, or the stock bot, as the host says it
    /// of a message that was given up. `None` if it is no step of the pipeline.
    pub(super) fn failed_in(name: &str) -> Option<Self> {
        match of_stage(name)? {
            Duty::Build => Some(Self::Build),
            Duty::Sign => Some(Self::Sign),
            Duty::Publish => Some(Self::Dist),
            _ => None,
        }
    }

    /// The step whose events this one handles.
    pub(super) fn before(self) -> Option<Self> {
        match self {
            Self::Commit => None,
            Self::Build => Some(Self::Commit),
            Self::Sign => Some(Self::Build),
            Self::Dist => Some(Self::Sign),
        }
    }
}

/// Whether an event of this type says that something failed.
pub(super) fn is_failure(event_type: &str) -> bool {
    event_type == FAILURE
}
