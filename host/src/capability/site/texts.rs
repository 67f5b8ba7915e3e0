//! What a transaction does with texts in pieces, and files under several names.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use foundry_broker::killpoint;

use super::SiteError;
use super::apply::{STAGING, staged_path};
use super::examine::examine;
use super::format::{Extras, FASTEST, all_formats, formats};
use super::path::SitePath;
use super::splice::{Files, read_piece, splice};
use super::text::{NewPiece, Segment, Splice, Spliced, Stamp, TEXTS, Table, Text, segments};
use super::transaction::{Change, Transaction, create, failed, make_staging};

/// The table that was read last, and where: of a text of which many pieces are read, it is read once.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<Mutex<Option<Found>>>);

/// A table and where it was found.
type Found = (Sources, Arc<Table>);

impl Known {
    fn get(&self, sources: &Sources) -> Option<Arc<Table>> {
        let known = self.0.lock().ok()?;
        let (of, table) = known.as_ref()?;
        (of == sources).then(|| Arc::clone(table))
    }

    pub(super) fn set(&self, sources: Sources, table: Table) -> Arc<Table> {
        let table = Arc::new(table);
        if let Ok(mut known) = self.0.lock() {
            *known = Some((sources, Arc::clone(&table)));
        }
        table
    }
}

/// Where a text's table and files are at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) table: String,
    /// In all formats that there are; those that the text isn't published in may be missing.
    pub(super) files: Vec<String>,
    /// Where another program would publish the text uncompressed.
    pub(super) plain: String,
}

impl Sources {
    /// The table, if it describes what is published.
    pub(super) fn read(&self, root: &Dir, known: &Known) -> Option<Arc<Table>> {
        if let Some(table) = known.get(self) {
            // No one else writes to the site before the transaction is over.
            return Some(table);
        }
        // We never write it: whoever did had something else to say.
        if root.exists(&self.plain) {
            return None;
        }
        let table = Table::read(root, &self.table, &self.files)?;
        Some(known.set(self.clone(), table))
    }

    pub(super) fn file(&self, root: &Dir, directory: &Path, number: usize) -> Result<File, SiteError> {
        let path = self.files.get(number).map(String::as_str).unwrap_or_default();
        let opened = root.open(path).map_err(failed("read", directory, path))?;
        Ok(opened.into_std())
    }
}

impl Transaction {
    /// A text that was written in pieces, as it would be after the transaction; none if there is none, or its files have
    /// been changed by something else.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad.
    pub async fn text(&self, path: &str) -> Result<Option<Text>, SiteError> {
        self.open()?;
        let Some(sources) = self.sources(path)? else {
            return Ok(None);
        };
        let known = self.known.clone();
        self.blocking(move |root, _| Ok(sources.read(root, &known).map(|table| table.text())))
            .await
    }

    /// What one of its pieces says.
    ///
    /// # Errors
    /// [`SiteError`] if the text or the piece isn't there.
    pub async fn read_piece(&self, path: &str, number: usize) -> Result<Vec<u8>, SiteError> {
        self.open()?;
        let sources = self.sources(path)?.ok_or(SiteError::BadSplice)?;
        let known = self.known.clone();
        self.blocking(move |root, directory| {
            let table = sources.read(root, &known).ok_or(SiteError::BadSplice)?;
            let file = sources.file(root, directory, FASTEST)?;
            read_piece(&table, &file, number).map_err(failed("read", directory, &sources.plain))
        })
        .await
    }

    /// What a text's table says that isn't so, which costs a look at all of its files; none if it is right, or lost.
    ///
    /// # Errors
    /// [`SiteError`] if the path is bad or a file can't be read.
    pub async fn examine(&self, path: &str) -> Result<Option<String>, SiteError> {
        self.open()?;
        let Some(sources) = self.sources(path)? else {
            return Ok(None);
        };
        let known = self.known.clone();
        self.blocking(move |root, directory| {
            let Some(table) = sources.read(root, &known) else {
                return Ok(None);
            };
            let files: Vec<_> = (0..table.formats().len())
                .map(|number| sources.file(root, directory, number))
                .collect::<Result<_, _>>()?;
            examine(&table, &files).map_err(failed("read", directory, &sources.table))
        })
        .await
    }

