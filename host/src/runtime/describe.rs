//! Asking a component what it is. Nothing is granted to it, so this needs no host.

use std::time::Duration;

use super::component::ComponentInfo;
use super::engine::Engine;
use super::error::{AdmissionError, Fault};
use super::instance::{Limited, Limits, call_within};
use super::invocation::MemoryLimit;
use super::wit::types::Description;

/// `describe` does no work.
const LIMITS: Limits = Limits {
    memory: 256 * 1024 * 1024,
    guest_time: Duration::from_secs(5),
    wall_time: Duration::from_secs(30),
};

/// Why a component does not say what it is.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// It is no bot.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// Its code failed.
    #[error("cannot load {name}: its describe {fault}")]
    Fault {
        /// The component.
        name: String,
        /// How.
        fault: Fault,
    },
}

/// A component that has no name, no options and no rights yet.
struct Stranger {
    memory: MemoryLimit,
}

impl Limited for Stranger {
    fn memory(&mut self) -> &mut MemoryLimit {
        &mut self.memory
    }
}

impl ComponentInfo {
    /// Ask the component what it is.
    ///
    /// # Errors
    /// [`DescribeError`] if it is no bot, or if its code fails.
    pub async fn describe(&self, engine: &Engine) -> Result<Description, DescribeError> {
        let pre = self.admit_to_describe(engine)?;
        let stranger = Stranger {
            memory: MemoryLimit {
                bytes: LIMITS.memory,
                exceeded: false,
            },
        };
        let answer = call_within(LIMITS, engine, &pre, stranger, |world, store| {
            Box::pin(world.call_describe(store))
        });
        let (description, _) = answer.await.map_err(|fault| DescribeError::Fault {
            name: self.name.clone(),
            fault,
        })?;
        Ok(description)
    }
}
