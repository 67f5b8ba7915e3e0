//! Why a build did not happen or did not succeed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::request::{Backend, Phase};

/// What is known of a build that ended early: the end of its log, and where the whole log is.
#[derive(Debug, Clone, Default)]
pub struct LogTail {
    /// The last lines, oldest first.
    pub lines: Vec<String>,
    /// The log file.
    pub path: PathBuf,
}

/// A way of building that this machine can't offer for this request, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The way of building.
    pub backend: Backend,
    /// What is missing, and how to provide it.
    pub why: String,
}

/// A build that was not successful.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The machine has no sandbox for this request.
    #[error("cannot build here: {}", list_unavailable(.tried))]
    NoBackend {
        /// Every way of building, with what it lacks.
        tried: Vec<Unavailable>,
    },

    /// The request contradicts itself or names something impossible.
    #[error("cannot start the build: {why}")]
    BadRequest {
        /// What is wrong with it.
        why: String,
    },

    /// The tree is not a Debian source tree that can be built.
    #[error("cannot build the source tree: {why}")]
    BadSource {
        /// What is wrong with it, where, and what was expected.
        why: String,
    },

    /// Build dependencies can't be had.
    #[error("cannot provide the build dependencies: {}", .missing.join(", "))]
    Dependencies {
        /// Those that are missing, or what apt says about them.
        missing: Vec<String>,
        /// Whether a mirror could not be reached, rather than a package not be found.
        unreachable: bool,
        /// The end of the log.
        tail: Box<LogTail>,
    },

    /// A command of the build failed.
    #[error("the {phase} phase ended with {exit}")]
    Failed {
        /// In which phase.
        phase: Phase,
        /// How it ended.
        exit: Exit,
        /// The end of the log.
        tail: Box<LogTail>,
    },

    /// The build used up its wall time.
    #[error("the build took longer than {} s; it was in the {phase} phase (raise the limit on time)", .limit.as_secs())]
    TimedOut {
        /// In which phase.
        phase: Phase,
        /// The limit that it ran into.
        limit: Duration,
        /// The end of the log.
        tail: Box<LogTail>,
    },

    /// The build used more memory than it may.
    #[error("the build took more than {} of memory (raise the limit on memory, or let it run fewer jobs)", Bytes(*.limit))]
    MemoryLimit {
        /// The limit that it ran into.
        limit: u64,
        /// The end of the log.
        tail: Box<LogTail>,
    },

    /// The build wrote more than it may, or the host's disk is nearly full.
    #[error("{}", disk_message(*.limit, *.host_full))]
    DiskLimit {
        /// The limit that it ran into.
        limit: u64,
        /// Whether it was stopped because the host itself runs out of space.
        host_full: bool,
        /// The end of the log.
        tail: Box<LogTail>,
    },

    /// The build started more processes than it may.
    #[error("the build started more than {limit} processes (raise the limit on processes, or let it run fewer jobs)")]
    ProcessLimit {
        /// The limit that it ran into.
        limit: u64,
        /// The end of the log.
        tail: Box<LogTail>,
    },

    /// The build claims to have made something that is not there, or is not what it claims.
    #[error("cannot collect the artifacts: {why}")]
    BadResult {
        /// What doesn't match.
        why: String,
        /// The end of the log.
        tail: Box<LogTail>,
    },

    /// The caller cancelled the build, or stopped waiting for it.
    #[error("the build was cancelled")]
    Cancelled,

    /// The operating system refused something that the host itself needed.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was attempted: `read`, `create`, `start`...
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The host's own part of the build broke down.
    #[error("the build broke down: {why}")]
    Internal {
        /// What happened.
        why: String,
    },
}

impl BuildError {
    /// The end of the log, where the build came far enough to have one.
    #[must_use]
    pub fn tail(&self) -> Option<&LogTail> {
        match self {
            Self::Dependencies { tail, .. }
            | Self::Failed { tail, .. }
            | Self::TimedOut { tail, .. }
            | Self::MemoryLimit { tail, .. }
            | Self::DiskLimit { tail, .. }
            | Self::ProcessLimit { tail, .. }
            | Self::BadResult { tail, .. } => Some(tail),
            _ => None,
        }
    }

    /// Whether another attempt may succeed although nothing about the source has changed.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NoBackend { .. }
                | Self::Dependencies { unreachable: true, .. }
                | Self::DiskLimit { host_full: true, .. }
                | Self::Cancelled
                | Self::Io { .. }
                | Self::Internal { .. }
        )
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With an exit status.
    Status(i32),
    /// By a signal.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

impl From<std::process::ExitStatus> for Exit {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Status(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

fn list_unavailable(tried: &[Unavailable]) -> String {
    tried
        .iter()
        .map(|one| format!("{}: {}", one.backend, one.why))
        .collect::<Vec<_>>()
        .join("; ")
}

/// A number of bytes, for people.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 30 => write!(f, "{} GiB", bytes >> 30),
            bytes if bytes >= 1 << 20 => write!(f, "{} MiB", bytes >> 20),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

fn disk_message(limit: u64, host_full: bool) -> String {
    if host_full {
        "the build was stopped because the host's disk is nearly full (free some space)".to_owned()
    } else {
        format!("the build wrote more than {} (raise the limit on disk)", Bytes(limit))
    }
}

/// Adds to an I/O error what was attempted and on what.
pub(super) trait Attempt<T> {
    /// Turns the error into a [`BuildError::Io`].
    fn attempt(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T, BuildError>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T, BuildError> {
        self.map_err(|error| BuildError::Io {
            doing,
            path: path.as_ref().to_path_buf(),
            source: error.into(),
        })
    }
}
