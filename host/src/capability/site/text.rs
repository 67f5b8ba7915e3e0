//! Texts in pieces: large texts of which little changes at a time, such as the index of an archive.
//!
//! A text is published compressed. Each piece is compressed by itself, and the files are the compressed pieces one after
//! the other: multi-member gzip and multi-frame zstd, which is what `cat` would make of them too. So a change compresses
//! only the pieces that it touches, copies the others, and hashes only from the first change on.
//!
//! Where pieces begin is in a table among the host's records. It can be lost: it only says how the published files came to
//! be, and whoever finds none writes the text anew.

use cap_std::fs::{Dir, MetadataExt};
use serde::{Deserialize, Serialize};

use super::running::Running;
use super::{Compression, SiteError};

/// Where the tables are.
pub(super) const TEXTS: &str = ".foundry/texts";

/// How texts are published. Every client of today reads one of them; xz can't be joined in a way that apt reads.
pub(super) const PACKED: [(&str, Compression); 2] = [(".gz", Compression::Gzip), (".zst", Compression::Zstd)];

/// Of those, the one that unpacks fastest.
pub(super) const FASTEST: usize = 1;

/// Streams of a text: itself, and each of its compressed files.
pub(super) const STREAMS: usize = 1 + PACKED.len();

/// Bytes of text between two places where hashing can go on.
pub(super) const MARK_EVERY: u64 = 1024 * 1024;

/// A file's size and SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What its writer knows it by.
    pub label: String,
    /// Bytes of its text.
    pub size: u64,
}

/// A text as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The whole text.
    pub checksum: Checksum,
    /// Its pieces, in their order.
    pub pieces: Vec<Piece>,
}

/// A piece that is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPiece {
    /// What its writer knows it by.
    pub label: String,
    /// Its text.
    pub text: Vec<u8>,
}

/// New pieces in the place of old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The first piece that goes away, or before which the new ones go.
    pub first: usize,
    /// How many go away.
    pub count: usize,
    /// What comes instead.
    pub pieces: Vec<NewPiece>,
}

/// What a splice made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spliced {
    /// The whole text, which isn't published itself.
    pub text: Checksum,
    /// Its files, by what is appended to the text's path.
    pub files: Vec<(&'static str, Checksum)>,
}

/// How the files of a text came to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) text: Checksum,
    pub(super) rows: Vec<Row>,
    /// What the files looked like, in the order of [`PACKED`].
    pub(super) stamps: Vec<Stamp>,
}

/// A piece in a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) label: String,
    /// Its bytes in each stream.
    pub(super) sizes: [u64; STREAMS],
    /// Digests of each stream up to here, at some rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mark: Option<Box<[Running; STREAMS]>>,
}

/// By what a file is recognised without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

impl Stamp {
    pub(super) fn of(root: &Dir, path: &str) -> std::io::Result<Self> {
        let metadata = root.metadata(path)?;
        Ok(Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
        })
    }
}

impl Table {
    /// The table of a text, if its files are still those that it describes.
    pub(super) fn read(root: &Dir, path: &str, files: &[String]) -> Option<Self> {
        let table: Self = serde_json::from_slice(&root.read(path).ok()?).ok()?;
        let sizes = |stream: usize| table.rows.iter().filter_map(|row| row.sizes.get(stream)).sum::<u64>();
        let sound = table.stamps.len() == PACKED.len()
            && sizes(0) == table.text.size
            && (files.iter().zip(&table.stamps).enumerate()).all(|(number, (file, stamp))| {
                sizes(number + 1) == stamp.size && Stamp::of(root, file).is_ok_and(|now| now == *stamp)
            });
        sound.then_some(table)
    }

    /// What a bot sees of it.
    pub(super) fn text(&self) -> Text {
        let piece = |row: &Row| Piece {
            label: row.label.clone(),
            size: row.sizes.first().copied().unwrap_or_default(),
        };
        Text {
            checksum: self.text.clone(),
            pieces: self.rows.iter().map(piece).collect(),
        }
    }

    /// Where a piece begins in a stream.
    pub(super) fn offset(&self, stream: usize, row: usize) -> u64 {
        let before = self.rows.iter().take(row);
        before.filter_map(|row| row.sizes.get(stream)).sum()
    }
}

/// The pieces that a text has after changes: old ones by their number, and new ones.
#[derive(Debug)]
pub(super) enum Segment<'a> {
    Old(usize),
    New(&'a NewPiece),
}

/// Carry out changes on a list of so many pieces.
pub(super) fn segments(old: usize, changes: &[Splice]) -> Result<Vec<Segment<'_>>, SiteError> {
    let mut segments = Vec::new();
    let mut next = 0;
    for change in changes {
        let end = change.first.checked_add(change.count).filter(|end| *end <= old);
        let (Some(end), true) = (end, change.first >= next) else {
            return Err(SiteError::BadSplice);
        };
        segments.extend((next..change.first).map(Segment::Old));
        segments.extend(change.pieces.iter().map(Segment::New));
        next = end;
    }
    segments.extend((next..old).map(Segment::Old));
    Ok(segments)
}
