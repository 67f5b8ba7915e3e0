//! What was in an artifact when it was read whole, chunk by chunk, so that parts of it can be checked later.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Bytes of a chunk: what is read and hashed at least for one byte, and 32 bytes of memory for each.
const CHUNK: u64 = 64 * 1024;

/// The digests of an artifact's chunks. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Chunks {
    size: u64,
    digests: Arc<[[u8; 32]]>,
}

impl Chunks {
    /// Bytes of all of them.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.digests.len()
    }

    /// The chunks that a range has a part in.
    pub(super) fn around(&self, range: &Range<u64>) -> Range<u64> {
        let start = range.start / CHUNK * CHUNK;
        let end = range.end.div_ceil(CHUNK).saturating_mul(CHUNK);
        start..end.min(self.size)
    }

    /// Whether bytes from the beginning of a chunk on, to the end of one, are those that were read.
    pub(super) fn are(&self, start: u64, bytes: &[u8]) -> bool {
        let first = usize::try_from(start / CHUNK).unwrap_or(usize::MAX);
        let known = self.digests.get(first..).unwrap_or_default();
        let mut chunks = bytes.chunks(CHUNK as usize).zip(known);
        bytes.len().div_ceil(CHUNK as usize) <= known.len()
            && chunks.all(|(chunk, digest)| Sha256::digest(chunk).as_slice() == digest)
    }
}

/// What was seen of bytes that come one after the other: their digests, and one part of them.
pub(super) struct Seen {
    whole: Sha256,
    chunk: Sha256,
    chunks: Vec<[u8; 32]>,
    size: u64,
    range: Range<u64>,
    part: Vec<u8>,
}

impl Seen {
    /// Nothing yet. The part that is wanted is given by its place.
    pub(super) fn new(range: Range<u64>) -> Self {
        Self {
            whole: Sha256::new(),
            chunk: Sha256::new(),
            chunks: Vec::new(),
            size: 0,
            range,
            part: Vec::new(),
        }
    }

    /// The bytes that come next.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        let length = bytes.len() as u64;
        let inside = |place: u64| place.saturating_sub(self.size).min(length) as usize;
        let part = bytes.get(inside(self.range.start)..inside(self.range.end));
        self.part.extend_from_slice(part.unwrap_or_default());
        while !bytes.is_empty() {
            let room = (CHUNK - self.size % CHUNK) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.update(now);
            self.size += now.len() as u64;
            if self.size.is_multiple_of(CHUNK) {
                self.chunks.push(self.chunk.finalize_reset().into());
            }
            bytes = later;
        }
    }

    /// The digest in hex and the size of all of them, the part, and what the chunks were.
    pub(super) fn end(mut self) -> (String, u64, Vec<u8>, Chunks) {
        if !self.size.is_multiple_of(CHUNK) {
            self.chunks.push(self.chunk.finalize().into());
        }
        let chunks = Chunks {
            size: self.size,
            digests: self.chunks.into(),
        };
        (hex::encode(self.whole.finalize()), self.size, self.part, chunks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// However the bytes come in, and whatever part is asked for: the part is known, and no other bytes pass for it.
        #[test]
        fn parts_are_known_by_their_chunks(
            size in 0_u64..4 * CHUNK,
            pieces in prop::collection::vec(1_usize..100_000, 1..8),
            part in (0_u64..4 * CHUNK, 0_u64..4 * CHUNK),
            flipped in any::<prop::sample::Index>(),
        ) {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let (start, end) = (part.0.min(part.1).min(size), part.0.max(part.1).min(size));
            let mut seen = Seen::new(start..end);
            let (mut rest, mut sizes) = (bytes.as_slice(), pieces.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                seen.see(now);
                rest = later;
            }
            let (sha256, seen_size, seen_part, chunks) = seen.end();
            prop_assert_eq!(sha256, hex::encode(Sha256::digest(&bytes)));
            prop_assert_eq!(seen_size, size);
            prop_assert_eq!(&seen_part, &bytes[start as usize..end as usize]);
            let around = chunks.around(&(start..end));
            prop_assert!(around.start <= start && around.end >= end);
            let mut read = bytes[around.start as usize..around.end as usize].to_vec();
            prop_assert!(chunks.are(around.start, &read));
            if !read.is_empty() {
                let at = flipped.index(read.len());
                read[at] ^= 1;
                prop_assert!(!chunks.are(around.start, &read));
            }
        }
    }
}
