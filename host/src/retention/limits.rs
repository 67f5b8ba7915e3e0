//! How much is kept, and for how long.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

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
    /// Free bytes of the state directory's file system below which there is a warning.
    pub warn_free: u64,
    /// Free bytes below which no builds are begun.
    pub stop_free: u64,
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
            warn_free: 4 * GIB,
            stop_free: GIB,
        }
    }
}
