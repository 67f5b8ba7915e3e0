//! What refers to artifacts.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use foundry_broker::StoreError;

use super::{Housekeeping, aside};
use crate::ledger::{LedgerError, References};
use crate::retention::{Digests, Sweep};

/// How long after its last event everything stays that a run refers to, where all messages that wait can be seen.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why it is not known what refers to artifacts.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReferencesError {
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The embedded broker's messages can't be read.
    #[error("cannot see which messages wait: {0}")]
    Broker(#[from] StoreError),
    /// The host ends.
    #[error("the host is stopping")]
    Stopping,
}

impl Housekeeping {
    /// What artifacts are needed, and what others are on record.
    ///
    /// Messages pass from the ledger to the broker (from the outbox) and back (as dead letters, or as what comes of them) while they are looked at.
    /// So the ledger is read before the broker's messages and after them, and its runs last of all: wherever a message is, it is seen.
    pub(super) async fn references(
        &self,
        forgotten: HashSet<String>,
        sweep: &Sweep,
    ) -> Result<References, ReferencesError> {
        let ledger = &self.services.ledger;
        let mut needed = ledger.references_of_messages().await?;
        needed.extend(self.references_at_the_broker().await?);
        needed.extend(ledger.references_of_messages().await?);
        needed.extend(ledger.references_of_states().await?);
        // Which messages wait at a broker elsewhere nobody can see: as long as they would be accepted.
        let young = match self.broker {
            Some(_) => DAY,
            None => DAY.max(self.max_age),
        };
        let mut references = ledger
            .references_of_runs(sweep.seconds_before(young), forgotten)
            .await?;
        references.needed.extend(needed);
        Ok(references)
    }

    async fn references_at_the_broker(&self) -> Result<Digests, ReferencesError> {
        let Some(directory) = self.broker.clone() else {
            return Ok(Digests::default());
        };
        aside(move || of_broker(directory))
            .await
            .ok_or(ReferencesError::Stopping)?
    }
}

fn of_broker(directory: PathBuf) -> Result<Digests, ReferencesError> {
    let mut digests = Digests::default();
    foundry_broker::stored_payloads(&directory, |payload| digests.add(payload))?;
    Ok(digests)
}
