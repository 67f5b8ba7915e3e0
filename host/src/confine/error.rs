//! Why a helper gave no answer.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::channel::ChannelError;

/// Why a helper gave no answer. It fits "cannot read the package: {}": `it` is what the helper was reading.
#[derive(Debug, Error)]
pub enum ConfineError {
    /// The process could not be started.
    #[error("cannot start a helper process: {0}")]
    Start(#[source] io::Error),
    /// It could not be shut in, and did nothing.
    #[error("a helper process cannot be confined: {0}")]
    Setup(String),
    /// What it was reading took more memory than it may.
    #[error("it takes more than {} MiB of memory", .0 >> 20)]
    Memory(
        /// The most, in bytes.
        u64,
    ),
    /// What it was reading took more processor time than it may.
    #[error("it takes more than {0} s of processor time")]
    Processor(
        /// The most, in seconds.
        u64,
    ),
    /// It wrote a file that is larger than it may be.
    #[error("it makes a file of more than {0} bytes")]
    File(
        /// The most, in bytes.
        u64,
    ),
    /// It answered more than it may.
    #[error("it makes an answer of more than {0} bytes")]
    Answer(
        /// The most, in bytes.
        u32,
    ),
    /// It was not done in time.
    #[error("it takes longer than {} s", .0.as_secs())]
    Deadline(
        /// How long it may take.
        Duration,
    ),
    /// It was stopped by its owner.
    #[error("its helper process was stopped")]
    Stopped,
    /// It made a system call by a way that no program of this machine's architecture has.
    #[error("its helper process was killed, because it made a system call of another architecture")]
    ForeignCall,
    /// A signal ended it that is for none of its limits.
    #[error("its helper process was killed by signal {signal}{}", after(.said))]
    Killed {
        /// The signal's number.
        signal: i32,
        /// What it said at the end; may be empty.
        said: String,
    },
    /// It ended before it had answered.
    #[error("its helper process ended with status {status}{}", after(.said))]
    Ended {
        /// Its exit status.
        status: i32,
        /// What it said at the end; may be empty.
        said: String,
    },
    /// It answered something else than it was asked, or the conversation broke off.
    #[error("its helper process cannot be talked to: {0}")]
    Channel(#[source] ChannelError),
    /// It could not be waited for.
    #[error("its helper process is lost: {0}")]
    Lost(#[source] io::Error),
}

impl ConfineError {
    /// Whether what it was reading is the reason, so that it would come to the same end the next time.
    #[must_use]
    pub fn is_by_input(&self) -> bool {
        match self {
            Self::Memory(_)
            | Self::Processor(_)
            | Self::File(_)
            | Self::Answer(_)
            | Self::ForeignCall
            | Self::Ended { .. }
            | Self::Channel(_) => true,
            // Whoever kills what takes the machine's memory uses the first; a full disk below mapped memory is told by the last.
            Self::Killed { signal, .. } => ![libc::SIGKILL, libc::SIGTERM, libc::SIGBUS].contains(signal),
            Self::Start(_) | Self::Setup(_) | Self::Deadline(_) | Self::Stopped | Self::Lost(_) => false,
        }
    }
}

/// What it said, behind how it ended.
fn after(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}
