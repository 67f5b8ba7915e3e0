//! Refused messages that would be handled now: their signer's key is known by now, or their time has come. Those that distbot rejected since no
//! packages key had signed them: keys have changed. And refused events that `runs` is without.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::bus::record;
use crate::event::{Cure, Verifier};
use crate::keys::{KeyInfo, KeyStore, Role, TrustedKeys};
use crate::ledger::{DeadLetter, Ledger, LedgerError, Unrecorded};

/// How often it is looked whether something has changed.
const PAUSE: Duration = Duration::from_secs(5);

/// What may have changed since the last look.
#[derive(Debug, Clone, Copy)]
struct Changed {
    /// The keys of hosts, or what their hosts may say.
    trust: bool,
    /// The keys of packages.
    packages: bool,
}

/// Keys as they were at a look.
#[derive(Debug, Default)]
struct Seen {
    trust: Option<Arc<TrustedKeys>>,
    packages: Option<Vec<KeyInfo>>,
}

impl Seen {
    /// Keys that can't be read now are as they were.
    async fn changed(&mut self, trust: Arc<TrustedKeys>, keys: &Arc<KeyStore>) -> Changed {
        // Whatever changes in the store changes this.
        let is_other = self.trust.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &trust));
        let mut changed = Changed {
            trust: is_other,
            packages: false,
        };
        let packages = if is_other { of_packages(keys).await } else { None };
        if let Some(packages) = packages {
            changed.packages = self.packages.as_ref() != Some(&packages);
            self.packages = Some(packages);
        }
        self.trust = Some(trust);
        changed
    }
}

async fn of_packages(keys: &Arc<KeyStore>) -> Option<Vec<KeyInfo>> {
    let keys = Arc::clone(keys);
    let listed = tokio::task::spawn_blocking(move || keys.list()).await.ok()?.ok()?;
    let of_packages = listed.into_iter().filter(|key| key.roles.contains(&Role::Packages));
    Some(of_packages.collect())
}

/// Look again and again, until cancelled.
pub(super) async fn reconsider_refused(
    ledger: Ledger,
    verifier: Arc<Verifier>,
    keys: Arc<KeyStore>,
    cancel: CancellationToken,
) {
    let mut interval = tokio::time::interval(PAUSE);
    // The keys may have changed while the host was away.
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = cancel.cancelled() => return,
        }
        let changed = seen.changed(verifier.trust.now(), &keys).await;
        let looked = async {
            // First what happened, so that `runs` shows it in that order.
            pass_unrecorded(&ledger, &verifier, changed.trust).await?;
            pass(&ledger, &verifier, changed).await
        };
        if let Err(error) = looked.await {
            tracing::warn!(%error, "cannot look at the refused messages; trying again");
            seen = Seen::default();
        }
    }
}

/// All dead letters that may have become acceptable, some at a time.
async fn pass(ledger: &Ledger, verifier: &Verifier, changed: Changed) -> Result<(), LedgerError> {
    let mut after = 0;
    loop {
        let keys = (changed.trust, changed.packages);
        let letters = ledger.curable(after, keys, OffsetDateTime::now_utc()).await?;
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
            // One that its bot rejected is settled, and has to be handled all the same.
            return match letter.id {
                Some(_) => ledger.requeue_dead_letter(letter.seq).await.map(drop),
                None => ledger.retry_dead_letter(letter.seq).await,
            };
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
