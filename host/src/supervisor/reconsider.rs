//! Refused messages that would be handled now: their signer's key is known by now, or their time has come. The same of refused events
//! that `runs` is without.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::bus::record;
use crate::event::{Cure, Verifier};
use crate::keys::TrustedKeys;
use crate::ledger::{DeadLetter, Ledger, LedgerError, Unrecorded};

/// How often it is looked whether something has changed.
const PAUSE: Duration = Duration::from_secs(5);

/// Look again and again, until cancelled.
pub(super) async fn reconsider_refused(ledger: Ledger, verifier: Arc<Verifier>, cancel: CancellationToken) {
    let mut interval = tokio::time::interval(PAUSE);
    // The keys may have changed while the host was away.
    let mut known: Option<Arc<TrustedKeys>> = None;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = cancel.cancelled() => return,
        }
        let now = verifier.trust.now();
        let trust_changed = known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &now));
        let looked = async {
            // First what happened, so that `runs` shows it in that order.
            pass_unrecorded(&ledger, &verifier, trust_changed).await?;
            pass(&ledger, &verifier, trust_changed).await
        };
        match looked.await {
            Ok(()) => known = Some(now),
            Err(error) => tracing::warn!(%error, "cannot look at the refused messages; trying again"),
        }
    }
}

/// All dead letters that may have become acceptable, some at a time.
async fn pass(ledger: &Ledger, verifier: &Verifier, trust_changed: bool) -> Result<(), LedgerError> {
    let mut after = 0;
    loop {
        let letters = ledger.curable(after, trust_changed, OffsetDateTime::now_utc()).await?;
        let Some(last) = letters.last() else {
            return Ok(());
        };
        after = last.seq;
        for letter in letters {
            reconsider(ledger, verifier, letter).await?;
        }
    }
}

async fn reconsider(ledger: &Ledger, verifier: &Verifier, letter: DeadLetter) -> Result<(), LedgerError> {
    let now = OffsetDateTime::now_utc();
    let refusal = match verifier.verify(&letter.payload, &letter.topic, now) {
        Ok(event) => {
            tracing::info!(
                bot = letter.bot,
                id = event.id,
                "trying a message that had been refused"
            );
            return ledger.retry_dead_letter(letter.seq).await;
        }
        Err(refusal) => refusal,
    };
    let cure: Option<Cure> = refusal.cure(now);
    let reason = refusal.to_string();
    if (cure, &reason) != (letter.cure, &letter.reason) {
        ledger.refused_again(letter.seq, reason, cure).await?;
    }
    Ok(())
}

/// All events that `runs` is without and that may have become acceptable, some at a time.
async fn pass_unrecorded(ledger: &Ledger, verifier: &Verifier, trust_changed: bool) -> Result<(), LedgerError> {
    let mut after = 0;
    loop {
        let now = OffsetDateTime::now_utc();
        let events = ledger.recordable(after, trust_changed, now).await?;
        let Some(last) = events.last() else {
            return Ok(());
        };
        after = last.seq;
        for event in events {
            reconsider_unrecorded(ledger, verifier, event).await?;
        }
    }
}

async fn reconsider_unrecorded(ledger: &Ledger, verifier: &Verifier, kept: Unrecorded) -> Result<(), LedgerError> {
    let now = OffsetDateTime::now_utc();
    let cure = match verifier.verify(&kept.payload, &kept.topic, now) {
        Ok(event) => {
            record(ledger, verifier, &event, verifier.topics.short(&kept.topic)).await?;
            None
        }
        Err(refusal) => refusal.cure(now),
    };
    ledger.still_unrecorded(kept.seq, cure).await
}