    /// Change a text, or write a new one: `changes` are of the pieces that [`text`](Self::text) gives, of none if it gives
    /// none. The text is published only compressed: in the usual ways and with these extras.
    ///
    /// # Errors
    /// [`SiteError`] if the changes don't fit, or there is no space.
    pub async fn splice(&mut self, path: &str, extras: Extras, changes: Vec<Splice>) -> Result<Spliced, SiteError> {
        self.open()?;
        let sources = self.sources(path)?;
        let formats = formats(extras);
        let targets: Vec<_> = formats
            .iter()
            .map(|format| SitePath::parse(&format!("{path}{}", format.suffix)).map(|path| (path, self.number())))
            .collect::<Result<_, _>>()?;
        let table_target = (table_path(path), self.number());
        let staged: Vec<_> = targets
            .iter()
            .map(|(_, number)| staged_path(STAGING, *number))
            .collect();
        let staged_table = staged_path(STAGING, table_target.1);
        let (known, text_path) = (self.known.clone(), path.to_owned());
        let (spliced, before) = self
            .blocking(move |root, directory| {
                make_staging(root, directory)?;
                let table = sources.as_ref().and_then(|sources| sources.read(root, &known));
                let empty = NewPiece::default();
                let mut segments = segments(table.as_ref().map_or(0, |table| table.rows.len()), &changes)?;
                if segments.is_empty() {
                    // No bytes at all are not what unpacks to nothing.
                    segments.push(Segment::New(&empty));
                }
                let open = |number| {
                    sources
                        .as_ref()
                        .map(|sources| sources.file(root, directory, number))
                        .transpose()
                };
                let before = table.as_ref().map_or(&[][..], |table| table.formats());
                let other_formats = table.as_ref().filter(|table| table.formats().len() != formats.len());
                let anew: Vec<NewPiece>;
                if let Some(table) = other_formats {
                    let file = open(FASTEST)?.ok_or(SiteError::BadSplice)?;
                    let pieces = segments.iter().map(|segment| whole(table, &file, segment));
                    anew = pieces
                        .collect::<std::io::Result<_>>()
                        .map_err(failed("read", directory, &text_path))?;
                    segments = anew.iter().map(Segment::New).collect();
                }
                let (old, plain) = match table.filter(|table| table.formats().len() == formats.len()) {
                    Some(table) => {
                        let files: Vec<_> = (0..formats.len())
                            .filter_map(|number| open(number).transpose())
                            .collect::<Result<_, _>>()?;
                        (Some((table, files)), open(FASTEST)?)
                    }
                    None => (None, None),
                };
                let new = staged
                    .iter()
                    .map(|path| {
                        create(root, path)
                            .map(cap_std::fs::File::into_std)
                            .map_err(failed("write", directory, path))
                    })
                    .collect::<Result<_, _>>()?;
                let written = splice(
                    Files {
                        formats,
                        old,
                        plain,
                        new,
                    },
                    &segments,
                );
                let (rows, checksums) = written.map_err(failed("write", directory, &staged_table))?;
                let mut checksums = checksums.into_iter();
                let text = checksums.next().ok_or(SiteError::BadSplice)?;
                let stamps = staged
                    .iter()
                    .map(|path| Stamp::of(root, path).map_err(failed("read", directory, path)))
                    .collect::<Result<_, _>>()?;
                let table = Table {
                    text: text.clone(),
                    rows,
                    stamps,
                    sha512: None,
                };
                let written = table.to_bytes().map_err(std::io::Error::from);
                written
                    .and_then(|bytes| root.write(&staged_table, bytes))
                    .map_err(failed("write", directory, &staged_table))?;
                let sources = Sources {
                    table: staged_table,
                    files: staged,
                    plain: text_path,
                };
                known.set(sources, table);
                let suffixes = formats.iter().map(|format| format.suffix);
                let files = suffixes.zip(checksums).collect();
                killpoint::pass("site-spliced");
                Ok((Spliced { text, files }, before))
            })
            .await?;
        for format in before.iter().skip(formats.len()) {
            self.remove(&format!("{path}{}", format.suffix))?;
        }
        for (path, staged) in targets.into_iter().chain([table_target]) {
            self.changes.insert(path, Change::Write { staged });
        }
        Ok(spliced)
    }

    /// Give a file of the transaction, or one that is there, another name. Writing to either later leaves the other as it is.
    ///
    /// # Errors
    /// [`SiteError`] if a path is bad or there is no such file.
    pub async fn link(&mut self, path: &str, name: &str) -> Result<(), SiteError> {
        self.open()?;
        let (path, name) = (SitePath::parse(path)?, SitePath::parse(name)?);
        let source = self
            .source(&path)
            .ok_or_else(|| SiteError::NotWritten(path.to_string()))?;
        let staged = self.number();
        let target = staged_path(STAGING, staged);
        self.blocking(move |root, directory| {
            make_staging(root, directory)?;
            root.hard_link(&source, root, &target)
                .map_err(failed("link", directory, path.as_str()))
        })
        .await?;
        self.changes.insert(name, Change::Write { staged });
        Ok(())
    }

    pub(super) fn sources(&self, path: &str) -> Result<Option<Sources>, SiteError> {
        let table = self.source(&table_path(path));
        let files = all_formats()
            .iter()
            .map(|format| SitePath::parse(&format!("{path}{}", format.suffix)).map(|path| self.source(&path)))
            .collect::<Result<Vec<_>, _>>()?;
        // Formats are added at the end: those before the first that isn't there may be all.
        let files = files.into_iter().map_while(|file| file).collect();
        Ok(table.map(|table| Sources {
            table,
            files,
            plain: path.to_owned(),
        }))
    }
}

/// A piece, whether it is new or not.
fn whole(table: &Table, file: &File, segment: &Segment<'_>) -> std::io::Result<NewPiece> {
    match segment {
        Segment::New(piece) => Ok((*piece).clone()),
        Segment::Old(number) => Ok(NewPiece {
            label: table.rows.get(*number).map(|row| row.label.clone()).unwrap_or_default(),
            text: read_piece(table, file, *number)?,
        }),
    }
}

pub(super) fn table_path(path: &str) -> SitePath {
    SitePath::host(format!("{TEXTS}/{path}.json"))
}
