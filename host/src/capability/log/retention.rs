//! Which logs go: those of runs that are no longer on record, and the oldest of the others when there are too many; of each bot, what is older than
//! its newest two files.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{LogHub, list};
use crate::retention::{Bound, Kind, Limits, Report, SHORTEST, Sweep, empty, remove_aside};

/// A log that was written to within this time is not removed for its size: its bot may be at work.
const LATELY: Duration = Duration::from_secs(3600);

/// What the older file of a bot's log ends in. A bot's name can't end so, with what follows names.
pub(super) const OLDER: &str = "old";

/// The logs of a run.
struct RunLog {
    directory: PathBuf,
    run: String,
    bytes: u64,
    /// When it was written to last.
    written: SystemTime,
}

impl LogHub {
    /// Remove the logs of runs that are not on record and quiet for two days, and while there are more bytes than `limits.logs_size` the oldest of
    /// the others. Blocks.
    #[must_use]
    pub fn sweep_runs(&self, on_record: &HashSet<String>, limits: &Limits, sweep: &Sweep) -> Report {
        let mut report = Report::new(Kind::RunLogs, Bound::both(limits.logs_size, limits.runs));
        if let Err(error) = self.sweep_all_runs(on_record, limits, sweep, &mut report) {
            report.note(&error);
        }
        report
    }

    fn sweep_all_runs(
        &self,
        on_record: &HashSet<String>,
        limits: &Limits,
        sweep: &Sweep,
        report: &mut Report,
    ) -> io::Result<()> {
        let trash = self.directory.join("trash");
        if !sweep.dry_run {
            empty(&trash)?;
        }
        let mut logs = run_logs(&self.directory.join("runs"), sweep)?;
        logs.sort_by_key(|log| log.written);
        logs.iter().for_each(|log| report.kept.add(log.bytes));
        for log in logs {
            let age = sweep.age(log.written);
            let is_forgotten = !on_record.contains(&log.run) && age > SHORTEST;
            let is_too_much = report.kept.bytes > limits.logs_size && age > LATELY;
            if !is_forgotten && !is_too_much {
                if age <= LATELY {
                    report.needed.add(log.bytes);
                }
                continue;
            }
            if !sweep.dry_run {
                remove_aside(&log.directory, &trash)?;
            }
            report.removed.add(log.bytes);
            report.kept.take(log.bytes);
        }
        Ok(())
    }

    /// Remove the logs of bots that are gone. Those of the others have their bound when they are written. Blocks.
    #[must_use]
    pub fn sweep_bots(&self, gone: &BTreeSet<String>, limits: &Limits, sweep: &Sweep) -> Report {
        let mut report = Report::new(Kind::BotLogs, Bound::age(limits.bots));
        let files = list(&self.directory.join("bots")).unwrap_or_else(|error| {
            report.note(&error);
            Vec::new()
        });
        for file in files {
            let bytes = fs::metadata(&file).map_or(0, |about| about.len());
            let is_gone = bot_of(&file).is_some_and(|bot| gone.contains(bot));
            if !is_gone {
                report.kept.add(bytes);
                continue;
            }
            match if sweep.dry_run { Ok(()) } else { fs::remove_file(&file) } {
                Ok(()) => report.removed.add(bytes),
                Err(error) => report.note(&format_args!("cannot remove {}: {error}", file.display())),
            }
        }
        report
    }

