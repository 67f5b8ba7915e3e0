//! The host's connection as a transport of libgit2, which speaks git over it and indexes the packs.
//!
//! libgit2 has HTTP and ssh of its own, but this process has no network. So it gets a URL that says nothing, and the host carries the
//! bytes.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};

use super::protocol::{Line, Origin, PIECE, Request};

thread_local! {
    /// The line of the fetch that runs on this thread: libgit2 has no other way to hand it to a transport.
    static CURRENT: RefCell<Option<Arc<Line>>> = const { RefCell::new(None) };
}

/// Do `work` with libgit2 on this thread, with this line behind [`url`].
pub(super) fn over<T>(line: &Arc<Line>, work: impl FnOnce() -> T) -> T {
    let outer = CURRENT.replace(Some(Arc::clone(line)));
    let result = work();
    CURRENT.set(outer);
    result
}

/// The URL that makes libgit2 use a line.
pub(super) fn url(origin: &Origin) -> &'static str {
    match origin {
        Origin::Http => "foundry-http://repository",
        _ => "foundry-pipe://repository",
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
                    let line = current.ok_or_else(|| git2::Error::from_str("no line on this thread"))?;
                    Transport::smart(remote, rpc, Subtransport { line, rpc })
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

struct Subtransport {
    line: Arc<Line>,
    /// Whether each request has an answer, or all is one connection.
    rpc: bool,
}

impl SmartSubtransport for Subtransport {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let request = match action {
            Service::UploadPackLs => Request::List,
            Service::UploadPack if self.rpc => Request::Exchange,
            _ => return Err(git2::Error::from_str("only fetching is supported")),
        };
        let asked = self.line.ask(&request);
        asked.map_err(|_| git2::Error::from_str("cannot connect"))?;
        Ok(Box::new(Stream(Arc::clone(&self.line))))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

struct Stream(Arc<Line>);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.ask(&Request::Read(buffer.len().min(PIECE)))?;
        let place = buffer.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidData)?;
        place.copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        self.0.ask(&Request::Write(piece.to_vec()))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
