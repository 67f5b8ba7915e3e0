//! Housekeeping: has each owner of things that are kept for a while remove its own, in an order in which nothing goes that is needed.
//!
//! ```text
//! runs that are too old   -> their logs
//! bots that are gone      -> their states, their logs
//! what messages, states and the runs that are left refer to -> artifacts that nothing refers to
//! caches, in any order
//! ```
//!
//! It removes nothing itself, and holds up no message: the ledger forgets in small pieces of work, and files are removed on threads of their own.
//! Whenever the process ends, the next sweep goes on where this one was.

mod calendar;
mod disk;
mod host_log;
mod offline;
mod presence;
mod references;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use crate::capability::Services;
use crate::ledger::{Forgotten, LedgerError};
use crate::retention::{Bound, Kind, Limits, Report, Sweep};
use crate::runtime::compiled;
pub use disk::{DiskStatus, DiskWatch, Level};
pub use offline::{collect, has_ledger};
pub(super) use presence::Expected;
pub(super) use task::Keeper;

/// What messages that are older than this may not be accepted by any host any more, in `messages.max-age`: an event is dated by one host,
/// and what it led to by another.
const LIVES: u32 = 2;

/// A host's housekeeping. One sweep takes place at a time.
pub(super) struct Housekeeping {
    state: PathBuf,
    /// The embedded broker's directory, if there is one.
    broker: Option<PathBuf>,
    services: Arc<Services>,
    limits: Limits,
    max_age: Duration,
    turn: tokio::sync::Mutex<()>,
    /// What the last sweep found.
    last: Mutex<Vec<Report>>,
}

