//! Standard output and standard error: lines of the bot's log.

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::super::journal::{Journal, Stream};
use super::Excess;

/// Bytes that a bot may write at a time: the host holds them, and a string for each of their lines, in its own memory for
/// that moment, and no limit of time ends what it does with them.
const AT_ONCE: usize = 64 * 1024;

/// One of the streams. Those that a component opens again write to the same log.
#[derive(Clone)]
pub(super) struct Standard {
    journal: Journal,
    stream: Stream,
}

impl Standard {
    pub(super) fn new(journal: &Journal, stream: Stream) -> Self {
        Self {
            journal: journal.clone(),
            stream,
        }
    }
}

impl IsTerminal for Standard {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Standard {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which isn't linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Standard {
    async fn ready(&mut self) {}
}

impl OutputStream for Standard {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // The contract of WASI: no more than `check-write` permitted. Of its functions `write` alone is not held to it by the
        // library.
        if bytes.len() > AT_ONCE {
            return Err(StreamError::Trap(
                Excess("wrote more at a time than the stream permitted").into(),
            ));
        }
        self.journal.print(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_stream_permits_ends_the_call() {
        let journal = Journal::kept();
        let mut stream = Standard::new(&journal, Stream::Err);
        let permitted = stream.check_write().unwrap();
        stream.write(vec![b'\n'; permitted].into()).unwrap();
        let refused = stream.write(vec![b'\n'; permitted + 1].into());
        assert!(matches!(refused, Err(StreamError::Trap(_))), "{refused:?}");
    }
}
