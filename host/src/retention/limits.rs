//! How much is kept, and for how long.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// Of a large file system, where nobody chose.
const WARN_FREE: u64 = 4 * GIB;
const STOP_FREE: u64 = GIB;

/// The shortest time that anything is kept by age: more than any message takes, and more than a clock that jumps can bring about in some
/// hours, since the housekeeping follows it by a day each hour.
pub const SHORTEST: Duration = DAY.saturating_mul(2);

/// How much is kept, and for how long. The defaults are for a small machine; the configuration has them once more, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long a run is on record after this host saw its last event, with its log.
    pub runs: Duration,
    /// Bytes of the events of all runs; the runs that were quiet for longest go first.
    pub runs_size: u64,
    /// Bytes of the logs of all runs; the oldest go first.
    pub logs_size: u64,
    /// Bytes of each other log file, the host's own and a bot's outside of runs. One older file of that size is kept besides.
    pub log_file: u64,
    /// How long an artifact is kept that nothing refers to.
    pub artifacts: Duration,
    /// Bytes of all artifacts; of those that no message needs the oldest go first.
    pub artifacts_size: u64,
    /// How long what only saves time is kept unused: git caches, build layers, roots, fetched packages.
    pub caches: Duration,
    /// Bytes of the git caches, and as many again of layers and roots; what was not used for longest goes first.
    pub caches_size: u64,
    /// How long the state and the log of a bot are kept that is not loaded any more.
    pub bots: Duration,
    /// Free bytes of the state directory's file system below which there is a warning; `None` where nobody chose.
    pub warn_free: Option<u64>,
    /// Free bytes below which no builds are begun; `None` where nobody chose.
    pub stop_free: Option<u64>,
}

/// How much of a file system has to be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Free bytes below which there is a warning. Not less than `stop`.
    pub warn: u64,
    /// Free bytes below which no builds are begun.
    pub stop: u64,
}

impl Limits {
    /// What has to be free of a file system of so many bytes. What nobody chose leaves room for work on a small one: a fifth of it has to be free at
    /// most, and a tenth.
    #[must_use]
    pub fn thresholds(&self, total: u64) -> Thresholds {
        let stop = self.stop_free.unwrap_or(STOP_FREE.min(total / 10));
        let warn = self.warn_free.unwrap_or(WARN_FREE.min(total / 5));
        Thresholds {
            warn: warn.max(stop),
            stop,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            runs: DAY * 90,
            runs_size: 256 * MIB,
            logs_size: GIB,
            log_file: 16 * MIB,
            artifacts: DAY * 7,
            artifacts_size: 20 * GIB,
            caches: DAY * 14,
            caches_size: 20 * GIB,
            bots: DAY * 90,
            warn_free: None,
            stop_free: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_small_file_system_a_part_has_to_be_free_unless_somebody_chose() {
        let limits = Limits::default();
        let of = |limits: &Limits, total| {
            let thresholds = limits.thresholds(total);
            (thresholds.warn, thresholds.stop)
        };
        assert_eq!(of(&limits, 100 * GIB), (4 * GIB, GIB));
        assert_eq!(of(&limits, 5000 * MIB), (1000 * MIB, 500 * MIB));
        let chosen = Limits {
            stop_free: Some(2 * GIB),
            ..limits
        };
        assert_eq!(of(&chosen, 5000 * MIB), (2 * GIB, 2 * GIB));
        let chosen = Limits {
            warn_free: Some(4 * GIB),
            ..Limits::default()
        };
        assert_eq!(of(&chosen, 5000 * MIB), (4 * GIB, 500 * MIB));
    }
}
