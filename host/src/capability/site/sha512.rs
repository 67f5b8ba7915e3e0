//! SHA-512, for those who ask for it: of files, and of texts in pieces.
//!
//! A text is hashed when it is asked for, and not while it is written: most repositories have SHA-256 alone. From then on
//! its table has marks of both, so that only what is behind a change is read again.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use sha2_resumable::{Digest as _, Sha512};

use super::SiteError;
use super::apply::{STAGING, staged_path};
use super::format::{FASTEST, all_formats};
use super::path::SitePath;
use super::running::Running512;
use super::splice::Old;
use super::text::Table;
use super::texts::table_path;
use super::threads;
use super::transaction::{Change, Transaction, failed, make_staging};

/// The SHA-512 of everything that a reader gives, in lower-case hex.
///
/// # Errors
/// Those of the reader.
pub fn sha512_of(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha512::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(hasher.finalize())),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How a file's digest is come by.
enum Found {
    /// A text's table has it.
    Known(String),
    /// It has to be read.
    File(String),
    /// There is no file.
    Nothing,
}

impl Transaction {
    /// The SHA-512 of files, or of texts in pieces, as they would be after the transaction: in lower-case hex, in the same
    /// order; none for what isn't there.
    ///
    /// # Errors
    /// [`SiteError`] if a path is bad or a file can't be read.
    pub async fn sha512(&mut self, paths: &[String]) -> Result<Vec<Option<String>>, SiteError> {
        self.open()?;
        let mut all = Vec::with_capacity(paths.len());
        for path in paths {
            let source = self.source(&SitePath::parse(path)?);
            all.push(match (self.sha512_of_text(path).await?, source) {
                (Some(digest), _) => Found::Known(digest),
                (None, Some(source)) => Found::File(source),
                (None, None) => Found::Nothing,
            });
        }
        self.blocking(move |root, directory| {
            threads::map(&all, threads::cores(), |found| match found {
                Found::Known(digest) => Ok(Some(digest.clone())),
                Found::Nothing => Ok(None),
                Found::File(source) => match root.open(source).and_then(sha512_of) {
                    Ok(digest) => Ok(Some(digest)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(failed("read", directory, source)(error)),
                },
            })
        })
        .await
    }

    /// The digest of a text in pieces, or of one of its files; none if the path is neither.
    async fn sha512_of_text(&mut self, path: &str) -> Result<Option<String>, SiteError> {
        let files = all_formats().iter().enumerate();
        let of_files = files.filter_map(|(number, format)| Some((path.strip_suffix(format.suffix)?, number + 1)));
        for (text, stream) in [(path, 0)].into_iter().chain(of_files) {
            let Some(mut sources) = self.sources(text)? else {
                continue;
            };
            let number = self.number();
            let staged = staged_path(STAGING, number);
            let known = self.known.clone();
            let found = self.blocking(move |root, directory| {
                let table = sources.read(root, &known);
                let Some(table) = table.filter(|table| stream <= table.formats().len()) else {
                    return Ok(None);
                };
                if table.sha512.is_some() {
                    return Ok(Some((table, false)));
                }
                let files = (0..table.formats().len()).map(|number| sources.file(root, directory, number));
                let files: Vec<_> = files.collect::<Result<_, _>>()?;
                let plain = sources.file(root, directory, FASTEST)?;
                let mut table = Arc::unwrap_or_clone(table);
                complete(&mut table, &plain, &files).map_err(failed("read", directory, &sources.plain))?;
                make_staging(root, directory)?;
                let written = table.to_bytes().map_err(io::Error::from);
                written
                    .and_then(|bytes| root.write(&staged, bytes))
                    .map_err(failed("write", directory, &staged))?;
                sources.table = staged;
                Ok(Some((known.set(sources, table), true)))
            });
            if let Some((table, is_new)) = found.await? {
                if is_new {
                    self.changes.insert(table_path(text), Change::Write { staged: number });
                }
                let digests = table.sha512.as_ref();
                return Ok(digests.and_then(|digests| digests.get(stream)).cloned());
            }
        }
        Ok(None)
    }
}

/// The digest of a stream, and those up to the rows that have a mark.
struct Stream {
    digest: String,
    marks: Vec<(usize, Running512)>,
}

/// Have a table know the digests of its streams: of the text, which `plain` unpacks to, and of its files.
fn complete(table: &mut Table, plain: &File, files: &[File]) -> io::Result<()> {
    let known = &*table;
    let streams = std::thread::scope(|scope| {
        let hashed: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(number, file)| scope.spawn(move || hash(known, number + 1, file)))
            .collect();
        let mut streams = vec![hash(known, 0, plain)];
        for thread in hashed {
            let stream = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("hashing failed")));
            streams.push(stream);
        }
        streams.into_iter().collect::<io::Result<Vec<_>>>()
    })?;
    let mut digests = Vec::with_capacity(streams.len());
    for Stream { digest, marks } in streams {
        for (row, mark) in marks {
            if let Some(row) = table.rows.get_mut(row) {
                row.mark512.get_or_insert_default().push(mark);
            }
        }
        digests.push(digest);
    }
    table.sha512 = Some(digests);
    Ok(())
}

/// Hash a stream from the last mark on. New marks are beside those of SHA-256.
fn hash(table: &Table, stream: usize, file: &File) -> io::Result<Stream> {
    // The text is read from the file that unpacks fastest.
    let number = stream.checked_sub(1);
    let format = number.and_then(|number| table.formats().get(number));
    let mut old = Old::new(Some(table), number.unwrap_or(FASTEST), Some(file));
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    let marked = table.rows.iter().enumerate().rev();
    let mut marked = marked.filter_map(|(row, it)| Some((row, it.mark512.as_ref()?.get(stream)?.clone())));
    let (start, mut running) = match marked.next() {
        Some(mark) => mark,
        None => {
            let mut running = Running512::default();
            running.update(format.map_or(&[], |format| format.head()));
            (0, running)
        }
    };
    let mut marks = Vec::new();
    for (number, row) in table.rows.iter().enumerate().skip(start) {
        if row.mark.is_some() && row.mark512.is_none() {
            marks.push((number, running.clone()));
        }
        let (packed, _) = old.read(number)?;
        match format {
            Some(_) => running.update(packed),
            None => {
                let size = row.sizes.first().copied().unwrap_or_default();
                let size = usize::try_from(size).map_err(io::Error::other)?;
                running.update(&decompressor.decompress(packed, size)?);
            }
        }
    }
    if let Some(format) = format {
        running.update(&format.tail(table.column(0).zip(table.column(stream))));
    }
    Ok(Stream {
        digest: running.finish(),
        marks,
    })
}
