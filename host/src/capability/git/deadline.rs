//! How long a conversation with a server may take: one deadline for all of it, and a way to call it off.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How often a wait looks whether it was called off.
const SLICE: Duration = Duration::from_millis(200);

/// The end of a conversation with a server.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    at: Instant,
    limit: Duration,
    called_off: Arc<AtomicBool>,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self::within(limit, limit)
    }

    /// One that began before: so much is left of its limit.
    pub(super) fn within(left: Duration, limit: Duration) -> Self {
        Self {
            at: Instant::now() + left,
            limit,
            called_off: Arc::default(),
        }
    }

    /// All of the time that there was.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// What is left of it; an error once that is nothing, or when nobody waits for the result any more.
    pub(super) fn remaining(&self) -> io::Result<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() || self.called_off.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }

    /// Whether it has passed.
    pub(super) fn passed(&self) -> bool {
        self.remaining().is_err()
    }

    /// Calls the conversation off when dropped, so that a thread does not go on for nobody.
    pub(super) fn call_off_on_drop(&self) -> CallOff {
        CallOff(Arc::clone(&self.called_off))
    }

    /// Read what there is from a descriptor that doesn't block.
    pub(super) fn read(&self, from: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.remaining()?;
            match rustix::io::read(from, &mut *buffer) {
                Ok(count) => return Ok(count),
                Err(Errno::AGAIN) => self.wait_for(from, PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Write what there is room for to a descriptor that doesn't block.
    pub(super) fn write(&self, to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.remaining()?;
            match rustix::io::write(to, bytes) {
                Ok(count) => return Ok(count),
                Err(Errno::AGAIN) => self.wait_for(to, PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Wait until a file descriptor is ready.
    fn wait_for(&self, fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
        loop {
            let slice = Timespec::try_from(self.remaining()?.min(SLICE)).map_err(io::Error::other)?;
            match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&slice)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// See [`Deadline::call_off_on_drop`].
#[derive(Debug)]
pub(super) struct CallOff(Arc<AtomicBool>);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
