//! Writing a text's files: unchanged pieces are copied, others compressed, and all is hashed from the first change on.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::format::{FASTEST, Format, Packed};
use super::running::Running;
use super::text::{Checksum, MARK_EVERY, NewPiece, Row, Segment, Table};
use super::threads;

/// From so many new pieces on they are compressed before all else, on all cores: one format takes longer than another.
const MANY: usize = 8;

/// Where a splice reads and writes.
pub(super) struct Files {
    /// The formats, in the order of the files.
    pub(super) formats: &'static [Format],
    /// The old table, with the old files; of the same formats.
    pub(super) old: Option<(Arc<Table>, Vec<File>)>,
    /// The old file that unpacks fastest once more: each thread needs a position of its own.
    pub(super) plain: Option<File>,
    /// The new files.
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
    mark: Vec<Running>,
}

/// Write the files. Returns the table's rows, and what the streams are.
pub(super) fn splice(files: Files, segments: &[Segment<'_>]) -> io::Result<(Vec<Row>, Vec<Checksum>)> {
    let Files {
        formats,
        old,
        plain,
        new,
    } = files;
    let (table, old_files) = match &old {
        Some((table, files)) => (Some(table.as_ref()), files.as_slice()),
        None => (None, &[][..]),
    };
    let start = start(table, segments, 1 + formats.len());
    let marks = marks(table, segments, &start);
    let packed = pack(formats, segments)?;
    let work = Work {
        formats,
        table,
        packed: &packed,
        segments: segments.get(start.row..).unwrap_or_default(),
        start: &start,
        marks: &marks,
    };
    let streams = std::thread::scope(|scope| {
        let packed: Vec<_> = formats
            .iter()
            .enumerate()
            .zip(new)
            .map(|((number, format), new)| {
                let (work, old) = (&work, old_files.get(number));
                scope.spawn(move || work.packed(number + 1, *format, old, new))
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
    // What is before the start has not changed.
    let mut mark512 = table
        .and_then(|table| table.rows.get(start.row))
        .filter(|_| start.row > 0)
        .and_then(|row| row.mark512.clone());
    for (number, segment) in work.segments.iter().enumerate() {
        let sizes = streams.iter().map(|stream| stream.sizes.get(number).copied());
        let sizes: Option<Vec<u64>> = sizes.collect();
        let marks = streams.iter().map(|stream| stream.marks.get(number).cloned().flatten());
        rows.push(Row {
            label: work.label(segment),
            mark: marks.collect(),
            mark512: mark512.take(),
            sizes: sizes.ok_or_else(|| io::Error::other("a stream is short"))?,
        });
    }
    Ok((rows, streams.into_iter().map(|stream| stream.checksum).collect()))
}

/// Compress the new pieces, if they are many.
fn pack(formats: &[Format], segments: &[Segment<'_>]) -> io::Result<Vec<Packed>> {
    let new = segments.iter().filter_map(|segment| match segment {
        Segment::New(piece) => Some(&piece.text),
        Segment::Old(_) => None,
    });
    let jobs: Vec<_> = new
        .flat_map(|text| formats.iter().map(move |format| (*format, text)))
        .collect();
    if jobs.len() < MANY * formats.len() {
        return Ok(Vec::new());
    }
    threads::map(&jobs, threads::cores(), |(format, text)| format.pack(text))
}

/// The last marked row before the first change.
fn start(table: Option<&Table>, segments: &[Segment<'_>], streams: usize) -> Start {
    let same = segments
        .iter()
        .enumerate()
        .take_while(|(number, segment)| matches!(segment, Segment::Old(old) if old == number))
        .count();
    let marked = table.into_iter().flat_map(|table| {
        let rows = table.rows.iter().enumerate().take(same + 1);
        // What begins at the first row needs no mark.
        let rows = rows.skip(1);
        rows.filter_map(|(row, it)| it.mark.as_ref().map(|mark| (row, mark)))
    });
    match marked.last() {
        Some((row, mark)) => Start {
            row,
            mark: mark.clone(),
        },
        None => Start {
            row: 0,
            mark: vec![Running::default(); streams],
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
                let row = table.and_then(|table| table.rows.get(*row));
                row.and_then(|row| row.sizes.first().copied()).unwrap_or_default()
            }
        };
        due
    })
    .collect()
}

/// What all streams have in common.
struct Work<'a> {
    formats: &'a [Format],
    table: Option<&'a Table>,
    /// New pieces that are compressed already, in all formats one after the other; none if there are few.
    packed: &'a [Packed],
    /// From the start on.
    segments: &'a [Segment<'a>],
    start: &'a Start,
    marks: &'a [bool],
}

/// A file that is being written, and its digest.
struct Written<'a> {
    running: Running,
    file: &'a mut dyn Write,
}

impl Written<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.running.update(bytes);
        self.file.write_all(bytes)
    }
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

    /// Bytes of a piece's text.
    fn text_size(&self, segment: &Segment<'_>) -> io::Result<u64> {
        match segment {
            Segment::New(piece) => Ok(piece.text.len() as u64),
            Segment::Old(row) => Ok(self.row(*row)?.sizes.first().copied().unwrap_or_default()),
        }
    }

    /// The text itself, which is only hashed: from the file that unpacks fastest.
    fn plain(&self, old: Option<&File>) -> io::Result<Stream> {
        let mut old = Old::new(self.table, FASTEST, old);
        let mut decompressor = zstd::bulk::Decompressor::new()?;
        let running = self.running(0);
        let file = &mut io::sink();
        let (stream, _) = self.stream(Written { running, file }, |segment, written| {
            let size = self.text_size(segment)?;
            match segment {
                Segment::New(piece) => written.write(&piece.text)?,
                Segment::Old(row) => {
                    let (packed, _) = old.read(*row)?;
                    let size = usize::try_from(size).map_err(io::Error::other)?;
                    written.write(&decompressor.decompress(packed, size)?)?;
                }
            }
            Ok(size)
        })?;
        Ok(stream)
    }

    /// A compressed file.
    fn packed(&self, stream: usize, format: Format, old: Option<&File>, new: File) -> io::Result<Stream> {
        let mut new = BufWriter::with_capacity(256 * 1024, new);
        if let (Some(table), Some(mut file), true) = (self.table, old, self.start.row > 0) {
            file.seek(SeekFrom::Start(0))?;
            // Inside of the kernel, and without copying at all where the file system can share.
            io::copy(
                &mut file.take(table.offset(stream, format, self.start.row)),
                new.get_mut(),
            )?;
        }
        let mut written = Written {
            running: self.running(stream),
            file: &mut new,
        };
        if self.start.row == 0 {
            written.write(format.head())?;
        }
        let mut old = Old::new(self.table, stream - 1, old);
        let mut ready = self.packed.iter().skip(stream - 1).step_by(self.formats.len());
        let (mut result, mut written) = self.stream(written, |segment, written| match segment {
            Segment::New(NewPiece { text, .. }) => {
                let made;
                let packed = match ready.next() {
                    Some(packed) => packed,
                    None => {
                        made = format.pack(text)?;
                        &made
                    }
                };
                written.write(&packed.bytes)?;
                Ok(packed.size)
            }
            Segment::Old(row) => {
                let (packed, size) = old.read(*row)?;
                written.write(packed)?;
                Ok(size)
            }
        })?;
        written.write(&format.tail(self.sizes(stream, &result)?.into_iter()))?;
        result.checksum = written.running.checksum();
        new.flush()?;
        Ok(result)
    }

    /// The size of each piece's text, and of what the stream has of it.
    fn sizes(&self, stream: usize, written: &Stream) -> io::Result<Vec<(u64, u64)>> {
        let kept = self
            .table
            .into_iter()
            .flat_map(|table| table.rows.iter().take(self.start.row));
        let kept = kept.filter_map(|row| Some((*row.sizes.first()?, *row.sizes.get(stream)?)));
        let changed = self.segments.iter().zip(&written.sizes);
        kept.map(Ok)
            .chain(changed.map(|(segment, size)| Ok((self.text_size(segment)?, *size))))
            .collect()
    }

    /// The digest of a stream at the start.
    fn running(&self, stream: usize) -> Running {
        self.start.mark.get(stream).cloned().unwrap_or_default()
    }

    /// Write and hash what `each` writes for each segment, of which it tells the size for the table.
    fn stream<'a>(
        &self,
        mut written: Written<'a>,
        mut each: impl FnMut(&Segment<'_>, &mut Written<'a>) -> io::Result<u64>,
    ) -> io::Result<(Stream, Written<'a>)> {
        let mut sizes = Vec::with_capacity(self.segments.len());
        let mut marks = Vec::with_capacity(self.segments.len());
        for (segment, due) in self.segments.iter().zip(self.marks) {
            marks.push(due.then(|| written.running.clone()));
            sizes.push(each(segment, &mut written)?);
        }
        let stream = Stream {
            checksum: written.running.clone().checksum(),
            sizes,
            marks,
        };
        Ok((stream, written))
    }
}

