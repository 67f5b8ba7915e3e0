//! What this host keeps of events, for `runs`.

use time::OffsetDateTime;

use crate::event::{Event, Verifier};
use crate::ledger::{EventRow, Ledger, LedgerError};

/// Keep a verified event of a topic (without prefix). If its run has no commit on record, and the event carries the announcement of one
/// that this host believes, that is kept too, before it: the host may have refused it when it came, or not have been there.
///
/// # Errors
/// [`LedgerError`] if the ledger fails.
pub(crate) async fn record(
    ledger: &Ledger,
    verifier: &Verifier,
    event: &Event,
    topic: &str,
) -> Result<(), LedgerError> {
    if event.announcement.is_some() && !ledger.is_announced(&event.run).await? {
        match verifier.announcement(event, &verifier.announced_on, OffsetDateTime::now_utc()) {
            Ok(announced) => ledger.record_event(row_of(&announced, verifier)).await?,
            Err(why) => tracing::debug!(id = event.id, run = event.run, %why, "its announcement is not recorded"),
        }
    }
    ledger.record_event(EventRow::of(event, topic)).await
}

/// A verified announcement, as it is kept.
pub(crate) fn row_of(announced: &Event, verifier: &Verifier) -> EventRow {
    let topic = announced.topic.as_deref().unwrap_or_default();
    EventRow::of(announced, verifier.topics.short(topic))
}
