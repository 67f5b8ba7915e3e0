//! A stream with one deadline for all that is read from it and written to it, however slowly the other end does its part.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The kernel takes no time for "wait for ever".
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Timed {
    stream: UnixStream,
    deadline: Instant,
}

impl Timed {
    pub fn new(stream: UnixStream, deadline: Instant) -> Self {
        Self { stream, deadline }
    }

    pub fn socket(&self) -> &UnixStream {
        &self.stream
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub fn renew(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// What is left, for one wait.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left.max(SHORTEST))),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(named)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel calls a wait that was too long "would block".
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
