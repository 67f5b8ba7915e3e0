//! Writing a text's files: unchanged pieces are copied, others compressed, and all is hashed from the first change on.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::running::Running;
use super::text::{Checksum, FASTEST, MARK_EVERY, NewPiece, PACKED, Row, STREAMS, Segment, Table};
use super::{Compression, compress, threads};

/// From so many new pieces on they are compressed before all else, on all cores: one format takes longer than another.
const MANY: usize = 8;

/// Where a splice reads and writes.
pub(super) struct Files {
    /// The old table, with the old files in the order of [`PACKED`].
    pub(super) old: Option<(Arc<Table>, Vec<File>)>,
    /// The old file that unpacks fastest once more: each thread needs a position of its own.
    pub(super) plain: Option<File>,
    /// The new files, in that order.
    pub(super) new: Vec<File>,
}

/// What one stream came to.
struct Stream {
    checksum: Checksum,
    /// Of the rows from the first change on.
    sizes: Vec<u64>,
    marks: Vec<Option<Running>>,
}

/// Where all streams begin to differ from the old ones, at the latest.
struct Start {
    /// The row.
    row: usize,
    /// The digests before it.
    mark: [Running; STREAMS],
}

/// Write the files. Returns the table's rows, and what the streams are.
pub(super) fn splice(files: Files, segments: &[Segment<'_>]) -> io::Result<(Vec<Row>, Vec<Checksum>)> {
    let Files { old, plain, new } = files;
    let (table, old_files) = match &old {
        Some((table, files)) => (Some(table.as_ref()), files.as_slice()),
        None => (None, &[][..]),
    };
    let start = start(table, segments);
    let marks = marks(table, segments, &start);
    let packed = pack(segments)?;
    let work = Work {
        table,
        packed: &packed,
        segments: segments.get(start.row..).unwrap_or_default(),
        start: &start,
        marks: &marks,
    };
    let streams = std::thread::scope(|scope| {
        let packed: Vec<_> = PACKED
            .iter()
            .enumerate()
            .zip(new)
            .map(|((number, (_, how)), new)| {
                let (work, old) = (&work, old_files.get(number));
                scope.spawn(move || work.packed(number + 1, *how, old, new))
            })
            .collect();
        let mut streams = vec![work.plain(plain.as_ref())];
        for thread in packed {
            let stream = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a compressor failed")));
            streams.push(stream);
        }
        streams.into_iter().collect::<io::Result<Vec<_>>>()
    })?;
    let kept = table
        .map(|table| table.rows.iter().take(start.row))
        .into_iter()
        .flatten();
    let mut rows: Vec<Row> = kept.cloned().collect();
    for (number, segment) in work.segments.iter().enumerate() {
        let sizes: Vec<u64> = streams
            .iter()
            .filter_map(|stream| stream.sizes.get(number).copied())
            .collect();
        let marks = streams.iter().map(|stream| stream.marks.get(number).cloned().flatten());
        let marks: Option<Vec<Running>> = marks.collect();
        rows.push(Row {
            label: work.label(segment),
            sizes: sizes.try_into().map_err(|_| io::Error::other("a stream is short"))?,
            mark: marks
                .and_then(|marks| <[Running; STREAMS]>::try_from(marks).ok())
                .map(Box::new),
        });
    }
    Ok((rows, streams.into_iter().map(|stream| stream.checksum).collect()))
}

/// Compress the new pieces, if they are many.
fn pack(segments: &[Segment<'_>]) -> io::Result<Vec<Vec<u8>>> {
    let new = segments.iter().filter_map(|segment| match segment {
        Segment::New(piece) => Some(&piece.text),
        Segment::Old(_) => None,
    });
    let jobs: Vec<_> = new
        .flat_map(|text| PACKED.iter().map(move |(_, how)| (*how, text)))
        .collect();
    if jobs.len() < MANY * PACKED.len() {
        return Ok(Vec::new());
    }
    threads::map(&jobs, threads::cores(), |(how, text)| compress(*how, text))
}

/// The last marked row before the first change.
fn start(table: Option<&Table>, segments: &[Segment<'_>]) -> Start {
    let same = segments
        .iter()
        .enumerate()
        .take_while(|(number, segment)| matches!(segment, Segment::Old(old) if old == number))
        .count();
    let marked = table.into_iter().flat_map(|table| {
        let rows = table.rows.iter().enumerate().take(same + 1);
        rows.filter_map(|(row, it)| it.mark.as_ref().map(|mark| (row, mark)))
    });
    match marked.last() {
        Some((row, mark)) => Start {
            row,
            mark: (**mark).clone(),
        },
        None => Start {
            row: 0,
            mark: Default::default(),
        },
    }
}

/// Which of the rows from the start on get a mark.
fn marks(table: Option<&Table>, segments: &[Segment<'_>], start: &Start) -> Vec<bool> {
    // The start has one, if it isn't the beginning.
    let mut since = 0;
    let mut first = true;
    let rows = segments.iter().skip(start.row);
    rows.map(|segment| {
        let due = since >= MARK_EVERY || (first && start.row > 0);
        if due {
            since = 0;
        }
        first = false;
        since += match segment {
            Segment::New(piece) => piece.text.len() as u64,
            Segment::Old(row) => {
                let sizes = table.and_then(|table| table.rows.get(*row)).map(|row| row.sizes);
                sizes.and_then(|sizes| sizes.first().copied()).unwrap_or_default()
            }
        };
        due
    })
    .collect()
}

/// What all streams have in common.
struct Work<'a> {
    table: Option<&'a Table>,
    /// New pieces that are compressed already, in the order of [`PACKED`] for each; none if there are few.
    packed: &'a [Vec<u8>],
    /// From the start on.
    segments: &'a [Segment<'a>],
    start: &'a Start,
    marks: &'a [bool],
}

impl Work<'_> {
    fn row(&self, number: usize) -> io::Result<&Row> {
        let row = self.table.and_then(|table| table.rows.get(number));
        row.ok_or_else(|| io::Error::other("a piece is missing"))
    }

    fn label(&self, segment: &Segment<'_>) -> String {
        match segment {
            Segment::New(piece) => piece.label.clone(),
            Segment::Old(row) => self.row(*row).map(|row| row.label.clone()).unwrap_or_default(),
        }
    }

    /// The text itself, which is only hashed: from the file that unpacks fastest.
    fn plain(&self, old: Option<&File>) -> io::Result<Stream> {
        let mut old = Old::new(self.table, FASTEST + 1, old);
        let mut decompressor = zstd::bulk::Decompressor::new()?;
        self.stream(0, |segment, emit| match segment {
            Segment::New(piece) => emit(&piece.text),
            Segment::Old(row) => {
                let size = self.row(*row)?.sizes.first().copied().unwrap_or_default();
                let packed = old.read(*row)?;
                emit(&decompressor.decompress(packed, usize::try_from(size).map_err(io::Error::other)?)?)
            }
        })
    }

    /// A compressed file.
    fn packed(&self, stream: usize, how: Compression, old: Option<&File>, new: File) -> io::Result<Stream> {
        let mut new = BufWriter::with_capacity(256 * 1024, new);
        if let (Some(table), Some(mut file)) = (self.table, old) {
            file.seek(SeekFrom::Start(0))?;
            // Inside of the kernel, and without copying at all where the file system can share.
            io::copy(&mut file.take(table.offset(stream, self.start.row)), new.get_mut())?;
        }
        let mut old = Old::new(self.table, stream, old);
        let mut ready = self.packed.iter().skip(stream - 1).step_by(PACKED.len());
        let result = self.stream(stream, |segment, emit| match segment {
            Segment::New(NewPiece { text, .. }) => {
                let packed = match ready.next() {
                    Some(packed) => Cow::Borrowed(packed),
                    None => Cow::Owned(compress(how, text)?),
                };
                new.write_all(&packed)?;
                emit(&packed)
            }
            Segment::Old(row) => {
                let packed = old.read(*row)?;
                new.write_all(packed)?;
                emit(packed)
            }
        })?;
        new.flush()?;
        Ok(result)
    }

    /// Hash what `each` emits for each segment.
    fn stream(
        &self,
        stream: usize,
        mut each: impl FnMut(&Segment<'_>, &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<Stream> {
        let mut running = self.start.mark.get(stream).cloned().unwrap_or_default();
        let mut sizes = Vec::with_capacity(self.segments.len());
        let mut marks = Vec::with_capacity(self.segments.len());
        for (segment, due) in self.segments.iter().zip(self.marks) {
            marks.push(due.then(|| running.clone()));
            let before = running.length();
            each(segment, &mut |bytes| {
                running.update(bytes);
                Ok(())
            })?;
            sizes.push(running.length() - before);
        }
        Ok(Stream {
            checksum: Checksum {
                size: running.length(),
                sha256: running.finish(),
            },
            sizes,
            marks,
        })
    }
}

/// An old file, read piece by piece: mostly one after the other.
struct Old<'a> {
    table: Option<&'a Table>,
    stream: usize,
    file: Option<BufReader<&'a File>>,
    /// Where each piece begins.
    offsets: Vec<u64>,
    position: u64,
    buffer: Vec<u8>,
}

impl<'a> Old<'a> {
    fn new(table: Option<&'a Table>, stream: usize, file: Option<&'a File>) -> Self {
        let mut end = 0;
        let rows = table.into_iter().flat_map(|table| &table.rows);
        let offsets = rows.map(|row| {
            let begin = end;
            end += row.sizes.get(stream).copied().unwrap_or_default();
            begin
        });
        let offsets = offsets.collect();
        let file = file.map(|file| BufReader::with_capacity(256 * 1024, file));
        Self {
            table,
            stream,
            file,
            offsets,
            position: u64::MAX,
            buffer: Vec::new(),
        }
    }

    fn read(&mut self, row: usize) -> io::Result<&[u8]> {
        let missing = || io::Error::other("a piece is missing");
        let size = self
            .table
            .and_then(|table| table.rows.get(row))
            .and_then(|row| row.sizes.get(self.stream));
        let size = usize::try_from(*size.ok_or_else(missing)?).map_err(io::Error::other)?;
        let offset = *self.offsets.get(row).ok_or_else(missing)?;
        let file = self.file.as_mut().ok_or_else(missing)?;
        if self.position != offset {
            file.seek(SeekFrom::Start(offset))?;
        }
        self.buffer.resize(size, 0);
        file.read_exact(&mut self.buffer)?;
        self.position = offset + size as u64;
        Ok(&self.buffer)
    }
}

/// The text of a piece, from the file that unpacks fastest.
pub(super) fn read_piece(table: &Table, file: &File, number: usize) -> io::Result<Vec<u8>> {
    let size = table
        .rows
        .get(number)
        .and_then(|row| row.sizes.first().copied())
        .unwrap_or_default();
    let mut old = Old::new(Some(table), FASTEST + 1, Some(file));
    zstd::bulk::decompress(old.read(number)?, usize::try_from(size).map_err(io::Error::other)?)
}