    /// The bots that have a log outside of runs.
    #[must_use]
    pub fn bots(&self) -> BTreeSet<String> {
        let files = list(&self.directory.join("bots")).unwrap_or_default();
        files
            .iter()
            .filter_map(|file| bot_of(file))
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Before lines are added to a bot's file: if that is full, it takes the place of the older one.
    pub(super) fn make_room(&self, file: &Path) -> io::Result<()> {
        // One at a time: of two that find it full, the second would put a new file in the place of the full one.
        let Ok(_turn) = self.turning.lock() else { return Ok(()) };
        match fs::metadata(file) {
            Ok(about) if about.len() >= self.most_of_bot => fs::rename(file, older(file)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The older file of a bot's log.
pub(super) fn older(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(OLDER);
    name.into()
}

/// The bot that a file in `bots` is of.
fn bot_of(file: &Path) -> Option<&str> {
    let name = file.file_name()?.to_str()?;
    name.strip_suffix(".jsonl.old").or_else(|| name.strip_suffix(".jsonl"))
}

fn run_logs(directory: &Path, sweep: &Sweep) -> io::Result<Vec<RunLog>> {
    let mut logs = Vec::new();
    for directory in list(directory)? {
        let run = directory.file_name().and_then(|name| name.to_str());
        let mut log = RunLog {
            run: run.unwrap_or_default().to_owned(),
            bytes: 0,
            written: SystemTime::UNIX_EPOCH,
            directory: directory.clone(),
        };
        for file in list(&directory)? {
            let Ok(about) = fs::metadata(&file) else { continue };
            log.bytes += about.len();
            log.written = log.written.max(about.modified()?);
            sweep.date_back(&file, about.modified()?)?;
        }
        if log.bytes == 0 {
            // It was made just now, or its lines could not be written.
            log.written = fs::metadata(&directory)?.modified()?;
        }
        logs.push(log);
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::capability::Level;

    fn after(days: u32) -> Sweep {
        Sweep {
            now: OffsetDateTime::now_utc() + Duration::from_secs(86_400) * days,
            newest: OffsetDateTime::now_utc() + Duration::from_secs(86_400) * days,
            dry_run: false,
        }
    }

    fn runs(hub: &LogHub) -> Vec<String> {
        let mut runs: Vec<_> = list(&hub.directory.join("runs")).unwrap();
        runs.sort();
        runs.iter()
            .map(|run| run.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_log_of_a_run_goes_with_its_run_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let hub = LogHub::new(directory.path());
        for run in ["kept", "gone"] {
            hub.write("b", Some(run), Level::Info, "line");
        }
        let on_record = HashSet::from(["kept".to_owned()]);
        let limits = Limits::default();
        assert_eq!(
            hub.sweep_runs(&on_record, &limits, &after(1)).removed.count,
            0,
            "it may be about to begin"
        );
        let dry = Sweep {
            dry_run: true,
            ..after(3)
        };
        for sweep in [dry, after(3)] {
            assert_eq!(runs(&hub), ["gone", "kept"]);
            let report = hub.sweep_runs(&on_record, &limits, &sweep);
            assert_eq!((report.removed.count, report.kept.count), (1, 1), "{report:?}");
        }
        assert_eq!(runs(&hub), ["kept"]);
    }

    #[test]
    fn beyond_the_size_the_oldest_logs_of_runs_go_but_none_that_was_written_lately() {
        let directory = tempfile::tempdir().unwrap();
        let hub = LogHub::new(directory.path());
        let names: Vec<_> = (0..9).map(|number| format!("r{number}")).collect();
        for (age, run) in names.iter().rev().enumerate() {
            hub.write("b", Some(run), Level::Info, &"x".repeat(1200));
            let file = fs::File::open(hub.file("b", Some(run))).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(1800) * age as u32)
                .unwrap();
        }
        let on_record: HashSet<_> = names.into_iter().collect();
        let limits = Limits {
            logs_size: 5500,
            ..Limits::default()
        };
        let report = hub.sweep_runs(&on_record, &limits, &after(0));
        assert!(report.kept.bytes <= 5500 && !report.is_over(), "{report:?}");
        assert_eq!(runs(&hub), ["r5", "r6", "r7", "r8"]);
        let _ = hub.sweep_runs(&on_record, &Limits { logs_size: 0, ..limits }, &after(0));
        assert_eq!(runs(&hub), ["r7", "r8"], "their bots may be at work");
    }

    #[test]
    fn a_bots_log_has_two_files_at_most_and_loses_no_line_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let hub = LogHub::new(directory.path()).with_most_of_bot(2000);
        for number in 0..100 {
            hub.write("b", None, Level::Info, &format!("line {number}"));
        }
        let files = list(&directory.path().join("bots")).unwrap();
        assert_eq!(files.len(), 2);
        for file in files {
            assert!(fs::metadata(file).unwrap().len() < 2200);
        }
        let lines: Vec<_> = hub.of_bot("b").unwrap().into_iter().map(|line| line.line).collect();
        let first = 100 - lines.len();
        assert!(lines.len() > 20);
        assert_eq!(
            lines,
            (first..100).map(|number| format!("line {number}")).collect::<Vec<_>>()
        );
        assert_eq!(hub.newest(Some("b"), 1000).unwrap().len(), lines.len());
        assert_eq!(hub.newest(None, 1000).unwrap().len(), lines.len());
        assert_eq!(hub.bots(), ["b".to_owned()].into());
        let report = hub.sweep_bots(&["b".to_owned()].into(), &Limits::default(), &after(0));
        assert_eq!((report.removed.count, report.kept.count), (2, 0));
        assert_eq!(hub.of_bot("b").unwrap(), []);
    }
}