/// The old file of a format by its number, read piece by piece: mostly one after the other.
pub(super) struct Old<'a> {
    file: Option<BufReader<&'a File>>,
    /// Where each piece begins, its bytes, and the size that the table has.
    places: Vec<(u64, u64, u64)>,
    position: u64,
    buffer: Vec<u8>,
}

impl<'a> Old<'a> {
    pub(super) fn new(table: Option<&'a Table>, number: usize, file: Option<&'a File>) -> Self {
        let format = table.and_then(|table| table.formats().get(number)).copied();
        let mut end = format.map_or(0, |format| format.head().len() as u64);
        let rows = table.into_iter().flat_map(|table| &table.rows);
        let places = rows.map(|row| {
            let size = row.sizes.get(number + 1).copied().unwrap_or_default();
            let begin = end;
            end += format.map_or(size, |format| format.extent(size));
            (begin, end - begin, size)
        });
        let places = places.collect();
        let file = file.map(|file| BufReader::with_capacity(256 * 1024, file));
        Self {
            file,
            places,
            position: u64::MAX,
            buffer: Vec::new(),
        }
    }

    /// The bytes of a piece, and the size that the table has.
    pub(super) fn read(&mut self, row: usize) -> io::Result<(&[u8], u64)> {
        let missing = || io::Error::other("a piece is missing");
        let (offset, extent, size) = *self.places.get(row).ok_or_else(missing)?;
        let file = self.file.as_mut().ok_or_else(missing)?;
        if self.position != offset {
            file.seek(SeekFrom::Start(offset))?;
        }
        self.buffer
            .resize(usize::try_from(extent).map_err(io::Error::other)?, 0);
        file.read_exact(&mut self.buffer)?;
        self.position = offset + extent;
        Ok((&self.buffer, size))
    }
}

/// The text of a piece, from the file that unpacks fastest.
pub(super) fn read_piece(table: &Table, file: &File, number: usize) -> io::Result<Vec<u8>> {
    let size = table
        .rows
        .get(number)
        .and_then(|row| row.sizes.first().copied())
        .unwrap_or_default();
    let mut old = Old::new(Some(table), FASTEST, Some(file));
    let (packed, _) = old.read(number)?;
    zstd::bulk::decompress(packed, usize::try_from(size).map_err(io::Error::other)?)
}
