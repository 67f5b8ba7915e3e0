//! The host's side of a conversation with a reader: it gives an order, serves the reader's connection until the answer comes, and says
//! what it means if none does.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::Failure;
use super::deadline::Deadline;
use super::error::GitError;
use super::reader::protocol::{Order, PIECE, Reply, Report, Request};
use super::room::Room;
use super::wire::Wire;
use crate::confine::ConfineError;

/// Have a reader do what an order says. It is gone when this returns, whatever it did.
///
/// `wire` is the connection that it gets; none for a repository that is there.
pub(super) fn ask(room: &Room, order: &Order, wire: Option<Wire>, deadline: &Deadline) -> Result<Report, Failure> {
    let unavailable = |why: String| Failure::Git(GitError::unavailable(&order.shown, why));
    let reader = room.start().map_err(|error| unavailable(error.to_string()))?;
    let channel = Channel::new(reader.socket(), deadline).map_err(|error| unavailable(error.to_string()))?;
    let mut conversation = Conversation {
        channel,
        wire,
        failure: None,
    };
    let answer = conversation.run(order);
    // What went wrong on the connection is known here, in better words than a reader has.
    match (conversation.failure, answer) {
        (_, Ok(Ok(report))) => Ok(report),
        (Some(failure), _) => Err(failure.into()),
        (None, Ok(Err(Failure::Memory))) => Err(explain(order, &room.memory_error())),
        (None, Ok(Err(failure))) => Err(failure),
        (None, Err(_)) if deadline.passed() => Err(GitError::timed_out(&order.shown, deadline.limit()).into()),
        (None, Err(error)) => match error.kind() {
            io::ErrorKind::InvalidData => Err(unavailable(
                "the process that reads it says what no reader says".to_owned(),
            )),
            _ => Err(explain(order, &reader.end())),
        },
    }
}

struct Conversation<'a> {
    channel: Channel<'a>,
    wire: Option<Wire>,
    /// What went wrong on the wire first.
    failure: Option<GitError>,
}

impl Conversation<'_> {
    /// # Errors
    /// The reader ended, or the time did, before there was an answer.
    fn run(&mut self, order: &Order) -> io::Result<Result<Report, Failure>> {
        Reply::Order(serde_json::to_vec(order)?).send(&mut self.channel)?;
        loop {
            let reply = match Request::receive(&mut self.channel)? {
                Request::Answer(text) => return Ok(serde_json::from_slice(&text)?),
                request => self.reply(request, order),
            };
            reply.send(&mut self.channel)?;
        }
    }

    fn reply(&mut self, request: Request, order: &Order) -> Reply {
        if self.failure.is_some() {
            return Reply::Failed;
        }
        let served = match &mut self.wire {
            Some(wire) => serve(wire, request),
            None => Err(GitError::unavailable(
                &order.shown,
                "the process that reads it asked for a connection",
            )),
        };
        served.unwrap_or_else(|failure| {
            self.failure = Some(failure);
            Reply::Failed
        })
    }
}

fn serve(wire: &mut Wire, request: Request) -> Result<Reply, GitError> {
    match request {
        Request::List => wire.list()?,
        Request::Exchange => wire.exchange()?,
        Request::Write(bytes) => wire.write(&bytes)?,
        Request::Read(wanted) => {
            let mut bytes = vec![0; wanted.min(PIECE)];
            let count = wire.read(&mut bytes)?;
            bytes.truncate(count);
            return Ok(Reply::Data(bytes));
        }
        // Ends the conversation before.
        Request::Answer(_) => {}
    }
    Ok(Reply::Done)
}

/// What it means that a reader could not do it. What a repository brought about is not kept: each fetch would begin with it.
fn explain(order: &Order, error: &ConfineError) -> Failure {
    let remedy = match error {
        ConfineError::Memory(_) => "; files that large do not belong into a repository",
        ConfineError::Processor(_) => "; `git gc` at its server may help",
        ConfineError::Killed {
            signal: libc::SIGBUS, ..
        } => "; a full disk does that",
        ConfineError::Killed { .. } if !error.is_by_input() => {
            "; the kernel does that when the machine has no memory left: give it more, or check out less at a time"
        }
        _ => "",
    };
    let why = format!("{error}{remedy}");
    match error.is_by_input() {
        true => Failure::Costly(GitError::bad(format!("cannot check out {}", order.shown), why)),
        false => Failure::Git(GitError::unavailable(&order.shown, why)),
    }
}

/// The host's end of the socket, which keeps a deadline.
struct Channel<'a> {
    socket: &'a UnixStream,
    deadline: &'a Deadline,
}

impl<'a> Channel<'a> {
    fn new(socket: &'a UnixStream, deadline: &'a Deadline) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, deadline })
    }
}

impl Read for Channel<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.read(self.socket.as_fd(), buffer)
    }
}

impl Write for Channel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.deadline.write(self.socket.as_fd(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
