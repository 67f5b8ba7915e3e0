//! Recorded worlds: what git, builds, HTTP and mail answered once, and the clock showed, for tests of bots that need none of
//! them.
//!
//! A host asks the real thing. A trial may do the same and write it down, or answer from what was written down; then
//! nothing outside is asked at all. Grants are checked before, in either case.

mod build;
mod clock;
mod git;
mod http;
mod mail;
mod world;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use build::{Build, BuildAsked, BuildFailure, Built, BuiltFile, FailedBuild};
pub use git::{Checkout, Commit, GitFailure, Refs, Repository, Signed, Tree};
pub use http::{Http, HttpAnswer, HttpAsked, HttpFailure};
pub use mail::{Mail, MailAsked, MailFailure};
pub use world::{Answer, Content, Exchange, Reading, Reel, World};

/// Where the answers come from.
#[derive(Debug, Default)]
pub enum Tape {
    /// The real thing.
    #[default]
    Off,
    /// The real thing, and they are written down.
    Recording(Mutex<World>),
    /// A recorded world.
    Playing(Mutex<Player>),
}

/// A recorded world, as far as it was not asked yet.
#[derive(Debug)]
pub struct Player {
    left: World,
    last: World,
    /// Readings of the clock that were taken.
    readings: usize,
}

/// What came of a question of a kind.
type AnswerTo<R> = Answer<<R as Reel>::Answer, <R as Reel>::Error>;

/// A question that a recorded world has no answer to.
#[derive(Debug, thiserror::Error)]
#[error(
    "the recorded world has no answer to this {what}: {asked} (record it with --record, or write it into the file)"
)]
pub struct Unrecorded {
    what: &'static str,
    asked: String,
}

impl Tape {
    /// Write down what is asked and answered.
    #[must_use]
    pub fn recording() -> Self {
        Self::Recording(Mutex::default())
    }

    /// Answer from a recorded world.
    #[must_use]
    pub fn playing(world: World) -> Self {
        Self::Playing(Mutex::new(Player {
            left: world,
            last: World::default(),
            readings: 0,
        }))
    }

    /// Whether nothing outside is to be asked.
    #[must_use]
    pub fn is_playing(&self) -> bool {
        matches!(self, Self::Playing(_))
    }

    /// What was written down so far.
    #[must_use]
    pub fn recorded(&self) -> Option<World> {
        match self {
            Self::Recording(world) => Some(lock(world).clone()),
            Self::Off | Self::Playing(_) => None,
        }
    }

    /// The recorded answer to a question, if answers are recorded ones.
    ///
    /// # Errors
    /// [`Unrecorded`].
    pub fn play<R: Reel>(&self, asked: &R::Asked) -> Result<Option<AnswerTo<R>>, Unrecorded> {
        match self {
            Self::Playing(player) => lock(player).play::<R>(asked).map(Some).ok_or_else(|| Unrecorded {
                what: R::WHAT,
                asked: serde_json::to_string(asked).unwrap_or_default(),
            }),
            Self::Off | Self::Recording(_) => Ok(None),
        }
    }

    /// Write down what the real thing answered, if that is wanted.
    pub fn record<R: Reel>(&self, exchange: impl FnOnce() -> Exchange<R>) {
        self.amend(|world| R::of(world).push(exchange()));
    }

    /// Add to what is written down.
    pub fn amend(&self, change: impl FnOnce(&mut World)) {
        if let Self::Recording(world) = self {
            change(&mut lock(world));
        }
    }

    /// Whether answers are written down.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        matches!(self, Self::Recording(_))
    }
}

impl Player {
    /// The first answer that was not given yet; when all were, the last one again.
    fn play<R: Reel>(&mut self, asked: &R::Asked) -> Option<AnswerTo<R>> {
        let left = R::of(&mut self.left);
        if let Some(at) = left.iter().position(|exchange| exchange.asked == *asked) {
            let exchange = left.remove(at);
            let answer = exchange.answer.clone();
            let last = R::of(&mut self.last);
            last.retain(|old| old.asked != *asked);
            last.push(exchange);
            return Some(answer);
        }
        R::of(&mut self.last)
            .iter()
            .find(|exchange| exchange.asked == *asked)
            .map(|exchange| exchange.answer.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is half done where a thread could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
