//! The log of a host in the background.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

use crate::retention::{Bound, Kind, Limits, Report, Sweep};

/// Has a log that is too large begin anew; the end of what was in it goes to an older file.
///
/// The host writes to it at its end, through descriptors that it got from whoever started it. So the file stays, and is cut: what is written between the
/// copy and the cut is lost, which is a line or two.
pub(super) fn sweep(log: &Path, limits: &Limits, sweep: &Sweep) -> Report {
    let mut report = Report::new(Kind::HostLog, Bound::size(limits.log_file.saturating_mul(2)));
    if let Err(error) = turn(log, limits, sweep, &mut report) {
        report.note(&format_args!("{}: {error}", log.display()));
    }
    report
}

fn turn(log: &Path, limits: &Limits, sweep: &Sweep, report: &mut Report) -> io::Result<()> {
    let older = log.with_extension("log.old");
    let (now, before) = (size(log), size(&older));
    for bytes in [now, before].into_iter().flatten() {
        report.kept.add(bytes);
    }
    let Some(now) = now.filter(|now| *now > limits.log_file) else {
        return Ok(());
    };
    let rest = now.min(limits.log_file);
    if !sweep.dry_run {
        keep_end(log, &older, now - rest)?;
        File::options().write(true).open(log)?.set_len(0)?;
    }
    let gone = now - rest + before.unwrap_or_default();
    report.removed.add(gone);
    report.kept.bytes -= gone;
    Ok(())
}

/// The older file is the old one or the new one, whenever the process ends.
fn keep_end(log: &Path, older: &Path, from: u64) -> io::Result<()> {
    // Always the same name: what a killed process left there is written over.
    let new = log.with_extension("log.new");
    let mut copy = File::create(&new)?;
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    io::copy(&mut file, &mut copy)?;
    fs::rename(new, older)
}

fn size(file: &Path) -> Option<u64> {
    fs::metadata(file).ok().map(|about| about.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn a_log_that_is_too_large_begins_anew_and_its_end_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("host.log");
        let limits = Limits {
            log_file: 100,
            ..Limits::default()
        };
        let now = |dry_run| Sweep {
            now: OffsetDateTime::now_utc(),
            newest: OffsetDateTime::now_utc(),
            dry_run,
        };
        assert_eq!(sweep(&log, &limits, &now(false)).kept.count, 0);
        let mut host = File::options().create(true).append(true).open(&log).unwrap();
        for number in 0..50 {
            writeln!(host, "line {number:02}").unwrap();
        }
        assert_eq!(sweep(&log, &limits, &now(true)).removed.bytes, 300);
        // A process was killed while it kept the end of an earlier one.
        let killed = log.with_extension("log.new");
        fs::write(&killed, "half a copy, and longer than all that is kept ".repeat(9)).unwrap();
        let report = sweep(&log, &limits, &now(false));
        assert_eq!(
            (report.trouble.as_ref(), report.removed.bytes, report.kept.bytes),
            (None, 300, 100)
        );
        writeln!(host, "next").unwrap();
        assert_eq!(
            fs::read_to_string(&log).unwrap(),
            "next\n",
            "the host goes on at the beginning"
        );
        assert!(!killed.exists());
        let older = fs::read_to_string(log.with_extension("log.old")).unwrap();
        assert!(older.len() == 100 && older.ends_with("line 49\n"), "{older}");
    }
}
