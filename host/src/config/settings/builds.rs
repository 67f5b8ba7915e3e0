//! Settings about builds.

use super::{Setting, setting};

pub(in crate::config) const BUILDS_BACKEND: Setting = setting(
    "builds",
    "backend",
    "sandbox",
    None,
    "the first that fits the build",
    "Build only in this kind of sandbox: `host-root` is this machine's own root, read only; `layered` is the same with missing build dependencies in a layer above it (needs root); `own-root` is a root made by mmdebstrap.",
);
pub(in crate::config) const BUILDS_JOBS: Setting = setting(
    "builds",
    "jobs",
    "number",
    None,
    "one per processor",
    "How many jobs a build may run in parallel.",
);
pub(in crate::config) const BUILDS_TIME: Setting = setting(
    "builds",
    "time",
    "time",
    Some("2h"),
    "",
    "Time that a build may take, its preparation included.",
);
pub(in crate::config) const BUILDS_MEMORY: Setting = setting(
    "builds",
    "memory",
    "size",
    Some("8G"),
    "",
    "Memory of all of a build's processes together.",
);
pub(in crate::config) const BUILDS_DISK: Setting =
    setting("builds", "disk", "size", Some("20G"), "", "What a build may write.");
pub(in crate::config) const BUILDS_PROCESSES: Setting = setting(
    "builds",
    "processes",
    "number",
    Some("4096"),
    "",
    "Processes and threads that a build may have at one time.",
);
pub(in crate::config) const BUILDS_LOG: Setting = setting(
    "builds",
    "log",
    "size",
    Some("64M"),
    "",
    "How much of a build's log is kept.",
);
pub(in crate::config) const BUILDS_ROOT_MAX_AGE: Setting = setting(
    "builds",
    "root-max-age",
    "time",
    Some("7d"),
    "",
    "How long a root made for a suite is used before a new one is made.",
);
pub(in crate::config) const BUILDS_USER_ID: Setting = setting(
    "builds",
    "user-id",
    "number",
    Some("1900000000"),
    "",
    "User and group id that builds have when the host runs as root. Nobody else may have it, nor, where root has no range in `/etc/subuid` and `/etc/subgid`, the 65,536 after it.",
);
