//! What led to an event, as far as this host has it on record.

use rusqlite::OptionalExtension;

use super::runs::{COLUMNS, row};
use super::{EventRow, Ledger, LedgerError};

/// How many events are followed. A pipeline has a handful, and a liar could make any number.
pub const MOST_CAUSES: usize = 32;

impl Ledger {
    /// The event of an id, then the one that led to it, and so on, as far as they are on record; 32 at most.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn causes(&self, of: Option<String>) -> Result<Vec<EventRow>, LedgerError> {
        self.work(move |c| {
            let mut query = c.prepare_cached(&format!("SELECT {COLUMNS} FROM events WHERE id = ?"))?;
            let mut causes: Vec<EventRow> = Vec::new();
            let mut next = of.clone();
            while let Some(id) = next.filter(|_| causes.len() < MOST_CAUSES) {
                let Some(event) = query.query_row([&id], row).optional()? else {
                    break;
                };
                next = event.cause.clone();
                causes.push(event);
            }
            Ok(causes)
        })
        .await
    }
}