impl Housekeeping {
    /// Of a state directory, with the directory of the embedded broker if there is one.
    pub(super) fn new(
        state: PathBuf,
        broker: Option<PathBuf>,
        services: Arc<Services>,
        limits: Limits,
        max_age: Duration,
    ) -> Self {
        Self {
            state,
            broker,
            services,
            limits,
            max_age,
            turn: tokio::sync::Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// How much is kept.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the last sweep found; empty before the first.
    pub(super) fn last(&self) -> Vec<Report> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The sweep of an hour, at a time by this machine's clock. Bots that are not `loaded` are gone, sooner or later.
    ///
    /// # Errors
    /// [`LedgerError`] if not even the time can be noted; nothing was removed then.
    pub(super) async fn hourly(
        &self,
        loaded: BTreeSet<String>,
        clock: OffsetDateTime,
    ) -> Result<Vec<Report>, LedgerError> {
        let time = calendar::next(self.noted_time().await?, clock);
        self.services.ledger.note_housekeeping_time(time).await?;
        if time != clock {
            tracing::info!(%clock, %time, "the clock differs from the housekeeping's time, which follows it by a day each hour");
        }
        Ok(self.sweep(loaded, &Sweep::new(time, clock)).await)
    }

    /// A sweep that an operator asks for. It goes by the time of the last hourly one, so that no number of them makes a clock that is wrong count.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was removed then.
    pub(super) async fn by_hand(
        &self,
        loaded: BTreeSet<String>,
        clock: OffsetDateTime,
        dry_run: bool,
    ) -> Result<Vec<Report>, LedgerError> {
        let time = self.noted_time().await?.unwrap_or(clock);
        let sweep = Sweep {
            dry_run,
            ..Sweep::new(time, clock)
        };
        Ok(self.sweep(loaded, &sweep).await)
    }

    /// A ledger that was never swept tells by its runs when it was last of use.
    async fn noted_time(&self) -> Result<Option<OffsetDateTime>, LedgerError> {
        let ledger = &self.services.ledger;
        match ledger.housekeeping_time().await? {
            Some(noted) => Ok(Some(noted)),
            None => ledger.last_seen().await,
        }
    }

    async fn sweep(&self, loaded: BTreeSet<String>, sweep: &Sweep) -> Vec<Report> {
        let _turn = self.turn.lock().await;
        let mut reports = Vec::new();
        let forgotten = self.sweep_runs(sweep, &mut reports).await;
        self.sweep_bots(loaded, sweep, &mut reports).await;
        if let Some(runs) = forgotten {
            self.sweep_artifacts(runs, sweep, &mut reports).await;
        }
        self.sweep_caches(sweep, &mut reports).await;
        if !sweep.dry_run {
            self.give_room_back().await;
            tell(&reports);
            self.last
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&reports);
        }
        reports
    }

    /// Runs, what is noted of their messages, and their logs. Returns the runs that are gone, or would be; `None` if that is not known.
    async fn sweep_runs(&self, sweep: &Sweep, reports: &mut Vec<Report>) -> Option<HashSet<String>> {
        match self.forget_runs(sweep).await {
            Ok((forgotten, on_record)) => {
                let (logs, limits, sweep) = (Arc::clone(&self.services.logs), self.limits.clone(), *sweep);
                reports.push(forgotten.report);
                reports.extend(aside(move || logs.sweep_runs(&on_record, &limits, &sweep)).await);
                Some(forgotten.runs)
            }
            Err(error) => {
                let mut report = Report::new(Kind::Runs, Bound::both(self.limits.runs_size, self.limits.runs));
                report.note(&error);
                reports.push(report);
                None
            }
        }
    }

    async fn forget_runs(&self, sweep: &Sweep) -> Result<(Forgotten, HashSet<String>), LedgerError> {
        let ledger = &self.services.ledger;
        let lives = self.max_age.saturating_mul(LIVES);
        if !sweep.dry_run {
            ledger.forget_handled_before(sweep.now - lives).await?;
        }
        let forgotten = ledger.sweep_runs(&self.limits, lives, sweep).await?;
        let mut on_record = ledger.runs_on_record().await?;
        on_record.retain(|run| !forgotten.runs.contains(run));
        Ok((forgotten, on_record))
    }

    async fn sweep_bots(&self, loaded: BTreeSet<String>, sweep: &Sweep, reports: &mut Vec<Report>) {
        let logs = Arc::clone(&self.services.logs);
        let listed = Arc::clone(&logs);
        let present = crate::ledger::Presence {
            loaded,
            kept: aside(move || listed.bots()).await.unwrap_or_default(),
        };
        match self.services.ledger.sweep_bots(&self.limits, &present, sweep).await {
            Ok((report, gone)) => {
                let (limits, sweep) = (self.limits.clone(), *sweep);
                reports.push(report);
                reports.extend(aside(move || logs.sweep_bots(&gone, &limits, &sweep)).await);
            }
            Err(error) => {
                let mut report = Report::new(Kind::BotState, Bound::age(self.limits.bots));
                report.note(&error);
                reports.push(report);
            }
        }
    }

    /// The rows are gone; the ledger's file is as long as it was.
    async fn give_room_back(&self) {
        match self.services.ledger.give_room_back().await {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(bytes, "the ledger gives room back"),
            Err(error) => tracing::warn!(%error, "the ledger can't give room back"),
        }
    }

    /// After the runs. Where it is not known what is needed, nothing goes.
    async fn sweep_artifacts(&self, forgotten: HashSet<String>, sweep: &Sweep, reports: &mut Vec<Report>) {
        // What was forgotten is gone, unless it was only said so: one that is on record again has come back meanwhile, and counts.
        let without = if sweep.dry_run { forgotten } else { HashSet::new() };
        let references = match self.references(without, sweep).await {
            Ok(references) => references,
            Err(error) => {
                let mut report = Report::new(Kind::Artifacts, Bound::size(self.limits.artifacts_size));
                report.note(&error);
                reports.push(report);
                return;
            }
        };
        let (services, limits, sweep) = (Arc::clone(&self.services), self.limits.clone(), *sweep);
        let swept = aside(move || services.artifacts.sweep(&references, &limits, &sweep)).await;
        reports.extend(swept.flatten());
    }

    async fn sweep_caches(&self, sweep: &Sweep, reports: &mut Vec<Report>) {
        let (services, limits, sweep) = (Arc::clone(&self.services), self.limits.clone(), *sweep);
        let state = self.state.clone();
        let swept = aside(move || {
            let mut reports = vec![services.git.sweep(&limits, &sweep)];
            reports.extend(services.builder.sweep(&limits, &sweep));
            reports.push(compiled::sweep(&state.join("compiled"), &sweep));
            reports.push(host_log::sweep(&state.join("host.log"), &limits, &sweep));
            reports
        });
        reports.extend(swept.await.into_iter().flatten());
    }
}

/// Work with files, on a thread where it holds up nobody. `None` if the runtime ends meanwhile: the next start goes on.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn tell(reports: &[Report]) {
    for report in reports {
        let (kind, removed) = (report.kind.name(), report.removed);
        if let Some(why) = &report.trouble {
            tracing::warn!(kind, "cannot remove all that should go: {why}");
        }
        if removed.count > 0 {
            tracing::info!(kind, count = removed.count, bytes = removed.bytes, "removed");
        }
    }
}
