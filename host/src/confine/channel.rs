//! Messages between a host and its helper: a length of four bytes, most significant first, and as many bytes; most are JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why a message was not sent or received.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The other end is gone, or has nothing more to say.
    #[error("the other end closed the conversation")]
    Closed,
    /// The message is longer than either end takes.
    #[error("the message is longer than {limit} bytes")]
    TooLong {
        /// The most, in bytes.
        limit: u32,
    },
    /// The message does not say what was expected, or can't be written down.
    #[error("the message makes no sense: {0}")]
    Garbled(#[source] serde_json::Error),
    /// The operating system refused.
    #[error("the conversation broke off: {0}")]
    Io(#[source] io::Error),
}

/// One end of a conversation.
#[derive(Debug)]
pub(super) struct Channel<S> {
    stream: S,
    /// The longest message, in bytes.
    limit: u32,
}

impl<S> Channel<S> {
    pub fn new(stream: S, limit: u32) -> Self {
        Self { stream, limit }
    }

    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: Read + Write> Channel<S> {
    pub fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), ChannelError> {
        let bytes = serde_json::to_vec(message).map_err(ChannelError::Garbled)?;
        self.send_bytes(&bytes)
    }

    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        let bytes = self.receive_bytes()?;
        serde_json::from_slice(&bytes).map_err(ChannelError::Garbled)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ChannelError> {
        let too_long = ChannelError::TooLong { limit: self.limit };
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= self.limit);
        let header = length.ok_or(too_long)?.to_be_bytes();
        self.stream.write_all(&header).map_err(broken)?;
        self.stream.write_all(bytes).map_err(broken)
    }

    pub fn receive_bytes(&mut self) -> Result<Vec<u8>, ChannelError> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).map_err(broken)?;
        let length = u32::from_be_bytes(header);
        if length > self.limit {
            return Err(ChannelError::TooLong { limit: self.limit });
        }
        // Memory is taken as the bytes come, not as they are promised.
        let mut bytes = Vec::new();
        let read = Read::by_ref(&mut self.stream)
            .take(length.into())
            .read_to_end(&mut bytes);
        match read.map_err(broken)? as u64 {
            all if all == u64::from(length) => Ok(bytes),
            _ => Err(ChannelError::Closed),
        }
    }
}

fn broken(error: io::Error) -> ChannelError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            ChannelError::Closed
        }
        _ => ChannelError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn received(bytes: &[u8]) -> Result<Vec<u8>, ChannelError> {
        Channel::new(Cursor::new(bytes.to_vec()), 100).receive_bytes()
    }

    #[test]
    fn what_is_sent_is_received() {
        let mut channel = Channel::new(Cursor::new(Vec::new()), 100);
        channel.send(&("a", 1)).unwrap();
        channel.send_bytes(b"").unwrap();
        channel.stream().set_position(0);
        assert_eq!(channel.receive::<(String, u8)>().unwrap(), ("a".to_owned(), 1));
        assert_eq!(channel.receive_bytes().unwrap(), b"");
        assert!(matches!(channel.receive_bytes(), Err(ChannelError::Closed)));
    }

    #[test]
    fn a_long_message_is_refused_by_its_length() {
        assert!(matches!(
            received(&[0, 0, 0, 101]),
            Err(ChannelError::TooLong { limit: 100 })
        ));
        assert!(matches!(received(&[0xff; 8]), Err(ChannelError::TooLong { .. })));
        let mut channel = Channel::new(Cursor::new(Vec::new()), 100);
        assert!(matches!(
            channel.send_bytes(&[0; 101]),
            Err(ChannelError::TooLong { .. })
        ));
        assert_eq!(channel.stream().get_ref().len(), 0);
    }

    #[test]
    fn a_message_that_is_cut_off_is_the_end() {
        for bytes in [&[][..], &[0, 0], &[0, 0, 0, 5, 1, 2]] {
            assert!(matches!(received(bytes), Err(ChannelError::Closed)), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_json_is_garbled() {
        let mut channel = Channel::new(Cursor::new(vec![0, 0, 0, 1, b'{']), 100);
        assert!(matches!(channel.receive::<u8>(), Err(ChannelError::Garbled(_))));
    }
}
