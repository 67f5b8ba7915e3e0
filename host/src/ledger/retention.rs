//! What a ledger forgets, and when: runs with their events, states of bots that are gone, and what was noted of messages that would be refused by now.
//!
//! Each piece of work here is small, since messages wait for the same writer, and is a transaction of its own: whenever the process ends,
//! a run is there with all of its events or with none, and so is a bot's state.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use foundry_broker::killpoint;
use rusqlite::{Connection, OptionalExtension, params};
use time::OffsetDateTime;

use super::{Ledger, LedgerError};
use crate::retention::{Bound, Kind, Limits, Report, Sweep, Tally};

/// Runs, or other rows, that are looked at or forgotten together.
const STEP: usize = 50;

/// The row of `since` with the housekeeping's time.
const TIME: &str = "housekeeping";

/// Runs that are forgotten.
#[derive(Debug)]
pub struct Forgotten {
    /// What it came to.
    pub report: Report,
    /// The runs that are gone, or would be.
    pub runs: HashSet<String>,
}

/// Which bots are there.
#[derive(Debug, Default)]
pub struct Presence {
    /// Those that are loaded, or would be at the next start.
    pub loaded: BTreeSet<String>,
    /// Those of which something besides a state is kept.
    pub kept: BTreeSet<String>,
}

/// A run as the table `runs` has it.
struct Known {
    run: String,
    seen: i64,
    bytes: u64,
}

impl Ledger {
    /// Forget the runs that were quiet for longer than `limits.runs`, and as many more of the quietest as there are bytes beyond
    /// `limits.runs_size`. Runs of which a message may still be accepted somewhere, since they were seen within `floor`, stay whatever
    /// their size.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails. What was forgotten by then stays forgotten.
    pub async fn sweep_runs(&self, limits: &Limits, floor: Duration, sweep: &Sweep) -> Result<Forgotten, LedgerError> {
        self.date_runs_back(sweep).await?;
        let mut report = Report::new(Kind::Runs, Bound::both(limits.runs_size, limits.runs));
        report.kept = self.all_runs().await?;
        report.needed = self.runs_since(sweep.seconds_before(floor)).await?;
        let (too_old, young) = (sweep.seconds_before(limits.runs), sweep.seconds_before(floor));
        let mut forgotten = HashSet::new();
        let mut after = (i64::MIN, String::new());
        loop {
            let quiet = self.quietest_runs(after.clone()).await?;
            let Some(last) = quiet.last() else { break };
            after = (last.seen, last.run.clone());
            let mut left = report.kept.bytes;
            let due: Vec<_> = quiet
                .into_iter()
                .take_while(|run| {
                    let is_due = run.seen < too_old || (left > limits.runs_size && run.seen < young);
                    left = left.saturating_sub(run.bytes);
                    is_due
                })
                .collect();
            let is_last = due.len() < STEP;
            for run in self.forget_runs(due, sweep.dry_run).await? {
                report.removed.add(run.bytes);
                report.kept.take(run.bytes);
                forgotten.insert(run.run);
            }
            if is_last {
                break;
            }
        }
        Ok(Forgotten {
            report,
            runs: forgotten,
        })
    }

    /// Runs that are dated later than what is new were seen by a clock that was wrong: they age from now on.
    async fn date_runs_back(&self, sweep: &Sweep) -> Result<(), LedgerError> {
        let (latest, now) = (sweep.latest_date(), sweep.newest.unix_timestamp());
        if sweep.dry_run {
            return Ok(());
        }
        self.work(move |c| {
            c.execute("UPDATE runs SET seen = ? WHERE seen > ?", [now, latest])?;
            c.execute("UPDATE absent SET since = ? WHERE since > ?", [now, latest])
        })
        .await
        .map(drop)
    }

    async fn all_runs(&self) -> Result<Tally, LedgerError> {
        self.runs_since(i64::MIN).await
    }

    /// The runs that were seen at a time or later.
    async fn runs_since(&self, seen: i64) -> Result<Tally, LedgerError> {
        self.read(move |c| {
            c.query_row(
                "SELECT count(*), coalesce(sum(bytes), 0) FROM runs WHERE seen >= ?",
                [seen],
                tally,
            )
        })
        .await
    }

    /// The runs that were quiet for longest, after one of them.
    async fn quietest_runs(&self, after: (i64, String)) -> Result<Vec<Known>, LedgerError> {
        self.read(move |c| {
            c.prepare_cached("SELECT run, seen, bytes FROM runs WHERE (seen, run) > (?, ?) ORDER BY seen, run LIMIT ?")?
                .query_map(params![after.0, after.1, STEP], |row| {
                    Ok(Known {
                        run: row.get(0)?,
                        seen: row.get(1)?,
                        bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                    })
                })?
                .collect()
        })
        .await
    }

