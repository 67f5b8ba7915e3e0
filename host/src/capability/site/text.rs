//! Texts in pieces: large texts of which little changes at a time, such as the index of an archive.
//!
//! A text is published compressed. Each piece is compressed by itself, and the files are the compressed pieces one after
//! the other: multi-member gzip and multi-frame zstd, which is what `cat` would make of them too, and if wanted one stream
//! of xz with several blocks. So a change compresses only the pieces that it touches, copies the others, and hashes only
//! from the first change on.
//!
//! Where pieces begin is in a table among the host's records. It can be lost: it only says how the published files came to
//! be, and whoever finds none writes the text anew.

use cap_std::fs::{Dir, MetadataExt};
use serde::{Deserialize, Serialize};

use super::format::{Format, formats_of};
use super::running::{Running, Running512};
use super::{Digest, SiteError};

/// Where the tables are.
pub(super) const TEXTS: &str = ".foundry/texts";

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
    /// The SHA-512 of each stream, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha512: Option<Vec<String>>,
    /// What the files looked like, in the order of their formats.
    pub(super) stamps: Vec<Stamp>,
}

/// A piece in a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) label: String,
    /// Its bytes in each stream: the text, and each format as [`Format::pack`] tells it.
    pub(super) sizes: Vec<u64>,
    /// Digests of each stream up to here, at some rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mark: Option<Vec<Running>>,
    /// The same for SHA-512, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mark512: Option<Vec<Running512>>,
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
    /// As it is written down: the digest of the rest in a line, so that one that was damaged counts as lost; and the rest.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = Digest::of(&json).sha256.into_bytes();
        bytes.push(b'\n');
        bytes.extend(json);
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let line = bytes.iter().position(|byte| *byte == b'\n')?;
        let (digest, json) = bytes.split_at_checked(line)?;
        let json = json.get(1..)?;
        let whole = Digest::of(json).sha256.as_bytes() == digest;
        whole.then(|| serde_json::from_slice(json).ok()).flatten()
    }

    /// The table of a text, if its files are still those that it describes.
    pub(super) fn read(root: &Dir, path: &str, files: &[String]) -> Option<Self> {
        let table = Self::parse(&root.read(path).ok()?)?;
        let formats = formats_of(table.stamps.len())?;
        let streams = 1 + formats.len();
        let complete = |row: &Row| {
            row.sizes.len() == streams
                && row.mark.as_ref().is_none_or(|mark| mark.len() == streams)
                && row.mark512.as_ref().is_none_or(|mark| mark.len() == streams)
        };
        let sound = table.rows.iter().all(complete)
            && table.column(0).sum::<u64>() == table.text.size
            && files.len() >= formats.len()
            && (formats.iter().zip(files).zip(&table.stamps).enumerate()).all(|(number, ((format, file), stamp))| {
                let tail = format.tail(table.column(0).zip(table.column(number + 1))).len() as u64;
                table.offset(number + 1, *format, table.rows.len()) + tail == stamp.size
                    && Stamp::of(root, file).is_ok_and(|now| now == *stamp)
            });
        sound.then_some(table)
    }

    /// How the text is published.
    pub(super) fn formats(&self) -> &'static [Format] {
        formats_of(self.stamps.len()).unwrap_or_default()
    }

    /// The sizes of all pieces in a stream.
    pub(super) fn column(&self, stream: usize) -> impl Iterator<Item = u64> {
        self.rows.iter().filter_map(move |row| row.sizes.get(stream).copied())
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

    /// Where a piece begins in the file of a format, which is a stream.
    pub(super) fn offset(&self, stream: usize, format: Format, row: usize) -> u64 {
        let before: u64 = self.column(stream).take(row).map(|size| format.extent(size)).sum();
        format.head().len() as u64 + before
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
