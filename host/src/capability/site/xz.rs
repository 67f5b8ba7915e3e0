//! An xz file that is put together from pieces: one stream with one block for each.
//!
//! The obvious way, a stream for each piece, is legal as well, but apt reads only the first. Blocks are compressed each by
//! itself too; what a stream has beside them is a header that is always the same, and at its end an index of the blocks'
//! sizes (<https://tukaani.org/xz/xz-file-format.txt>). liblzma compresses, and this takes the block out of what it gives.

use std::io::{self, Read};

use flate2::Crc;
use liblzma::read::XzEncoder;
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};

/// What a file begins with: its magic bytes, that blocks are checked by CRC64, and the CRC32 of that.
pub(super) const HEAD: [u8; 12] = [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4, 0xe6, 0xd6, 0xb4, 0x46];

/// What says so at the end again.
const FLAGS: [u8; 2] = [0, 4];

/// Size of the footer: CRC32, size of the index, flags, and magic bytes.
const FOOTER: usize = 12;

/// A piece is seldom larger; with the 8 MiB of the preset, memory costs more time than compression.
const DICTIONARY: u32 = 512 * 1024;

/// A block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Its bytes, filled up to a multiple of four; none of an empty text.
    pub(super) bytes: Vec<u8>,
    /// Its size without what fills it up, as the index has it.
    pub(super) size: u64,
}

/// Compress a piece.
pub(super) fn block(text: &[u8]) -> io::Result<Block> {
    let mut options = LzmaOptions::new_preset(6)?;
    options.dict_size(DICTIONARY);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let encoder = Stream::new_stream_encoder(&filters, Check::Crc64)?;
    let mut bytes = Vec::with_capacity(text.len() / 4);
    XzEncoder::new_stream(text, encoder).read_to_end(&mut bytes)?;
    take_block(bytes).ok_or_else(|| io::Error::other("liblzma made no xz stream of one block"))
}

/// The block of a stream that has one, or none.
fn take_block(mut bytes: Vec<u8>) -> Option<Block> {
    let footer = bytes.len().checked_sub(FOOTER)?;
    let backward: [u8; 4] = bytes.get(footer + 4..footer + 8)?.try_into().ok()?;
    let index = footer.checked_sub((u32::from_le_bytes(backward) as usize + 1) * 4)?;
    let mut records = bytes.get(index + 1..footer)?;
    let size = match number(&mut records)? {
        0 => 0,
        1 => number(&mut records)?,
        _ => return None,
    };
    bytes.truncate(index);
    let block = bytes.split_off(HEAD.len().min(index));
    (bytes == HEAD && block.len() as u64 == extent(size)).then_some(Block { bytes: block, size })
}

/// What a block of a size takes in the file.
pub(super) fn extent(size: u64) -> u64 {
    size.next_multiple_of(4)
}

/// What a file ends with, by the sizes of its blocks: of each text, and of what it is compressed to.
pub(super) fn tail(blocks: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    // An empty text has no block.
    let blocks: Vec<_> = blocks.filter(|(_, packed)| *packed > 0).collect();
    let mut tail = vec![0];
    push_number(&mut tail, blocks.len() as u64);
    for (text, packed) in blocks {
        push_number(&mut tail, packed);
        push_number(&mut tail, text);
    }
    tail.resize(tail.len().next_multiple_of(4), 0);
    let crc = crc32(&tail);
    tail.extend(crc);
    // In units of four bytes, of which there is one more. 16 GiB of index are never reached.
    let backward = u32::try_from(tail.len() / 4 - 1).unwrap_or(u32::MAX).to_le_bytes();
    let footer = [&backward[..], &FLAGS].concat();
    tail.extend(crc32(&footer));
    tail.extend(footer);
    tail.extend(b"YZ");
    tail
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

/// A number as the format has it: seven bits in a byte, the lowest first; all but the last have the eighth set.
fn push_number(to: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_are_written(value in 0u64..1 << 62) {
            let mut bytes = Vec::new();
            push_number(&mut bytes, value);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(number(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }

    proptest! {
        // Each block costs an encoder of some MiB. What can go wrong is in the sizes: of one byte or two in the index,
        // of blocks to fill up by none to three bytes, of an index of one byte or two for its number of blocks.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn blocks_one_after_the_other_are_one_stream(
            texts in prop_oneof![
                5 => prop::collection::vec(prop::collection::vec(prop::num::u8::ANY, 0..3000), 0..20),
                1 => prop::collection::vec(prop::collection::vec(prop::num::u8::ANY, 0..10), 125..132),
            ],
        ) {
            let blocks: Vec<_> = texts.iter().map(|text| block(text).unwrap()).collect();
            let mut file = HEAD.to_vec();
            file.extend(blocks.iter().flat_map(|block| &block.bytes));
            file.extend(tail(texts.iter().zip(&blocks).map(|(text, block)| (text.len() as u64, block.size))));
            // A decoder of a single stream, as apt has it: it fails at what is behind the first.
            let stream = Stream::new_stream_decoder(u64::MAX, 0).unwrap();
            let mut decoder = liblzma::bufread::XzDecoder::new_stream(file.as_slice(), stream);
            let mut text = Vec::new();
            decoder.read_to_end(&mut text).unwrap();
            prop_assert!(text == texts.concat());
            prop_assert_eq!(decoder.total_in(), file.len() as u64);
        }
    }
}
