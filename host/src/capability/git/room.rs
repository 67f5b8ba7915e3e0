//! The process that a reader is: its limits, its two or three directories, its one socket.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Limits, Readers, reader};
use crate::confine::{self, Access, ChannelError, ConfineError, Grants, Helper, Inside, Task};

/// Files that a reader has open: two of each pack.
const MAX_DESCRIPTORS: u64 = 1000;

/// How much longer a reader may live than its order: whoever waits for it ends it, and says why.
const GRACE: Duration = Duration::from_secs(60);

/// What a reader does. It gets one descriptor: its end of the conversation ([`reader::protocol`]).
pub(crate) static READER: Task = Task {
    name: "git-reader",
    limits: confine::Limits {
        memory: 2 << 30,
        processor: 600,
        time: Duration::from_secs(600),
        // The conversation has a socket of its own: it carries a connection's bytes, not messages.
        message: 1024,
        file: 16 << 30,
        descriptors: MAX_DESCRIPTORS,
    },
    work,
};

fn work(inside: &mut Inside) -> Result<(), ChannelError> {
    let socket = inside.granted().next().ok_or(ChannelError::Closed)?;
    reader::main(UnixStream::from(socket)).map_err(ChannelError::Io)
}

/// What a reader may use.
#[derive(Debug, Clone)]
pub(super) struct Room {
    readers: Readers,
    limits: confine::Limits,
    directories: Vec<(PathBuf, Access)>,
}

impl Room {
    /// One without any directory. `time` is how long it may take, and compute.
    pub(super) fn new(readers: Readers, limits: &Limits, time: Duration) -> Self {
        Self {
            readers,
            limits: confine::Limits {
                memory: limits.memory,
                processor: time.as_secs().saturating_add(1),
                time: time.saturating_add(GRACE),
                // A pack, with the objects that libgit2 adds to a thin one, or a file of the tree.
                file: limits.transfer.saturating_add(limits.file),
                ..READER.limits
            },
            directories: Vec::new(),
        }
    }

    /// With directories to read in.
    pub(super) fn readable(mut self, directories: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let directories = directories.into_iter();
        self.directories
            .extend(directories.map(|path| (path.as_ref().to_owned(), Access::Read)));
        self
    }

    /// With a directory to read and write in.
    pub(super) fn writable(mut self, directory: &Path) -> Self {
        self.directories.push((directory.to_owned(), Access::Write));
        self
    }

    /// What it means that an object did not fit into its memory.
    pub(super) fn memory_error(&self) -> ConfineError {
        ConfineError::Memory(self.limits.memory)
    }

    /// Start a reader.
    pub(super) fn start(&self) -> Result<Reader, ConfineError> {
        let (ours, theirs) = UnixStream::pair().map_err(ConfineError::Start)?;
        let helper = match self.readers {
            Readers::Apart => Some(self.helper(theirs)?),
            Readers::Here => {
                // It ends with the conversation.
                std::thread::spawn(move || reader::serve(theirs));
                None
            }
        };
        Ok(Reader { helper, socket: ours })
    }

    fn helper(&self, socket: UnixStream) -> Result<Helper, ConfineError> {
        let socket = OwnedFd::from(socket);
        let grants = Grants {
            limits: Some(self.limits),
            descriptors: vec![socket.as_fd()],
            directories: self.directories.clone(),
        };
        Helper::start(&READER, grants)
    }
}

/// A reader at work. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Reader {
    helper: Option<Helper>,
    socket: UnixStream,
}

impl Reader {
    /// The host's end of the conversation.
    pub(super) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Why it closed its end without an answer.
    pub(super) fn end(self) -> ConfineError {
        drop(self.socket);
        match self.helper.map(|mut helper| helper.receive_bytes()) {
            Some(Err(error)) => error,
            // It has nothing to say there.
            Some(Ok(_)) | None => ConfineError::Channel(ChannelError::Closed),
        }
    }
}
