//! Cutting the byte stream into packets.

use std::sync::Arc;

use bytes::{Buf, BytesMut};

/// One packet: the first byte of its fixed header and everything after the remaining length.
#[derive(Debug)]
pub struct Frame {
    /// Packet type and flags.
    pub header: u8,
    /// Variable header and payload.
    pub body: Arc<[u8]>,
}

/// Why the stream cannot be cut any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The remaining length runs over four bytes.
    #[error("malformed remaining length")]
    BadLength,
    /// The packet is announced larger than allowed.
    #[error("packet of {announced} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Size that the fixed header announces.
        announced: usize,
        /// Size that is allowed.
        limit: usize,
    },
}

/// Takes the next whole packet off `buffer`, or says how it is broken. The announced size is checked before any
/// of the body is waited for, so a giant remaining length costs nothing.
pub fn next_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let mut length = 0_usize;
    let mut used = 1;
    loop {
        let Some(&byte) = buffer.get(used) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7f) << (7 * (used - 1));
        used += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if used > 4 {
            return Err(FrameError::BadLength);
        }
    }
    let announced = used + length;
    if announced > limit {
        return Err(FrameError::TooLarge { announced, limit });
    }
    let (Some(&header), Some(body)) = (buffer.first(), buffer.get(used..announced)) else {
        buffer.reserve(announced - buffer.len());
        return Ok(None);
    };
    let frame = Frame {
        header,
        body: Arc::from(body),
    };
    buffer.advance(announced);
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn giant_remaining_length_is_refused_before_its_body_arrives() {
        let mut buffer = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0x7f][..]);
        assert_eq!(
            next_frame(&mut buffer, 1000).unwrap_err(),
            FrameError::TooLarge {
                announced: 268_435_460,
                limit: 1000
            }
        );
    }

    #[test]
    fn five_byte_remaining_length_is_malformed() {
        let mut buffer = BytesMut::from(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x01][..]);
        assert_eq!(next_frame(&mut buffer, 1000).unwrap_err(), FrameError::BadLength);
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5), cut in 1_usize..40) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.push(0x30);
                let mut rest = body.len();
                loop {
                    let low = (rest % 128) as u8;
                    rest /= 128;
                    stream.push(if rest > 0 { low | 0x80 } else { low });
                    if rest == 0 { break; }
                }
                stream.extend_from_slice(body);
            }
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for chunk in stream.chunks(cut) {
                buffer.extend_from_slice(chunk);
                while let Some(frame) = next_frame(&mut buffer, 1000).unwrap() {
                    seen.push(frame.body.to_vec());
                }
            }
            prop_assert_eq!(seen, bodies);
        }
    }
}
