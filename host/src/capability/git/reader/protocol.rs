//! What host and reader say to each other over their socket: frames of a kind (one byte), a length (four bytes, little endian) and a
//! payload. The reader asks, the host replies, one at a time. Each end bounds what it takes: the other may be anybody's by then.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capability::git::names::Branch;
use crate::capability::git::{CommitInfo, Failure, Limits, Ref};

/// The most bytes of a connection in one frame.
pub(in crate::capability::git) const PIECE: usize = 64 * 1024;

/// The longest order, and the longest answer: 200,000 refs with long names, or a commit of 4 MiB whose signature is written as numbers.
const MAX_TEXT: usize = 64 << 20;

/// What a reader is to do. Nothing in it is secret.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::capability::git) struct Order {
    /// The repository as messages name it.
    pub(in crate::capability::git) shown: String,
    /// All of the time that there is for it, for messages.
    pub(in crate::capability::git) limit: Duration,
    /// What is left of it.
    pub(in crate::capability::git) left: Duration,
    pub(in crate::capability::git) limits: Limits,
    pub(in crate::capability::git) task: Task,
}

/// The kinds of orders.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::capability::git) enum Task {
    /// List the branches and tags of a repository of this machine.
    Refs {
        #[serde(with = "raw")]
        repository: PathBuf,
    },
    /// Write the tree of a commit that is reachable from a branch.
    CheckOut(Checkout),
}

/// A commit to check out.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::capability::git) struct Checkout {
    /// The cached repository, or the one of this machine.
    #[serde(with = "raw")]
    pub(in crate::capability::git) repository: PathBuf,
    pub(in crate::capability::git) origin: Origin,
    pub(in crate::capability::git) branch: Branch,
    /// Full id, hex.
    pub(in crate::capability::git) commit: String,
    /// An empty directory.
    #[serde(with = "raw")]
    pub(in crate::capability::git) tree: PathBuf,
}

/// How the commit comes into the repository.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::capability::git) enum Origin {
    /// By a fetch, in requests and answers.
    Http,
    /// By a fetch, over a two-way connection.
    Pipe,
    /// It was fetched from a server of files; the branch is at this ref.
    Files { reference: String },
    /// It is there: the repository is this machine's.
    Local,
}

/// What a reader has done.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::capability::git) enum Report {
    Refs(Vec<Ref>),
    Tree {
        info: CommitInfo,
        /// Paths of submodules, which are left as empty directories; not all if they are many.
        submodules: Vec<String>,
    },
}

/// Paths as bytes: not all of them are text.
mod raw {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Vec::<u8>::deserialize(from).map(|bytes| OsString::from_vec(bytes).into())
    }
}

/// What the reader asks of the host.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::capability::git) enum Request {
    /// Connect, and have the server list its refs. They are read next.
    List,
    /// Begin a request over HTTP: it is written next, then its answer is read.
    Exchange,
    /// Send these bytes.
    Write(Vec<u8>),
    /// Receive so many bytes at most.
    Read(usize),
    /// Nothing more: here is the answer, JSON of `Result<Report, Failure>`.
    Answer(Vec<u8>),
}

/// What the host replies.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::capability::git) enum Reply {
    /// JSON of an [`Order`], before anything was asked.
    Order(Vec<u8>),
    /// Bytes that were received; none at the end.
    Data(Vec<u8>),
    Done,
    /// The connection failed. The host knows why, and tells it to whoever waits for the checkout.
    Failed,
}

const LIST: u8 = b'l';
const EXCHANGE: u8 = b'x';
const WRITE: u8 = b'w';
const READ: u8 = b'r';
const ANSWER: u8 = b'a';
const ORDER: u8 = b'o';
const DATA: u8 = b'd';
const DONE: u8 = b'k';
const FAILED: u8 = b'f';

impl Request {
    /// # Errors
    /// Of the connection; `InvalidData` for what no reader sends.
    pub(in crate::capability::git) fn receive(from: &mut impl Read) -> io::Result<Self> {
        let (kind, payload) = receive(from)?;
        Ok(match kind {
            LIST => Self::List,
            EXCHANGE => Self::Exchange,
            WRITE => Self::Write(payload),
            READ => {
                let wanted = <[u8; 4]>::try_from(payload.as_slice()).map_err(|_| unexpected())?;
                Self::Read(usize::try_from(u32::from_le_bytes(wanted)).map_or(PIECE, |wanted| wanted.min(PIECE)))
            }
            ANSWER => Self::Answer(payload),
            _ => return Err(unexpected()),
        })
    }

    fn send(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::List => send(to, LIST, &[]),
            Self::Exchange => send(to, EXCHANGE, &[]),
            Self::Write(bytes) => send(to, WRITE, bytes),
            Self::Read(wanted) => send(to, READ, &u32::try_from(*wanted).unwrap_or(u32::MAX).to_le_bytes()),
            Self::Answer(text) => send(to, ANSWER, text),
        }
    }
}

