//! The helper's side: how it shuts itself in, and what it has then.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use rustix::process::{DumpableBehavior, Signal, getppid, set_dumpable_behavior, set_parent_process_death_signal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::channel::{Channel, ChannelError};
use super::ending::{NO_MEMORY, NOT_CONFINED};
use super::limits::Limits;
use super::setup::{self, LONGEST_SETUP, Setup};
use super::starter::WORD;
use super::{calls, kernel, landlock};

/// What a helper does.
#[derive(Debug)]
pub struct Task {
    /// Its name, which no other task of [`crate::helpers`] has.
    pub name: &'static str,
    /// What it may use, where its owner grants nothing else.
    pub limits: Limits,
    /// The work. It ends when the conversation does; an error is told to the owner as the helper's last words.
    pub work: fn(&mut Inside) -> Result<(), ChannelError>,
}

/// What a helper has: a conversation, and the descriptors that it was granted.
#[derive(Debug)]
pub struct Inside {
    channel: Channel<File>,
    granted: Vec<OwnedFd>,
}

impl Inside {
    /// Takes the granted descriptors, in their order. The second time there are none.
    pub fn granted(&mut self) -> std::vec::IntoIter<OwnedFd> {
        std::mem::take(&mut self.granted).into_iter()
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when the owner has nothing more to say, which is how a task ends.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        self.channel.receive()
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`ChannelError`] if it is too long, or the owner is gone.
    pub fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), ChannelError> {
        self.channel.send(message)
    }

    /// Waits for a message that is bytes and no JSON.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_bytes(&mut self) -> Result<Vec<u8>, ChannelError> {
        self.channel.receive_bytes()
    }

    /// Sends a message that is bytes and no JSON.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ChannelError> {
        self.channel.send_bytes(bytes)
    }
}

/// Is a helper, if this process was started as one, and says how it ended. None: it was not, and nothing happened.
///
/// Whoever calls this has one thread and nothing open yet.
#[must_use]
pub fn enter(tasks: &[&Task]) -> Option<ExitCode> {
    let is_helper = std::env::args_os().nth(1).is_some_and(|word| word == WORD);
    is_helper.then(|| ExitCode::from(serve(tasks)))
}

/// Ends a helper that got no more memory, where a library says so. Its owner is told that it reached its limit.
pub fn out_of_memory() -> ! {
    std::process::exit(NO_MEMORY.into())
}

/// Serves as a helper: gets its setup, shuts itself in, works. Returns the exit status.
pub(crate) fn serve(tasks: &[&Task]) -> u8 {
    let (task, mut inside) = match shut_in(tasks) {
        Ok(ready) => ready,
        Err(error) => {
            eprintln!("{error}");
            return NOT_CONFINED;
        }
    };
    match (task.work)(&mut inside) {
        Ok(()) | Err(ChannelError::Closed) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

/// The order matters: what dies with the host comes first, what is forbidden to change later comes last.
fn shut_in<'a>(tasks: &[&'a Task]) -> io::Result<(&'a Task, Inside)> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // What is granted comes after this, with the setup.
    kernel::close_from(3)?;
    let (length, granted) = setup::receive_header(io::stdin().as_fd()).map_err(|error| {
        let why = format!("this is what foundry-host runs by itself, with its setup as the input ({error})");
        io::Error::new(error.kind(), why)
    })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut conversation = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let setup = setup(&mut conversation, length)?;
    // A parent that was gone before the first line is no parent any more, and will not be told of.
    let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get().unsigned_abs());
    if parent != setup.parent || granted.len() != setup.descriptors {
        return Err(io::Error::other(
            "the host that started it is gone, or its descriptors are",
        ));
    }
    let task = tasks.iter().find(|task| task.name == setup.task);
    let task = task.ok_or_else(|| io::Error::other(format!("there is no task {}", setup.task)))?;
    confine(&setup)?;
    let channel = Channel::new(conversation, setup.limits.message);
    Ok((task, Inside { channel, granted }))
}

fn setup(conversation: &mut File, length: u32) -> io::Result<Setup> {
    if length > LONGEST_SETUP {
        return Err(io::Error::other("its setup is too long"));
    }
    let mut text = vec![0; length as usize];
    conversation.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn confine(setup: &Setup) -> io::Result<()> {
    let filter = calls::filter(std::process::id(), !setup.directories.is_empty());
    let filter = filter.ok_or_else(|| {
        let processor = std::env::consts::ARCH;
        io::Error::other(format!(
            "there is no filter for the system calls of this processor, {processor}"
        ))
    })?;
    setup.limits.apply()?;
    kernel::drop_capabilities()?;
    kernel::no_new_privileges()?;
    landlock::restrict(&setup.directories)?;
    kernel::install(&filter)
}
