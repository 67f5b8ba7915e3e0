//! Our connections as transports of libgit2, which then speaks git over them and indexes the packs.
//!
//! libgit2 has HTTP and ssh of its own, but with a timeout for each read only, with OpenSSL and libssh2, and without
//! the user's ssh configuration. So it gets a URL that says nothing, and ours carry the bytes.

use std::cell::RefCell;
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};

use super::advertisement::Budget;
use super::duplex::Duplex;
use super::error::GitError;
use super::http::HttpSession;
use super::location::Location;

/// Opens a two-way connection to `git-upload-pack`.
pub(super) type Connect = Box<dyn Fn() -> Result<Duplex, GitError> + Send + Sync>;

/// How a repository is reached.
pub(super) enum Wire {
    /// Requests and answers.
    Http(Box<HttpSession>),
    /// One two-way connection: ssh, or git's own protocol.
    Pipe(Location, Connect),
}

/// One fetch, for libgit2: a wire, and what went wrong on it.
pub(super) struct Conversation {
    wire: Wire,
    failure: Mutex<Option<GitError>>,
}

thread_local! {
    /// The conversation of the fetch that runs on this thread: libgit2 has no other way to hand it to a transport.
    static CURRENT: RefCell<Option<Arc<Conversation>>> = const { RefCell::new(None) };
}

impl Conversation {
    pub(super) fn new(wire: Wire) -> Arc<Self> {
        Arc::new(Self {
            wire,
            failure: Mutex::new(None),
        })
    }

    /// The URL that makes libgit2 use this.
    pub(super) fn url(&self) -> &'static str {
        match self.wire {
            Wire::Http(_) => "foundry-http://repository",
            Wire::Pipe(..) => "foundry-pipe://repository",
        }
    }

    /// Do `work` with libgit2 on this thread, with this conversation behind [`url`](Self::url).
    pub(super) fn run<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        let outer = CURRENT.replace(Some(Arc::clone(self)));
        let result = work();
        CURRENT.set(outer);
        result
    }

    /// What went wrong on the wire, in better words than libgit2's.
    pub(super) fn failure(&self) -> Option<GitError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, failure: GitError) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(failure);
    }

    /// Keep the failure, and tell libgit2 that there was one. The text must not have a NUL: it has nothing from outside.
    fn failed(&self, failure: GitError) -> io::Error {
        self.fail(failure);
        io::Error::other("the connection failed")
    }
}

/// Teach libgit2 our transports, once.
pub(super) fn register() -> Result<(), String> {
    static REGISTERED: OnceLock<Result<(), String>> = OnceLock::new();
    REGISTERED
        .get_or_init(|| {
            for (prefix, rpc) in [("foundry-http", true), ("foundry-pipe", false)] {
                let factory = move |remote: &git2::Remote<'_>| {
                    let current = CURRENT.with_borrow(Clone::clone);
                    let conversation =
                        current.ok_or_else(|| git2::Error::from_str("no conversation on this thread"))?;
                    Transport::smart(remote, rpc, Subtransport(conversation))
                };
                #[expect(
                    unsafe_code,
                    reason = "registration must not race with another: the OnceLock sees to that"
                )]
                unsafe { git2::transport::register(prefix, factory) }.map_err(|error| error.message().to_owned())?;
            }
            Ok(())
        })
        .clone()
}

struct Subtransport(Arc<Conversation>);

impl SmartSubtransport for Subtransport {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let conversation = Arc::clone(&self.0);
        let opened: Result<Box<dyn SmartSubtransportStream>, GitError> = match (&self.0.wire, action) {
            (Wire::Pipe(_, connect), Service::UploadPackLs) => connect().map(|duplex| {
                Box::new(Pipe {
                    conversation,
                    duplex,
                    advertisement: Some(Budget::default()),
                }) as Box<_>
            }),
            (Wire::Http(session), Service::UploadPackLs) => session.advertisement().map(|answer| {
                Box::new(Exchange {
                    conversation,
                    request: Vec::new(),
                    answer: Some(answer),
                }) as Box<_>
            }),
            (Wire::Http(_), Service::UploadPack) => Ok(Box::new(Exchange {
                conversation,
                request: Vec::new(),
                answer: None,
            })),
            _ => return Err(git2::Error::from_str("only fetching is supported")),
        };
        opened.map_err(|failure| {
            self.0.fail(failure);
            git2::Error::from_str("cannot connect")
        })
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// A request over HTTP: written first, sent when its answer is read.
struct Exchange {
    conversation: Arc<Conversation>,
    request: Vec<u8>,
    answer: Option<Box<dyn Read + Send>>,
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Wire::Http(session) = &self.conversation.wire else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        if self.answer.is_none() {
            let answer = session.upload_pack(&std::mem::take(&mut self.request));
            self.answer = Some(answer.map_err(|failure| self.conversation.failed(failure))?);
        }
        let answer = self.answer.get_or_insert_with(|| Box::new(Cursor::new([])));
        answer
            .read(buffer)
            .map_err(|error| self.conversation.failed(session.explain_io(&error)))
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A two-way connection.
struct Pipe {
    conversation: Arc<Conversation>,
    duplex: Duplex,
    /// For the list of refs, which is over when something is asked for. libgit2 keeps all of it in memory.
    advertisement: Option<Budget>,
}

impl Pipe {
    fn failed(&mut self, error: &io::Error) -> io::Error {
        match &self.conversation.wire {
            Wire::Pipe(location, _) => self.conversation.failed(self.duplex.explain(location, error)),
            Wire::Http(_) => io::ErrorKind::Unsupported.into(),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.duplex.read(buffer) {
            // libgit2 only reads while it expects something.
            Ok(0) => Err(self.failed(&io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                let within = self.advertisement.as_mut().map_or(Ok(()), |budget| budget.spend(count));
                within.map_err(|error| self.failed(&error))?;
                Ok(count)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.advertisement = None;
        self.duplex.write(bytes).map_err(|error| self.failed(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
