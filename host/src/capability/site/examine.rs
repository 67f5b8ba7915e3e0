//! Whether a table tells the truth about its text, found out by reading all of it.

use std::fs::File;
use std::io::{self, BufReader, Read};

use super::format::{FASTEST, Format};
use super::running::{Running, Running512};
use super::text::{Row, Table};

/// What a table says that isn't so of its files, in the order of their formats; none if all is true.
pub(super) fn examine(table: &Table, files: &[File]) -> io::Result<Option<String>> {
    for (number, (format, file)) in table.formats().iter().zip(files).enumerate() {
        if let Some(lie) = examine_file(table, number, *format, file)? {
            return Ok(Some(lie));
        }
    }
    Ok(None)
}

fn examine_file(table: &Table, number: usize, format: Format, file: &File) -> io::Result<Option<String>> {
    let (file_stream, suffix) = (number + 1, format.suffix);
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut packed = vec![0; format.head().len()];
    reader.read_exact(&mut packed)?;
    let (mut of_file, mut of_text) = (Seen::of(table, file_stream), Seen::of(table, 0));
    of_file.update(&packed);
    for (number_of_row, row) in table.rows.iter().enumerate() {
        if !of_file.is_marked(row) {
            let lie = format!("the digest of the {suffix} file before piece {number_of_row} is another");
            return Ok(Some(lie));
        }
        let size = |stream: usize| row.sizes.get(stream).copied().unwrap_or_default();
        let extent = usize::try_from(format.extent(size(file_stream))).map_err(io::Error::other)?;
        packed.resize(extent, 0);
        reader.read_exact(&mut packed)?;
        of_file.update(&packed);
        // The text is in all of them: it is enough to look at it in the one that unpacks fastest.
        if number != FASTEST {
            continue;
        }
        if !of_text.is_marked(row) {
            let lie = format!("the digest of the text before piece {number_of_row} is another");
            return Ok(Some(lie));
        }
        let text = zstd::bulk::decompress(&packed, usize::try_from(size(0)).map_err(io::Error::other)?);
        match text {
            Ok(text) if text.len() as u64 == size(0) => of_text.update(&text),
            _ => return Ok(Some(format!("piece {number_of_row} is not where it says"))),
        }
    }
    if number == FASTEST && (of_text.of_256.clone().checksum() != table.text || !of_text.is_finished(table)) {
        return Ok(Some("the digest of the text is another".to_owned()));
    }
    of_file.update(&format.tail(table.column(0).zip(table.column(file_stream))));
    let is_finished = of_file.is_finished(table);
    Ok((!is_finished).then(|| format!("the digest of the {suffix} file is another")))
}

/// What has been read of a stream.
struct Seen {
    stream: usize,
    of_256: Running,
    /// If the table has any of it.
    of_512: Option<Running512>,
}

impl Seen {
    fn of(table: &Table, stream: usize) -> Self {
        let strong = table.sha512.is_some() || table.rows.iter().any(|row| row.mark512.is_some());
        Self {
            stream,
            of_256: Running::default(),
            of_512: strong.then(Running512::default),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.of_256.update(bytes);
        if let Some(running) = &mut self.of_512 {
            running.update(bytes);
        }
    }

    /// Whether the digests that are written down at a row, if any are, are those up to here.
    fn is_marked(&self, row: &Row) -> bool {
        let mark = row.mark.as_ref().and_then(|marks| marks.get(self.stream));
        let mark512 = row.mark512.as_ref().and_then(|marks| marks.get(self.stream));
        let running512 = self.of_512.as_ref();
        mark.is_none_or(|mark| mark.is_same(&self.of_256))
            && mark512
                .zip(running512)
                .is_none_or(|(mark, running)| mark.is_same(running))
    }

    /// Whether the SHA-512 of all, if the table has it, is this one. Its SHA-256 is the `Release`'s to know.
    fn is_finished(&self, table: &Table) -> bool {
        let promised = table.sha512.as_ref().and_then(|digests| digests.get(self.stream));
        let running = self.of_512.clone();
        promised
            .zip(running)
            .is_none_or(|(promised, running)| running.finish() == *promised)
    }
}