    /// Returns those that are gone: one that was seen again meanwhile stays.
    async fn forget_runs(&self, runs: Vec<Known>, dry_run: bool) -> Result<Vec<Known>, LedgerError> {
        if runs.is_empty() || dry_run {
            return Ok(runs);
        }
        let due: Vec<_> = runs.iter().map(|run| (run.run.clone(), run.seen)).collect();
        let gone = self
            .work(move |c| {
                let mut gone = Vec::new();
                for (run, seen) in &due {
                    gone.push(forget_run(c, run, *seen)?);
                }
                Ok(gone)
            })
            .await?;
        killpoint::pass("sweep-runs");
        let gone = runs.into_iter().zip(gone).filter(|(_, is_gone)| *is_gone);
        Ok(gone.map(|(run, _)| run).collect())
    }

    /// Forget the states of bots that were not loaded for longer than `limits.bots`. Returns these bots as well; what else is kept of
    /// them is for its owner to remove.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn sweep_bots(
        &self,
        limits: &Limits,
        present: &Presence,
        sweep: &Sweep,
    ) -> Result<(Report, BTreeSet<String>), LedgerError> {
        let mut report = Report::new(Kind::BotState, Bound::age(limits.bots));
        let with_state = self.bots_with_state().await?;
        let known = with_state.iter().chain(&present.kept).cloned();
        let absent: BTreeSet<String> = known.filter(|bot| !present.loaded.contains(bot)).collect();
        let before = sweep.seconds_before(limits.bots);
        let now = sweep.newest.unix_timestamp();
        let due = self.note_absent(absent, now, before, sweep.dry_run).await?;
        for bot in with_state {
            let bytes = self.state_size(&bot).await?;
            if !due.contains(&bot) {
                report.kept.add(bytes);
                continue;
            }
            report.removed.add(bytes);
            if !sweep.dry_run {
                self.forget_state(bot).await?;
            }
        }
        Ok((report, due))
    }

    /// By the primary key, bot by bot: values can be large, and there are few bots.
    async fn bots_with_state(&self) -> Result<BTreeSet<String>, LedgerError> {
        self.read(|c| {
            let mut next = c.prepare_cached("SELECT bot FROM state WHERE bot > ? ORDER BY bot LIMIT 1")?;
            let mut bots = BTreeSet::new();
            let mut last = String::new();
            while let Some(bot) = next.query_row([&last], |row| row.get::<_, String>(0)).optional()? {
                last.clone_from(&bot);
                bots.insert(bot);
            }
            Ok(bots)
        })
        .await
    }

    /// Note which bots are not there, and since when. Returns those that were not there before a time.
    async fn note_absent(
        &self,
        absent: BTreeSet<String>,
        now: i64,
        before: i64,
        dry_run: bool,
    ) -> Result<BTreeSet<String>, LedgerError> {
        self.work(move |c| {
            let mut noted: BTreeSet<(String, i64)> = c
                .prepare_cached("SELECT bot, since FROM absent")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            noted.retain(|(bot, _)| absent.contains(bot));
            if !dry_run {
                c.execute("DELETE FROM absent", [])?;
                for bot in &absent {
                    let since = noted
                        .iter()
                        .find(|(other, _)| other == bot)
                        .map_or(now, |(_, since)| *since);
                    c.prepare_cached("INSERT INTO absent VALUES (?, ?)")?
                        .execute(params![bot, since])?;
                }
            }
            Ok(noted
                .into_iter()
                .filter(|(_, since)| *since < before)
                .map(|(bot, _)| bot)
                .collect())
        })
        .await
    }

    /// All of it at once: a bot that comes back finds its state as it was, or none.
    async fn forget_state(&self, bot: String) -> Result<(), LedgerError> {
        self.work(move |c| c.execute("DELETE FROM state WHERE bot = ?", [&bot]))
            .await?;
        killpoint::pass("sweep-state");
        Ok(())
    }

    /// Forget what is noted of messages that came before a time, and would be refused as too old by now: that they were handled, promised
    /// to another host, or tried.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn forget_handled_before(&self, time: OffsetDateTime) -> Result<(), LedgerError> {
        let before = time.unix_timestamp();
        for (table, key) in [
            ("promises", "grp, id"),
            ("attempts", "grp, id"),
            ("processed", "grp, id, attempt"),
        ] {
            let step =
                format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE at < ? LIMIT {MANY})");
            loop {
                let step = step.clone();
                let removed = self.work(move |c| c.prepare_cached(&step)?.execute([before])).await?;
                if removed < MANY {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The time that the housekeeping went by last; `None` before it first did.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn housekeeping_time(&self) -> Result<Option<OffsetDateTime>, LedgerError> {
        let at = self.read(noted_time).await?;
        Ok(at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()))
    }

    /// When this host saw an event of any run last; `None` if it has none.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn last_seen(&self) -> Result<Option<OffsetDateTime>, LedgerError> {
        let seen = self
            .work(|c| c.query_row("SELECT max(seen) FROM runs", [], |row| row.get::<_, Option<i64>>(0)))
            .await?;
        Ok(seen.and_then(|seen| OffsetDateTime::from_unix_timestamp(seen).ok()))
    }

    /// The runs that are on record.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn runs_on_record(&self) -> Result<HashSet<String>, LedgerError> {
        let mut runs = HashSet::new();
        let mut after = Some(String::new());
        while let Some(last) = after {
            let page: Vec<String> = self
                .read(move |c| {
                    c.prepare_cached("SELECT run FROM runs WHERE run > ? ORDER BY run LIMIT ?")?
                        .query_map(params![last, MANY], |row| row.get(0))?
                        .collect()
                })
                .await?;
            after = page.last().cloned();
            runs.extend(page);
        }
        Ok(runs)
    }

    /// Note the time that the housekeeping goes by.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn note_housekeeping_time(&self, time: OffsetDateTime) -> Result<(), LedgerError> {
        let at = time.unix_timestamp();
        self.work(move |c| {
            c.execute(
                "INSERT INTO since VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET at = excluded.at",
                params![TIME, at],
            )
        })
        .await
        .map(drop)
    }

    /// Put events on record as seen at a time.
    #[cfg(test)]
    pub(crate) async fn record_at(
        &self,
        events: Vec<crate::run::EventRow>,
        seen: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        self.work(move |c| {
            for event in &events {
                super::runs::insert(c, event)?;
                c.execute(
                    "UPDATE runs SET seen = ? WHERE run = ?",
                    params![seen.unix_timestamp(), event.run],
                )?;
            }
            Ok(())
        })
        .await
    }
}

