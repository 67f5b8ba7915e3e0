//! Settings about what is kept, and for how long.

use super::{Setting, setting};

const fn retention(key: &'static str, form: &'static str, default: &'static str, help: &'static str) -> Setting {
    setting("retention", key, form, Some(default), "", help)
}

pub(in crate::config) const RETENTION_RUNS: Setting = retention(
    "runs",
    "time",
    "90d",
    "How long a run is on record after its last event, with its log. At least twice `messages.max-age`.",
);
pub(in crate::config) const RETENTION_RUNS_SIZE: Setting = retention(
    "runs-size",
    "size",
    "256M",
    "Room for the events of all runs; beyond it the runs that were quiet for longest go. Those of the last two `messages.max-age` stay.",
);
pub(in crate::config) const RETENTION_LOGS_SIZE: Setting = retention(
    "logs-size",
    "size",
    "1G",
    "Room for the logs of all runs; beyond it the oldest go.",
);
pub(in crate::config) const RETENTION_LOG_FILE: Setting = retention(
    "log-file",
    "size",
    "16M",
    "Size at which each other log begins anew, a bot's outside of runs and `host.log`. One older file is kept.",
);
pub(in crate::config) const RETENTION_ARTIFACTS: Setting = retention(
    "artifacts",
    "time",
    "7d",
    "How long an artifact is kept that nothing refers to: no run on record, no message that waits or was given up, no state of a bot. Two days at least.",
);
pub(in crate::config) const RETENTION_ARTIFACTS_SIZE: Setting = retention(
    "artifacts-size",
    "size",
    "20G",
    "Room for artifacts in the state directory; beyond it the oldest go that only finished runs refer to.",
);
pub(in crate::config) const RETENTION_CACHES: Setting = retention(
    "caches",
    "time",
    "14d",
    "How long what only saves time is kept unused: fetched repositories, build layers, roots (after `builds.root-max-age`). Fetched packages go so long after they were fetched, unless a build installs them now. Two days at least.",
);
pub(in crate::config) const RETENTION_CACHES_SIZE: Setting = retention(
    "caches-size",
    "size",
    "20G",
    "Room for fetched repositories, and as much again for build layers and roots; beyond it those go that were not used for longest.",
);
pub(in crate::config) const RETENTION_BOTS: Setting = retention(
    "bots",
    "time",
    "90d",
    "How long the state and the log of a bot are kept that is not loaded any more. Two days at least.",
);
pub(in crate::config) const RETENTION_WARN_FREE: Setting = retention(
    "warn-free",
    "size",
    "4G",
    "Free space on the state directory's disk below which the host warns, and keeps house at once. Unless it is set, a fifth of the disk at most.",
);
pub(in crate::config) const RETENTION_STOP_FREE: Setting = retention(
    "stop-free",
    "size",
    "1G",
    "Free space below which bots that build take no work, so that it stays for others. What is built is signed and published. Unless it is set, a tenth of the disk at most.",
);
