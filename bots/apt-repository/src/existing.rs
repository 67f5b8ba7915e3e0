//! What a suite's directory has, whoever made it.

use std::collections::BTreeSet;
use std::io::Read;

use crate::deb::decompress;
use crate::descriptions::{Descriptions, Topic, TranslationName};
use crate::failure::Failure;
use crate::generations::Records;
use crate::host::Transaction;
use crate::index::{Index, IndexError, IndexName};
use crate::release::{Listed, Release};
use crate::settings::Settings;

/// Largest index.
const MAX_INDEX: u64 = 1024 * 1024 * 1024;

/// The compressions that this or another program may have left an index in, in the order of their speed.
pub(crate) const SUFFIXES: [&str; 4] = ["", ".gz", ".zst", ".xz"];

/// Where a suite's `Release` is, in the order of preference.
const RELEASES: [&str; 2] = ["InRelease", "Release"];

/// A suite as it is before a change.
pub struct Existing<'a> {
    transaction: &'a dyn Transaction,
    /// `dists/<codename>`.
    directory: String,
    /// What distbot knows of it; none if another program made it, or no one.
    pub records: Option<Records>,
    /// What its `InRelease` says; none if there is no suite.
    pub release: Option<Release>,
    /// Indices that another program made, and the files that they are in.
    pub foreign: Vec<(IndexName, String)>,
}

impl<'a> Existing<'a> {
    /// Read a suite.
    ///
    /// # Errors
    /// [`Failure`] if what is there can't be understood.
    pub fn read(transaction: &'a dyn Transaction, codename: &str) -> Result<Self, Failure> {
        let directory = format!("dists/{codename}");
        let path = records_path(codename);
        let records = match transaction.read(&path)? {
            Some(json) => Some(read_records(&json).map_err(|why| unreadable(&path, &why))?),
            None => None,
        };
        let mut existing = Self {
            transaction,
            directory,
            records,
            release: None,
            foreign: Vec::new(),
        };
        existing.release = existing.read_release()?;
        // Ours are found by what its `Release` lists, unless that is lost.
        if existing.records.is_none() || existing.release.is_none() {
            existing.foreign = existing.find_indices()?;
        }
        Ok(existing)
    }

    /// What of a suite's own records is there and can't be read, with why: one without them may be.
    ///
    /// # Errors
    /// The host's.
    pub fn damaged(transaction: &dyn Transaction, codename: &str) -> Result<Vec<(String, String)>, Failure> {
        let mut damaged = Vec::new();
        let mut look = |path: String, read: &dyn Fn(&[u8]) -> Result<(), String>| {
            if let Some(why) = transaction.read(&path)?.and_then(|bytes| read(&bytes).err()) {
                damaged.push((path, format!("it can't be read: {why}")));
            }
            Ok::<_, Failure>(())
        };
        look(records_path(codename), &|json| read_records(json).map(drop))?;
        for file in RELEASES {
            look(format!("dists/{codename}/{file}"), &|bytes| {
                read_release(bytes).map(drop)
            })?;
        }
        Ok(damaged)
    }

