//! The owner's side of a helper: starts it, talks to it, ends it.

use std::io::{self, Read as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::channel::{Channel, ChannelError};
use super::ending;
use super::error::ConfineError;
use super::inside::Task;
use super::limits::Limits;
use super::setup::{self, Access, Directory, Setup};
use super::starter;
use super::timed::Timed;

/// How long a helper that closed its conversation gets to end by itself, and so to say why.
const GRACE: Duration = Duration::from_secs(5);
/// The longest last words that are read, in bytes.
const LONGEST_WORDS: u64 = 4096;

/// What a helper gets beside its task.
#[derive(Debug, Default)]
pub struct Grants<'a> {
    /// Other limits than the task's.
    pub limits: Option<Limits>,
    /// Descriptors, of which it gets copies; 16 at most. A socket among them is all the network that it has.
    pub descriptors: Vec<BorrowedFd<'a>>,
    /// Directories, by absolute paths. With one of them the helper may name files, and needs a kernel with Landlock.
    pub directories: Vec<(PathBuf, Access)>,
}

/// A running helper. It is killed when this is dropped, and when this process ends.
///
/// All methods wait, until the helper's deadline at the longest: call them where a thread may.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    stopper: Stopper,
    channel: Channel<Timed>,
    limits: Limits,
    /// It has been waited for: its number may be another process's.
    is_gone: bool,
}

/// Ends a helper from any thread. Whoever waits for its answer hears [`ConfineError::Stopped`].
#[derive(Debug, Clone)]
pub struct Stopper {
    process: Arc<OwnedFd>,
    is_stopped: Arc<AtomicBool>,
}

impl Stopper {
    /// Ends it. Nothing happens if it has ended.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.kill();
    }

    fn kill(&self) {
        // It may be gone, which is what was wanted.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// Whether it ends within a time.
    fn ends_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
            match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], left.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(count) => return count > 0,
                Err(_) => return false,
            }
        }
    }
}

impl Helper {
    /// Starts a helper for a task. Its time begins.
    ///
    /// # Errors
    /// [`ConfineError::Start`] if there is no process for it. That it could not be shut in is told in place of its first answer.
    pub fn start(task: &Task, grants: Grants<'_>) -> Result<Self, ConfineError> {
        let limits = grants.limits.unwrap_or(task.limits);
        let deadline = Instant::now() + limits.time;
        let (ours, theirs) = UnixStream::pair().map_err(ConfineError::Start)?;
        let mut child = starter::start(task.name, theirs.into()).map_err(ConfineError::Start)?;
        let process = match process(&child) {
            Ok(process) => process,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(ConfineError::Start(error));
            }
        };
        let mut helper = Self {
            stopper: Stopper {
                process: Arc::new(process),
                is_stopped: Arc::default(),
            },
            child,
            channel: Channel::new(Timed::new(ours, deadline), limits.message),
            limits,
            is_gone: false,
        };
        let directory = |(path, access)| Directory { path, access };
        let setup = Setup {
            task: task.name.to_owned(),
            parent: std::process::id(),
            descriptors: grants.descriptors.len(),
            limits,
            directories: grants.directories.into_iter().map(directory).collect(),
        };
        match setup::send(helper.channel.stream().socket(), &setup, &grants.descriptors) {
            Ok(()) => Ok(helper),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(helper.ended()),
            Err(error) => Err(ConfineError::Start(error)),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`ConfineError`] with the reason why the helper did not take it. It is of no use then.
    pub fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), ConfineError> {
        let sent = self.channel.send(message);
        sent.map_err(|error| self.failed(error))
    }

    /// Waits for a message. What it says may be a stranger's word.
    ///
    /// # Errors
    /// [`ConfineError`] with the reason why there is none. The helper is of no use then.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ConfineError> {
        let received = self.channel.receive();
        received.map_err(|error| self.failed(error))
    }

    /// Sends a message that is bytes and no JSON.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ConfineError> {
        let sent = self.channel.send_bytes(bytes);
        sent.map_err(|error| self.failed(error))
    }

    /// Waits for a message that is bytes and no JSON.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_bytes(&mut self) -> Result<Vec<u8>, ConfineError> {
        let received = self.channel.receive_bytes();
        received.map_err(|error| self.failed(error))
    }

    /// Gives it so much time from now on, instead of what is left.
    pub fn renew(&mut self, time: Duration) {
        self.channel.stream().renew(Instant::now() + time);
    }

    /// What ends it from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The id of its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Says that there is nothing more to do, and waits until it has ended.
    ///
    /// # Errors
    /// [`ConfineError`] if it does not end by itself and well before its deadline.
    pub fn finish(mut self) -> Result<(), ConfineError> {
        let timed = self.channel.stream();
        // It may be gone already, for whatever reason: its end says which.
        let _ = timed.socket().shutdown(std::net::Shutdown::Both);
        let left = timed.deadline().saturating_duration_since(Instant::now());
        if !self.stopper.ends_within(left) {
            return Err(ConfineError::Deadline(self.limits.time));
        }
        match self.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.told(status)),
            Err(error) => Err(ConfineError::Lost(error)),
        }
    }

    /// Why the conversation failed, from what has become of the helper.
    fn failed(&mut self, error: ChannelError) -> ConfineError {
        match error {
            ChannelError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                ConfineError::Deadline(self.limits.time)
            }
            ChannelError::Closed => self.ended(),
            ChannelError::TooLong { limit } => ConfineError::Answer(limit),
            other => ConfineError::Channel(other),
        }
    }

    /// Why it closed its end.
    fn ended(&mut self) -> ConfineError {
        let ended = self.stopper.ends_within(GRACE);
        if !ended {
            self.stopper.kill();
        }
        match self.wait() {
            Ok(status) if ended => self.told(status),
            Ok(_) => ConfineError::Channel(ChannelError::Closed),
            Err(error) => ConfineError::Lost(error),
        }
    }

    fn told(&mut self, status: ExitStatus) -> ConfineError {
        if self.stopper.is_stopped.load(Ordering::Acquire) {
            return ConfineError::Stopped;
        }
        let mut said = Vec::new();
        if let Some(words) = self.child.stderr.take() {
            // It has ended and had no children, so that its words have an end. Those that can't be read are missed only.
            let _ = words.take(LONGEST_WORDS).read_to_end(&mut said);
        }
        ending::error(status, &said, &self.limits)
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        self.is_gone = true;
        status
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.is_gone {
            self.stopper.kill();
            // A process that was killed ends as soon as the kernel comes to it.
            let _ = self.wait();
        }
    }
}

/// Starts a helper, asks it one question, and ends it. Nothing of it is left for the next one.
///
/// # Errors
/// [`ConfineError`] with the reason why there is no answer.
pub fn ask<Q: Serialize + ?Sized, A: DeserializeOwned>(
    task: &Task,
    grants: Grants<'_>,
    question: &Q,
) -> Result<A, ConfineError> {
    let mut helper = Helper::start(task, grants)?;
    helper.send(question)?;
    helper.receive()
}

/// A descriptor that stands for the child and nobody else, whatever becomes of its number.
fn process(child: &Child) -> io::Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("its process has no id"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
