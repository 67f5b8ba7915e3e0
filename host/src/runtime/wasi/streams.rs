//! Standard output and standard error: lines of the bot's log.

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::super::journal::{Journal, Stream};

/// Bytes that a bot may write at a time: the host holds them in its own memory for that moment.
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
