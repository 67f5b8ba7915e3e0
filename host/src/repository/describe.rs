//! Descriptions that are apart from their packages' index: whether they are there, and where they come from if not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use apt_repository::control::Paragraph;
use apt_repository::deb::{self, Bytes};
use apt_repository::descriptions::{self, Topic, TranslationName};
use apt_repository::existing::Existing;
use apt_repository::index::{Entry, Index, IndexName};
use apt_repository::operate;

use super::Desk;
use super::check::Findings;

/// What the list of an index's descriptions lacks.
pub(super) fn undescribed(existing: &Existing<'_>, name: &IndexName, index: &Index) -> Findings {
    let list = TranslationName::of(name).filter(|_| existing.splits(name));
    let lacking = list.into_iter().flat_map(|list| {
        // What is still apart was not found there.
        let apart = index.entries().iter().filter(|entry| Topic::of(entry).is_some());
        apart.map(move |Entry { package, version, .. }| {
            let what = format!("it lacks the description of {package} {version}");
            (existing.path(&list.to_string()), what)
        })
    });
    lacking.collect()
}

impl Desk {
    /// A package with the description that its file has; none if it has its description, or the file doesn't say.
    pub(super) fn described(&self, entry: &Entry) -> Option<Entry> {
        Topic::of(entry)?;
        let file = operate::files(entry).into_iter().next()?;
        let mut package = Package::open(&self.directory.join(file.path)).ok()?;
        let control = Paragraph::parse(&deb::control(&mut package).ok()?).ok()?;
        let description = control.get("Description")?;
        Some(descriptions::whole(entry.clone(), description))
    }
}

/// A package's file.
struct Package {
    file: File,
    size: u64,
}

impl Package {
    fn open(path: &std::path::Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl Bytes for Package {
    type Error = io::Error;

    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let there = offset.checked_add(length).is_some_and(|end| end <= self.size);
        let length = usize::try_from(length).ok().filter(|_| there);
        let mut bytes = vec![0; length.ok_or(io::ErrorKind::UnexpectedEof)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}
