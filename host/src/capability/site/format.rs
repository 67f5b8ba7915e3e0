//! The ways in which a text in pieces is published, and what a file has of each beside its compressed pieces.

use std::io;

use super::{Compression, compress, xz};

/// One of the ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    /// What is appended to the text's path.
    pub(super) suffix: &'static str,
    how: Compression,
}

/// All of them. Every text is published in the first two, of which every client of today reads one.
const FORMATS: [Format; 3] = [
    Format {
        suffix: ".gz",
        how: Compression::Gzip,
    },
    Format {
        suffix: ".zst",
        how: Compression::Zstd,
    },
    Format {
        suffix: ".xz",
        how: Compression::Xz,
    },
];

/// Of those, the one that unpacks fastest.
pub(super) const FASTEST: usize = 1;

/// How a text is published beside the usual ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// Compressed with xz as well.
    pub xz: bool,
}

/// The formats of a text with such extras.
pub(super) fn formats(extras: Extras) -> &'static [Format] {
    let [usual @ .., _] = &FORMATS;
    if extras.xz { &FORMATS } else { usual }
}

/// All formats that a text may have.
pub(super) fn all_formats() -> &'static [Format] {
    &FORMATS
}

/// The formats of a text with so many files; none if no text has.
pub(super) fn formats_of(files: usize) -> Option<&'static [Format]> {
    [false, true]
        .map(|xz| formats(Extras { xz }))
        .into_iter()
        .find(|formats| formats.len() == files)
}

/// A compressed piece.
#[derive(Debug)]
pub(super) struct Packed {
    /// What is written.
    pub(super) bytes: Vec<u8>,
    /// The size that the table has.
    pub(super) size: u64,
}

impl Format {
    /// Compress a piece.
    pub(super) fn pack(self, text: &[u8]) -> io::Result<Packed> {
        match self.how {
            Compression::Xz => xz::block(text).map(|xz::Block { bytes, size }| Packed { bytes, size }),
            how => compress(how, text).map(|bytes| Packed {
                size: bytes.len() as u64,
                bytes,
            }),
        }
    }

    /// The bytes in the file of a piece that has a size in the table.
    pub(super) fn extent(self, size: u64) -> u64 {
        match self.how {
            Compression::Xz => xz::extent(size),
            _ => size,
        }
    }

    /// What is before the pieces.
    pub(super) fn head(self) -> &'static [u8] {
        match self.how {
            Compression::Xz => &xz::HEAD,
            _ => &[],
        }
    }

    /// What is behind the pieces, by the size of each one's text, and that in the table.
    pub(super) fn tail(self, pieces: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
        match self.how {
            Compression::Xz => xz::tail(pieces),
            _ => Vec::new(),
        }
    }
}