impl Reply {
    fn receive(from: &mut impl Read) -> io::Result<Self> {
        let (kind, payload) = receive(from)?;
        Ok(match kind {
            ORDER => Self::Order(payload),
            DATA => Self::Data(payload),
            DONE => Self::Done,
            FAILED => Self::Failed,
            _ => return Err(unexpected()),
        })
    }

    /// # Errors
    /// Of the connection.
    pub(in crate::capability::git) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Order(text) => send(to, ORDER, text),
            Self::Data(bytes) => send(to, DATA, bytes),
            Self::Done => send(to, DONE, &[]),
            Self::Failed => send(to, FAILED, &[]),
        }
    }
}

/// In one write: each is a wake-up of the other side.
fn send(to: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| unexpected())?;
    let mut frame = Vec::with_capacity(payload.len().saturating_add(5));
    frame.push(kind);
    frame.extend(length.to_le_bytes());
    frame.extend(payload);
    to.write_all(&frame)
}

fn receive(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let most = match kind {
        ORDER | ANSWER => MAX_TEXT,
        _ => PIECE,
    };
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| unexpected())?;
    if length > most {
        return Err(unexpected());
    }
    // Grows with what comes, not with what is announced.
    let mut payload = Vec::with_capacity(length.min(PIECE));
    from.by_ref().take(length as u64).read_to_end(&mut payload)?;
    match payload.len() == length {
        true => Ok((kind, payload)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what was sent is not part of the protocol")
}

/// The reader's end of the socket. libgit2 hands it from one stream to the next, one at a time.
#[derive(Debug)]
pub(super) struct Line(Mutex<File>);

impl Line {
    pub(super) fn new(socket: UnixStream) -> Self {
        // As a file it is read by `read`, and not by one of the calls for sockets, which differ between architectures.
        Self(Mutex::new(File::from(OwnedFd::from(socket))))
    }

    pub(super) fn order(&self) -> io::Result<Order> {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match Reply::receive(&mut *socket)? {
            Reply::Order(text) => Ok(serde_json::from_slice(&text)?),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn answer(&self, answer: &Result<Report, Failure>) -> io::Result<()> {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Request::Answer(serde_json::to_vec(answer)?).send(&mut *socket)
    }

    /// Ask the host for something.
    ///
    /// # Errors
    /// `ConnectionAborted` if the host could not do it.
    pub(super) fn ask(&self, request: &Request) -> io::Result<Vec<u8>> {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        request.send(&mut *socket)?;
        match Reply::receive(&mut *socket)? {
            Reply::Data(bytes) => Ok(bytes),
            Reply::Done => Ok(Vec::new()),
            Reply::Failed => Err(io::ErrorKind::ConnectionAborted.into()),
            Reply::Order(_) => Err(unexpected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received() {
        for request in [
            Request::List,
            Request::Exchange,
            Request::Write(b"want".to_vec()),
            Request::Read(17),
            Request::Answer(b"{}".to_vec()),
        ] {
            let mut bytes = Vec::new();
            request.send(&mut bytes).unwrap();
            assert_eq!(Request::receive(&mut bytes.as_slice()).unwrap(), request);
            for length in 0..bytes.len() {
                assert!(Request::receive(&mut &bytes[..length]).is_err(), "{request:?} {length}");
            }
        }
        for reply in [
            Reply::Order(b"{}".to_vec()),
            Reply::Data(vec![0; PIECE]),
            Reply::Done,
            Reply::Failed,
        ] {
            let mut bytes = Vec::new();
            reply.send(&mut bytes).unwrap();
            assert_eq!(Reply::receive(&mut bytes.as_slice()).unwrap(), reply);
        }
    }

    #[test]
    fn a_frame_longer_than_its_kind_may_be_is_refused_before_it_is_read() {
        let head = |kind: u8, length: usize| {
            let mut head = vec![kind];
            head.extend(u32::try_from(length).unwrap().to_le_bytes());
            head
        };
        for bytes in [
            head(WRITE, PIECE + 1),
            head(ANSWER, MAX_TEXT + 1),
            head(b'?', 0),
            head(DATA, 0),
            head(READ, 0),
        ] {
            let error = Request::receive(&mut bytes.as_slice()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        // Nobody is handed more than a piece, whatever he asks for.
        let mut asked = head(READ, 4);
        asked.extend(u32::MAX.to_le_bytes());
        assert_eq!(Request::receive(&mut asked.as_slice()).unwrap(), Request::Read(PIECE));
    }

    #[test]
    fn a_path_that_is_no_text_arrives_as_it_is() {
        use std::os::unix::ffi::OsStringExt;
        let repository = PathBuf::from(std::ffi::OsString::from_vec(b"/srv/caf\xe9".to_vec()));
        let text = serde_json::to_vec(&Task::Refs {
            repository: repository.clone(),
        })
        .unwrap();
        match serde_json::from_slice(&text).unwrap() {
            Task::Refs { repository: read } => assert_eq!(read, repository),
            other => panic!("{other:?}"),
        }
    }
}