/// Small rows that are forgotten together.
const MANY: usize = 500;

/// The time that the housekeeping went by last, in seconds since 1970.
pub(super) fn noted_time(c: &Connection) -> rusqlite::Result<Option<i64>> {
    c.prepare_cached("SELECT at FROM since WHERE what = ?")?
        .query_row([TIME], |row| row.get(0))
        .optional()
}

fn tally(row: &rusqlite::Row<'_>) -> rusqlite::Result<Tally> {
    Ok(Tally {
        count: row.get::<_, i64>(0)?.unsigned_abs(),
        bytes: row.get::<_, i64>(1)?.unsigned_abs(),
    })
}

/// Returns whether it is gone. One of which an event came meanwhile is not quiet.
fn forget_run(c: &Connection, run: &str, seen: i64) -> rusqlite::Result<bool> {
    let gone = c
        .prepare_cached("DELETE FROM runs WHERE run = ? AND seen = ?")?
        .execute(params![run, seen])?;
    if gone == 0 {
        return Ok(false);
    }
    c.prepare_cached("DELETE FROM events WHERE run = ?")?.execute([run])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ledger::Settlement;
    use crate::run::EventRow;
    use crate::runtime::StateWrite;

    const DAY: Duration = Duration::from_secs(86_400);

    fn open(directory: &Path) -> Ledger {
        Ledger::open(&directory.join("ledger.sqlite")).unwrap()
    }

    fn event(id: &str, run: &str, size: usize) -> EventRow {
        EventRow {
            id: id.to_owned(),
            run: run.to_owned(),
            event_type: "foundry.build.v1".to_owned(),
            topic: "builds".to_owned(),
            source: "head/build".to_owned(),
            subject: None,
            time: "2026-11-30T12:00:00Z".to_owned(),
            cause: None,
            group: None,
            data: serde_json::Value::String("x".repeat(size)),
        }
    }

    fn at(day: u32) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_796_000_000).unwrap() + DAY * day
    }

    fn sweep(day: u32) -> Sweep {
        Sweep {
            now: at(day),
            newest: at(day),
            dry_run: false,
        }
    }

    #[tokio::test]
    async fn a_run_goes_when_it_was_quiet_for_long_enough_and_a_dry_run_says_so_before() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        for (day, id, run) in [(0, "a1", "a"), (0, "b1", "b"), (60, "b2", "b"), (90, "c1", "c")] {
            ledger.record_at(vec![event(id, run, 10)], at(day)).await.unwrap();
        }
        let limits = Limits::default();
        let dry = Sweep {
            dry_run: true,
            ..sweep(91)
        };
        for how in [dry, sweep(91)] {
            let forgotten = ledger.sweep_runs(&limits, DAY, &how).await.unwrap();
            assert_eq!(forgotten.runs, ["a".to_owned()].into());
            assert_eq!((forgotten.report.removed.count, forgotten.report.kept.count), (1, 2));
        }
        assert!(ledger.run("a").await.unwrap().is_none());
        assert_eq!(ledger.run("b").await.unwrap().unwrap().events.len(), 2);
    }

    #[tokio::test]
    async fn beyond_the_size_the_quietest_runs_go_but_none_that_was_seen_lately() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        for day in 0..200 {
            let run = format!("r{day:03}");
            ledger.record_at(vec![event(&run, &run, 486)], at(day)).await.unwrap();
        }
        let limits = Limits {
            runs: DAY * 1000,
            runs_size: 20_000,
            ..Limits::default()
        };
        let forgotten = ledger.sweep_runs(&limits, DAY * 5, &sweep(200)).await.unwrap();
        assert_eq!(
            forgotten.report.kept,
            Tally {
                count: 20,
                bytes: 20_000
            }
        );
        assert!(forgotten.runs.contains("r179") && !forgotten.runs.contains("r180"));
        assert!(!forgotten.report.is_over());
        let floor = ledger
            .sweep_runs(&Limits { runs_size: 0, ..limits }, DAY * 5, &sweep(200))
            .await;
        let report = floor.unwrap().report;
        assert_eq!((report.kept.count, report.needed), (5, report.kept));
        assert!(!report.is_over(), "it is needed");
    }

    #[tokio::test]
    async fn what_a_clock_that_was_a_year_ahead_has_dated_ages_from_the_next_sweep_on() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        ledger.record_at(vec![event("a1", "a", 10)], at(365)).await.unwrap();
        let limits = Limits::default();
        for (day, is_there) in [(0, true), (80, true), (91, false)] {
            ledger.sweep_runs(&limits, DAY, &sweep(day)).await.unwrap();
            assert_eq!(ledger.run("a").await.unwrap().is_some(), is_there, "day {day}");
        }
    }

    async fn write(ledger: &Ledger, bot: &str) {
        let settlement = Settlement {
            bot: bot.to_owned(),
            writes: vec![StateWrite {
                key: "k".to_owned(),
                value: Some(b"v".to_vec()),
            }],
            ..Settlement::default()
        };
        ledger.settle(settlement).await.unwrap();
    }

    #[tokio::test]
    async fn a_removed_bots_state_goes_after_its_time_and_not_before_and_one_that_is_back_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        for bot in ["gone", "back", "here"] {
            write(&ledger, bot).await;
        }
        let limits = Limits::default();
        let loaded = |bots: &[&str]| Presence {
            loaded: bots.iter().map(|bot| (*bot).to_owned()).collect(),
            kept: ["gone".to_owned(), "only-a-log".to_owned()].into(),
        };
        let has = async |bot: &str| ledger.state(bot, "k").await.unwrap().is_some();
        for (day, present, due) in [
            (0, loaded(&["here"]), vec![]),
            (50, loaded(&["here", "back"]), vec![]),
            (51, loaded(&["here"]), vec![]),
            (89, loaded(&["here"]), vec![]),
            (91, loaded(&["here"]), vec!["gone", "only-a-log"]),
        ] {
            assert!(
                has("gone").await && has("back").await && has("here").await,
                "before day {day}"
            );
            let (_, gone) = ledger.sweep_bots(&limits, &present, &sweep(day)).await.unwrap();
            assert_eq!(gone.iter().map(String::as_str).collect::<Vec<_>>(), due, "day {day}");
        }
        assert!(!has("gone").await && has("back").await && has("here").await);
    }

    #[tokio::test]
    async fn what_was_noted_of_messages_goes_in_steps_once_they_would_be_refused() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        let fill = ledger.work(|c| {
            for number in 0..1200 {
                let id = number.to_string();
                c.execute(
                    "INSERT INTO processed (grp, id, at) VALUES ('g', ?, ?)",
                    params![id, number],
                )?;
                c.execute("INSERT INTO promises VALUES ('g', ?, ?)", params![id, number])?;
                c.execute("INSERT INTO attempts VALUES ('g', ?, 1, ?)", params![id, number])?;
            }
            Ok(())
        });
        fill.await.unwrap();
        let time = OffsetDateTime::from_unix_timestamp(1100).unwrap();
        ledger.forget_handled_before(time).await.unwrap();
        assert!(!ledger.known("g", "1099").await.unwrap().settled);
        let known = ledger.known("g", "1100").await.unwrap();
        assert!(known.settled && known.promised);
        assert_eq!(ledger.attempts("g", "1099").await.unwrap(), 0);
        assert_eq!(ledger.attempts("g", "1100").await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_housekeepings_time_is_noted() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path());
        assert_eq!(ledger.housekeeping_time().await.unwrap(), None);
        for day in [3, 2] {
            ledger.note_housekeeping_time(at(day)).await.unwrap();
            assert_eq!(ledger.housekeeping_time().await.unwrap(), Some(at(day)));
        }
    }
}
