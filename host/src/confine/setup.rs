//! The first message to a helper: what it is to do, and what it has. The descriptors travel beside it.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// Descriptors that one helper is granted at most.
pub(super) const MOST_DESCRIPTORS: usize = 16;
/// The longest setup, in bytes: paths are in it.
pub(super) const LONGEST_SETUP: u32 = 64 << 10;

/// What a helper may do in a directory and in all that is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Read files, list directories.
    Read,
    /// Make, change and remove files, directories and symbolic links as well.
    Write,
}

/// A directory that a helper has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directory {
    pub path: PathBuf,
    pub access: Access,
}

/// What a helper is told first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    /// The task's name.
    pub task: String,
    /// Whose helper it is: the id of the process that started it.
    pub parent: u32,
    /// How many descriptors come with this.
    pub descriptors: usize,
    pub limits: Limits,
    pub directories: Vec<Directory>,
}

/// Sends the setup with its descriptors.
pub(super) fn send(mut stream: &UnixStream, setup: &Setup, granted: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(setup)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST_SETUP);
    let length = length.ok_or_else(|| io::Error::other("what it is granted is too much to tell"))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let fits = granted.len() <= MOST_DESCRIPTORS;
    let travel = granted.is_empty() || fits && beside.push(SendAncillaryMessage::ScmRights(granted));
    if !travel {
        return Err(io::Error::other(format!(
            "it is granted more than {MOST_DESCRIPTORS} descriptors"
        )));
    }
    // The socket is new and the length is short: it goes as a whole.
    let header = length.to_be_bytes();
    let sent = sendmsg(stream, &[IoSlice::new(&header)], &mut beside, SendFlags::NOSIGNAL)?;
    stream.write_all(header.get(sent..).unwrap_or_default())?;
    stream.write_all(&text)
}

/// Receives the length of a setup, and the descriptors beside it.
pub(super) fn receive_header(stream: impl AsFd) -> io::Result<(u32, Vec<OwnedFd>)> {
    let mut header = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut header)],
        &mut beside,
        RecvFlags::WAITALL | RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut granted = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            granted.extend(descriptors);
        }
    }
    match received.bytes {
        4 => Ok((u32::from_be_bytes(header), granted)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
