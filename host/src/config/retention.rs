//! The table `[retention]`.

use std::time::Duration;

use toml::de::DeTable;

use super::parse::parse_size;
use super::problem::Problems;
use super::reader::Section;
use super::settings::{
    RETENTION_ARTIFACTS, RETENTION_ARTIFACTS_SIZE, RETENTION_BOTS, RETENTION_CACHES, RETENTION_CACHES_SIZE,
    RETENTION_LOG_FILE, RETENTION_LOGS_SIZE, RETENTION_RUNS, RETENTION_RUNS_SIZE, RETENTION_STOP_FREE,
    RETENTION_WARN_FREE, Setting,
};
use crate::retention::{Limits, SHORTEST};
use crate::supervisor::parse_duration;

/// Read it. Runs stay on record for as long as a message may be accepted, which is up to `max_age` after what it led to was dated.
pub(super) fn read(document: &DeTable<'_>, max_age: Duration, problems: &mut Problems<'_>) -> Option<Limits> {
    let section = Section::top(document, "retention", problems);
    section.refuse_unknown(problems);
    let lives = max_age.saturating_mul(2).max(SHORTEST);
    let runs = time(&section, &RETENTION_RUNS, lives, "twice messages.max-age", problems);
    let age = |setting, problems: &mut Problems<'_>| time(&section, setting, SHORTEST, "2d", problems);
    let artifacts = age(&RETENTION_ARTIFACTS, problems);
    let caches = age(&RETENTION_CACHES, problems);
    let bots = age(&RETENTION_BOTS, problems);
    let size = |setting, problems: &mut Problems<'_>| size(&section, setting, problems);
    let runs_size = size(&RETENTION_RUNS_SIZE, problems);
    let logs_size = size(&RETENTION_LOGS_SIZE, problems);
    let log_file = size(&RETENTION_LOG_FILE, problems);
    let artifacts_size = size(&RETENTION_ARTIFACTS_SIZE, problems);
    let caches_size = size(&RETENTION_CACHES_SIZE, problems);
    let warn_free = size(&RETENTION_WARN_FREE, problems);
    let stop_free = size(&RETENTION_STOP_FREE, problems);
    // The defaults depend on the file system's size.
    let chosen = |setting, value: u64| section.has(setting).map(|_| value);
    if let (Some(warn), Some(stop)) = (warn_free, stop_free)
        && warn < stop
    {
        let message = "builds would stop before there is a warning";
        let at = section.has(&RETENTION_WARN_FREE).or(section.has(&RETENTION_STOP_FREE));
        problems.error(
            at,
            &section.key(&RETENTION_WARN_FREE),
            message,
            "make it at least stop-free",
        );
    }
    Some(Limits {
        runs: runs?,
        runs_size: runs_size?,
        logs_size: logs_size?,
        log_file: log_file?.max(1),
        artifacts: artifacts?,
        artifacts_size: artifacts_size?,
        caches: caches?,
        caches_size: caches_size?,
        bots: bots?,
        warn_free: chosen(&RETENTION_WARN_FREE, warn_free?),
        stop_free: chosen(&RETENTION_STOP_FREE, stop_free?),
    })
}

fn time(
    section: &Section<'_>,
    setting: &Setting,
    shortest: Duration,
    called: &str,
    problems: &mut Problems<'_>,
) -> Option<Duration> {
    let found = section.parsed(setting, problems, |text| {
        parse_duration(text).ok_or_else(|| "write \"30d\" or \"72h\"".to_owned())
    })?;
    if found.value >= shortest || found.at.is_none() {
        return Some(found.value.max(shortest));
    }
    let days = shortest.as_secs().div_ceil(24 * 3600);
    let message = format!("this is shorter than {called}");
    problems.error(
        found.at,
        &section.key(setting),
        message,
        format!("write \"{days}d\" or more"),
    );
    None
}

fn size(section: &Section<'_>, setting: &Setting, problems: &mut Problems<'_>) -> Option<u64> {
    let found = section.parsed(setting, problems, |text| {
        parse_size(text).ok_or_else(|| "write \"512M\" or \"20G\"".to_owned())
    });
    Some(found?.value as u64)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Limits, String> {
        let parsed = Config::parse(Path::new("/etc/foundry/foundry.toml"), text);
        parsed.map(|config| config.retention).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_a_host_without_a_file() {
        assert_eq!(parse("").unwrap(), Limits::default());
    }

    #[test]
    fn what_would_remove_what_is_needed_is_refused_with_what_to_write() {
        for (text, expected) in [
            (
                "[retention]\nruns = \"27d\"\n",
                "retention.runs: this is shorter than twice messages.max-age (write \"28d\" or more)",
            ),
            (
                "[retention]\nartifacts = \"1h\"\n",
                "retention.artifacts: this is shorter than 2d (write \"2d\" or more)",
            ),
            ("[retention]\ncaches-size = \"much\"\n", "(write \"512M\" or \"20G\")"),
            (
                "[retention]\nwarn-free = \"1M\"\n",
                "retention.warn-free: builds would stop before there is a warning",
            ),
            (
                "[retention]\nlogs = \"1d\"\n",
                "retention.logs: there is no such setting",
            ),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(expected), "{text}\n{said}");
        }
        let longer = parse("[messages]\nmax-age = \"60d\"\n").unwrap();
        assert_eq!(longer.runs.as_secs(), 120 * 86_400, "what nobody chose follows");
        let limits = parse("[messages]\nmax-age = \"1d\"\n[retention]\nruns = \"3d\"\nstop-free = 0\n").unwrap();
        assert_eq!((limits.runs.as_secs(), limits.stop_free), (3 * 86_400, Some(0)));
        assert_eq!(limits.warn_free, None);
    }
}
