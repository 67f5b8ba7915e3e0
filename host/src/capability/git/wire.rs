//! The one connection of a fetch. It is the host's: here addresses are checked, logins found, redirects compared with grants, and bytes
//! counted. The reader that the bytes are for says only what to do next.

use std::io::{self, Read, Write};

use super::advertisement::Budget;
use super::duplex::Duplex;
use super::error::GitError;
use super::http::HttpSession;
use super::location::Location;
use super::reader::protocol::Origin;

/// The longest request: what is wanted, and the commits that are there, some hundred bytes for each round of the negotiation.
const MAX_REQUEST: usize = 16 << 20;

/// Opens a two-way connection to `git-upload-pack`.
pub(super) type Connect = Box<dyn Fn() -> Result<Duplex, GitError> + Send + Sync>;

/// How a repository is reached.
pub(super) enum Wire {
    /// Requests and answers.
    Http(Box<Exchange>),
    /// One two-way connection: ssh, or git's own protocol.
    Pipe(Box<Pipe>),
}

impl Wire {
    pub(super) fn http(session: HttpSession, allowance: Allowance) -> Self {
        Self::Http(Box::new(Exchange {
            session,
            allowance,
            request: Vec::new(),
            answer: Answer::None,
        }))
    }

    pub(super) fn pipe(connect: Connect, allowance: Allowance) -> Self {
        Self::Pipe(Box::new(Pipe {
            connect,
            allowance,
            duplex: None,
            advertisement: Some(Budget::default()),
        }))
    }

    /// How a reader is to speak over it.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Http(_) => Origin::Http,
            Self::Pipe(_) => Origin::Pipe,
        }
    }

    /// Connect, and have the server list its refs.
    pub(super) fn list(&mut self) -> Result<(), GitError> {
        match self {
            Self::Http(exchange) => exchange.answer = Answer::List(exchange.session.advertisement()?),
            Self::Pipe(pipe) => {
                pipe.duplex = Some((pipe.connect)()?);
                pipe.advertisement = Some(Budget::default());
            }
        }
        Ok(())
    }

    /// Begin a request, whose bytes are written next.
    pub(super) fn exchange(&mut self) -> Result<(), GitError> {
        match self {
            Self::Http(exchange) => {
                exchange.request.clear();
                exchange.answer = Answer::None;
                Ok(())
            }
            Self::Pipe(pipe) => Err(pipe.allowance.strange("a request on a connection that knows none")),
        }
    }

    /// Send bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), GitError> {
        match self {
            Self::Http(exchange) => exchange.write(bytes),
            Self::Pipe(pipe) => pipe.write(bytes),
        }
    }

    /// Receive bytes; 0 at the end of an answer.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, GitError> {
        match self {
            Self::Http(exchange) => exchange.read(buffer),
            Self::Pipe(pipe) => pipe.read(buffer),
        }
    }
}

/// How many bytes a fetch may still bring.
pub(super) struct Allowance {
    location: Location,
    most: u64,
    left: u64,
}

impl Allowance {
    pub(super) fn new(location: &Location, most: u64) -> Self {
        Self {
            location: location.clone(),
            most,
            left: most,
        }
    }

    fn spend(&mut self, count: usize) -> Result<(), GitError> {
        let left = u64::try_from(count).ok().and_then(|count| self.left.checked_sub(count));
        self.left = left.ok_or_else(|| {
            let why = format!("it sends more than the {} bytes that a fetch may bring", self.most);
            GitError::bad(self.location.to_string(), why)
        })?;
        Ok(())
    }

    /// What no reader asks for that is one.
    fn strange(&self, what: &str) -> GitError {
        GitError::unavailable(&self.location, format!("the process that reads it asked for {what}"))
    }
}

/// Requests over HTTP: each is written first, and sent when its answer is read.
pub(super) struct Exchange {
    session: HttpSession,
    allowance: Allowance,
    request: Vec<u8>,
    answer: Answer,
}

enum Answer {
    /// Not yet: the request is still being written.
    None,
    /// The list of refs, whose length the session bounds.
    List(Box<dyn Read + Send>),
    /// What was asked for.
    Pack(Box<dyn Read + Send>),
}

impl Exchange {
    fn write(&mut self, bytes: &[u8]) -> Result<(), GitError> {
        if self.request.len().saturating_add(bytes.len()) > MAX_REQUEST {
            return Err(self.allowance.strange("a request of more than 16 MiB"));
        }
        self.request.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, GitError> {
        if matches!(self.answer, Answer::None) {
            self.answer = Answer::Pack(self.session.upload_pack(&std::mem::take(&mut self.request))?);
        }
        let read = match &mut self.answer {
            Answer::None => Ok(0),
            Answer::List(answer) => answer.read(buffer),
            Answer::Pack(answer) => {
                let count = answer.read(buffer).map_err(|error| self.session.explain_io(&error))?;
                self.allowance.spend(count)?;
                Ok(count)
            }
        };
        read.map_err(|error: io::Error| self.session.explain_io(&error))
    }
}

/// A two-way connection.
pub(super) struct Pipe {
    connect: Connect,
    allowance: Allowance,
    duplex: Option<Duplex>,
    /// For the list of refs, which is over when something is asked for. libgit2 keeps all of it in memory.
    advertisement: Option<Budget>,
}

impl Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, GitError> {
        let Some(duplex) = &mut self.duplex else {
            return Err(self.allowance.strange("bytes before there was a connection"));
        };
        let read = match duplex.read(buffer) {
            // libgit2 only reads while it expects something.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => match &mut self.advertisement {
                Some(budget) => budget.spend(count).map(|()| count),
                None => return self.allowance.spend(count).map(|()| count),
            },
            Err(error) => Err(error),
        };
        read.map_err(|error| duplex.explain(&self.allowance.location, &error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), GitError> {
        self.advertisement = None;
        let Some(duplex) = &mut self.duplex else {
            return Err(self.allowance.strange("sending before there was a connection"));
        };
        let written = duplex.write_all(bytes);
        written.map_err(|error| duplex.explain(&self.allowance.location, &error))
    }
}