    /// A path below the suite's directory.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.directory)
    }

    /// Whether the suite has a file.
    ///
    /// # Errors
    /// The host's.
    pub fn has(&self, path: &str) -> Result<bool, Failure> {
        Ok(self.transaction.read(&self.path(path))?.is_some())
    }

    /// What `release` says of an index.
    #[must_use]
    pub fn listed(&self, name: &IndexName) -> Option<&Listed> {
        self.release.as_ref()?.files.get(&name.to_string())
    }

    /// Whether `release` vouches for an index that distbot made.
    #[must_use]
    pub fn lists(&self, name: &IndexName) -> bool {
        self.records.is_some() && self.listed(name).is_some()
    }

    /// Whether a text that distbot made is published as it is to be.
    #[must_use]
    pub fn offers(&self, name: &str, settings: &Settings) -> bool {
        let Some(Release { files, .. }) = &self.release else {
            return false;
        };
        let strong = files.get(name).is_some_and(|listed| listed.sha512.is_some());
        files.contains_key(&format!("{name}.xz")) == settings.extras.xz && (strong || !settings.sha512)
    }

    /// The text of an index, in any compression; none if there is none.
    ///
    /// # Errors
    /// [`Failure`] if it can't be unpacked.
    pub fn index_text(&self, name: &IndexName) -> Result<Option<String>, Failure> {
        self.text_of(&name.to_string())
    }

    fn text_of(&self, name: &str) -> Result<Option<String>, Failure> {
        let own = SUFFIXES.map(|suffix| (suffix, format!("{name}{suffix}")));
        let by_digest = own.iter().flat_map(|(suffix, path)| {
            let listed = self.release.as_ref().and_then(|release| release.files.get(path));
            let names = listed.into_iter().flat_map(|listed| listed.by_hash(path));
            names.map(|name| (*suffix, name))
        });
        match self.first_text(name, &own) {
            Ok(Some(text)) => Ok(Some(text)),
            // The same files have other names.
            lost => match self.first_text(name, &by_digest.collect::<Vec<_>>()) {
                Ok(Some(text)) => Ok(Some(text)),
                _ => lost,
            },
        }
    }

    /// The text in the first of these files that has all of it, or else in the first that can be read; none if none is there.
    fn first_text(&self, name: &str, files: &[(&str, String)]) -> Result<Option<String>, Failure> {
        let release = self.release.as_ref();
        let promised = release.and_then(|release| Some(release.files.get(name)?.size));
        let (mut other, mut damaged) = (None, None);
        for (suffix, path) in files {
            let path = self.path(path);
            let Some(bytes) = self.transaction.read(&path)? else {
                continue;
            };
            let mut text = String::new();
            let unpacked = decompress(suffix, bytes.as_slice()).and_then(|reader| {
                let read = reader.take(MAX_INDEX).read_to_string(&mut text);
                read.map_err(|error| error.to_string())
            });
            match unpacked {
                // One that is cut off between two pieces unpacks without a word; its siblings have the rest. What is there
                // uncompressed is another program's, which had something else to say.
                Ok(_) if suffix.is_empty() || promised.is_none_or(|size| size == text.len() as u64) => {
                    return Ok(Some(text));
                }
                Ok(_) => other = other.or(Some(text)),
                Err(why) => damaged = damaged.or(Some(unreadable(&path, &why))),
            }
        }
        match (other, damaged) {
            (None, Some(failure)) => Err(failure),
            (other, _) => Ok(other),
        }
    }

    /// The packages of an index; none if there is none.
    ///
    /// # Errors
    /// [`Failure`] if it is not an index.
    pub fn index(&self, name: &IndexName) -> Result<Option<Index>, Failure> {
        match self.index_text(name)? {
            Some(text) => self.parsed(name, Index::parse(&text)).map(Some),
            // Its packages would be lost without a word.
            None => match self.foreign.iter().find(|(foreign, _)| foreign == name) {
                Some((_, path)) => Err(unreadable(
                    path,
                    &"its compression is not supported (none, gz, zst and xz are)",
                )),
                None if self.lists(name) => Err(Failure::Repository(format!(
                    "cannot read {}: it is listed, and missing in every compression (repair the suite)",
                    self.path(&name.to_string())
                ))),
                None => Ok(None),
            },
        }
    }

    /// The packages of an index, each with its whole description as far as that is known; none if there is none.
    ///
    /// # Errors
    /// [`Failure`] if it is not an index, or the list of descriptions can't be read.
    pub fn whole(&self, name: &IndexName) -> Result<Option<Index>, Failure> {
        let index = self.index(name)?;
        let apart = |index: &Index| index.entries().iter().any(|entry| Topic::of(entry).is_some());
        match (index, TranslationName::of(name)) {
            (Some(index), Some(name)) if apart(&index) => Ok(Some(self.descriptions(&name)?.join(index))),
            (index, _) => Ok(index),
        }
    }

    /// The descriptions that a component has apart from its indices.
    ///
    /// # Errors
    /// [`Failure`] if they can't be read.
    pub fn descriptions(&self, name: &TranslationName) -> Result<Descriptions, Failure> {
        let text = self.text_of(&name.to_string())?;
        Ok(text.map(|text| Descriptions::parse(&text)).unwrap_or_default())
    }

    /// Whether distbot made an index of packages whose descriptions are apart.
    #[must_use]
    pub fn splits(&self, name: &IndexName) -> bool {
        let listed = |name: TranslationName| self.release.as_ref()?.files.get(&name.to_string());
        self.records.is_some() && TranslationName::of(name).and_then(listed).is_some()
    }

    /// An index, or a piece of one; or why it is none.
    ///
    /// # Errors
    /// [`Failure`] if it is not an index.
    pub fn parsed(&self, name: &IndexName, parsed: Result<Index, IndexError>) -> Result<Index, Failure> {
        parsed.map_err(|error| unreadable(&self.path(&name.to_string()), &error))
    }

    /// See that nothing of the suite is lost that says which indices it has.
    ///
    /// # Errors
    /// [`Failure::Repository`] if there are records of the suite and no `Release`.
    pub fn require_release(&self) -> Result<(), Failure> {
        if self.records.is_none() || self.release.is_some() {
            return Ok(());
        }
        Err(Failure::Repository(format!(
            "{} is missing, and so is Release (distbot's refresh writes them from the indices that are left; of a suite that is \
             to be gone, remove {}.json as well)",
            self.path("InRelease"),
            self.directory.replacen("dists", ".foundry/suites", 1)
        )))
    }

    /// See that an index is no shorter than the suite's `Release` says, if that lists it: one that was cut off lacks packages
    /// without a word. What another program has changed may be longer.
    ///
    /// # Errors
    /// [`Failure::Repository`] if it is shorter, or can't be unpacked.
    pub fn require_whole(&self, name: &IndexName) -> Result<(), Failure> {
        let (Some(listed), Some(text)) = (self.listed(name), self.index_text(name)?) else {
            return Ok(());
        };
        let (size, promised) = (text.len() as u64, listed.size);
        if size >= promised {
            return Ok(());
        }
        let why = format!("it has {size} bytes, and {promised} are promised");
        Err(unreadable(&self.path(&name.to_string()), &why))
    }

    fn read_release(&self) -> Result<Option<Release>, Failure> {
        for file in RELEASES {
            let path = self.path(file);
            if let Some(bytes) = self.transaction.read(&path)? {
                return read_release(&bytes).map(Some).map_err(|why| unreadable(&path, &why));
            }
        }
        Ok(None)
    }

    fn find_indices(&self) -> Result<Vec<(IndexName, String)>, Failure> {
        let prefix = format!("{}/", self.directory);
        let files = self.transaction.list(&self.directory)?;
        let known = files.into_iter().filter_map(|file| {
            let path = file.strip_prefix(&prefix)?;
            let (directory, name) = path.rsplit_once('/')?;
            // Compressions that no longer fit must go, even those that can't be read.
            let name = name.split('.').next()?;
            Some((IndexName::from_path(&format!("{directory}/{name}"))?, file))
        });
        Ok(known.collect())
    }

    /// The names of the indices that the suite has, whoever made them.
    #[must_use]
    pub fn names(&self) -> BTreeSet<IndexName> {
        let listed = self.release.iter().flat_map(|release| release.files.keys());
        let listed = listed.filter_map(|path| IndexName::from_path(path));
        listed.chain(self.foreign_names()).collect()
    }

    /// The names of the indices that another program made.
    #[must_use]
    pub fn foreign_names(&self) -> BTreeSet<IndexName> {
        self.foreign.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn read_release(bytes: &[u8]) -> Result<Release, String> {
    let release = std::str::from_utf8(bytes).ok().and_then(Release::parse);
    release.ok_or_else(|| "it is not a Release file".to_owned())
}

fn read_records(json: &[u8]) -> Result<Records, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// Where the records of a suite are.
#[must_use]
pub fn records_path(codename: &str) -> String {
    format!(".foundry/suites/{codename}.json")
}

fn unreadable(path: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::Repository(format!("cannot read {path}: {why} (repair or remove it)"))
}
