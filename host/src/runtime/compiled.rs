//! How much compiled code there is. Its bounds hold when it is written; what is left for a sweep is what killed processes left.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::component::MOST as MOST_COMPONENTS;
use super::functions::MOST as MOST_FUNCTIONS;
use crate::retention::{Bound, Kind, Report, Sweep};

/// How long writing a compilation may take.
const WRITING: Duration = Duration::from_secs(2 * 24 * 3600);

/// Count what is in a directory of compiled code, and remove what was never whole.
#[must_use]
pub fn sweep(directory: &Path, sweep: &Sweep) -> Report {
    let mut report = Report::new(Kind::Compiled, Bound::size(MOST_COMPONENTS + MOST_FUNCTIONS));
    if let Err(error) = count(directory, sweep, &mut report) {
        report.note(&error);
    }
    report
}

fn count(directory: &Path, sweep: &Sweep, report: &mut Report) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // One that makes room goes meanwhile.
        let Ok(about) = entry.metadata() else { continue };
        // As tempfile names what is being written.
        let is_temporary = entry.file_name().to_string_lossy().starts_with(".tmp");
        if !is_temporary || sweep.age(about.modified()?) <= WRITING {
            report.kept.add(about.len());
            continue;
        }
        if !sweep.dry_run {
            fs::remove_file(entry.path())?;
        }
        report.removed.add(about.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn what_a_killed_process_left_half_written_goes_and_the_rest_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        for (name, days) in [("a.cwasm", 90), (".tmpOld", 3), (".tmpNew", 0)] {
            let file = File::create(directory.path().join(name)).unwrap();
            file.set_len(100).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(86_400) * days)
                .unwrap();
        }
        let now = Sweep {
            now: OffsetDateTime::now_utc(),
            newest: OffsetDateTime::now_utc(),
            dry_run: false,
        };
        let report = sweep(directory.path(), &now);
        assert_eq!((report.kept.count, report.removed.count, report.trouble), (2, 1, None));
        assert!(directory.path().join("a.cwasm").exists() && !directory.path().join(".tmpOld").exists());
    }
}
