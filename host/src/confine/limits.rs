//! What a helper may use.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What a helper may use; the kernel keeps all of it but `time` and `message`, which its owner keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of address space, beside what the program itself takes.
    pub memory: u64,
    /// Seconds of processor time.
    pub processor: u64,
    /// How long it may live.
    pub time: Duration,
    /// Bytes of one message, each way.
    pub message: u32,
    /// Bytes of a file that it writes. With 0 it writes to none; sockets and pipes are no files.
    pub file: u64,
    /// Descriptors that are open at a time, with those that it is granted, beside its standard streams.
    pub descriptors: u64,
}

impl Limits {
    /// Has the kernel keep them for this process.
    ///
    /// # Errors
    /// If the kernel refuses one.
    pub(super) fn apply(&self) -> io::Result<()> {
        let space = own_space()?.saturating_add(self.memory);
        for (resource, bound) in [
            (Resource::Core, 0),
            (Resource::As, space),
            (Resource::Fsize, self.file),
            (Resource::Nofile, self.descriptors.saturating_add(3)),
            // No process or thread beside it. The filter has no call for that either.
            (Resource::Nproc, 0),
            (Resource::Memlock, 0),
            (Resource::Msgqueue, 0),
        ] {
            set(resource, bound, bound)?;
        }
        // First the signal that says what happened; a second later the one that nothing survives.
        set(Resource::Cpu, self.processor, self.processor.saturating_add(1))
    }
}

fn set(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let (current, maximum) = (Some(current), Some(maximum));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// Bytes of address space that this process has mapped: the program is large, and how large depends on how it was built.
fn own_space() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm has no size"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}
