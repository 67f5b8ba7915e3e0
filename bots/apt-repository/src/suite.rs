//! Bringing a suite up to date: its indices with the new packages in them, and the signed `Release` over all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::addition::Addition;
use crate::changed::Changed;
use crate::contents::ContentsName;
use crate::descriptions::TranslationName;
use crate::existing::{Existing, SUFFIXES, records_path};
use crate::failure::Failure;
use crate::generations::{Files, Records};
use crate::host::{Checksum, Digest, Host, Splice, Spliced, Text, Transaction};
use crate::index::{Index, IndexName};
use crate::pieces::{self, Edits, Sizes};
use crate::published::Published;
use crate::recent::{self, Pieces as _};
use crate::release::{Listed, Release};
use crate::settings::Settings;
use crate::translated::Told;

/// A change of one suite, inside of a transaction.
pub struct Update<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// The repository's open transaction.
    pub transaction: &'a dyn Transaction,
    /// What the operator wants.
    pub settings: &'a Settings,
    /// Fingerprint of the key.
    pub fingerprint: &'a str,
    /// The suite.
    pub codename: &'a str,
    /// How its indices are laid out.
    pub sizes: Sizes,
}

impl Update<'_> {
    /// Add packages. Returns the files that the transaction has to end with; none if the suite is as it should be.
    ///
    /// # Errors
    /// [`Failure`] if nothing may be published.
    pub fn add(&self, additions: &[Addition]) -> Result<Vec<String>, Failure> {
        let needed = additions.iter().flat_map(|addition| addition.needs(self.settings));
        self.change(&needed.collect(), |name| {
            let component = name.component();
            let additions = additions
                .iter()
                .filter(|addition| addition.component(self.settings) == component && addition.belongs_to(name));
            Edits {
                insert: additions.map(|addition| addition.entry(component)).collect(),
                ..Edits::default()
            }
        })
    }

    /// Change indices, of which some are needed whether the suite had them before or not. Returns the files that the
    /// transaction has to end with; none if the suite is as it should be.
    ///
    /// # Errors
    /// [`Failure`] if nothing may be published.
    pub fn change(
        &self,
        needed: &BTreeSet<IndexName>,
        edits: impl Fn(&IndexName) -> Edits,
    ) -> Result<Vec<String>, Failure> {
        let existing = Existing::read(self.transaction, self.codename)?;
        let names = self.names(&existing, needed);
        let mut texts = BTreeMap::new();
        let mut translations: BTreeMap<TranslationName, (Vec<&IndexName>, Told)> = BTreeMap::new();
        for name in &names {
            let mut edits = edits(name);
            self.retire(&existing, name, &mut edits)?;
            let translation = TranslationName::of(name).filter(|_| self.settings.split_descriptions);
            let (indices, told) = match translation {
                Some(translation) => translations.entry(translation).or_default(),
                None => &mut Default::default(),
            };
            indices.push(name);
            let changed = self.index(&existing, name, edits, told)?;
            if let Some((contents, spliced)) = self.contents(&existing, name, changed.as_ref())? {
                texts.insert(contents.to_string(), spliced);
            }
            if let Some(changed) = changed {
                told.note(name, &changed);
                texts.insert(name.to_string(), changed.spliced);
            }
        }
        for (name, (indices, told)) in translations {
            if let Some(spliced) = self.translation(&existing, &name, &indices, told)? {
                texts.insert(name.to_string(), spliced);
            }
        }
        let release = self.release(&existing, &names, &texts)?;
        let older_keys = self.older_keys()?;
        let is_fresh = |records: &Records| self.is_fresh(records) && records.older_keys == older_keys;
        let unchanged = existing.records.as_ref().is_some_and(is_fresh)
            && existing
                .release
                .as_ref()
                .is_some_and(|before| before.undated() == release.undated())
            && existing.has("InRelease")?
            && existing.has("Release")?
            && existing.has("Release.gpg")?;
        if unchanged {
            Ok(Vec::new())
        } else {
            self.sign(&existing, &release)
        }
    }

    /// Whether the signature is by the right key, and is going to last.
    fn is_fresh(&self, records: &Records) -> bool {
        let lasts = match (self.settings.valid_for, records.valid_until) {
            (None, None) => true,
            (Some(valid_for), Some(until)) => until.saturating_sub(self.host.now()) > valid_for / 2,
            _ => false,
        };
        lasts && records.key == self.fingerprint
    }

    /// The indices that the suite has from now on: of every component and architecture that it had or that is asked for.
    fn names(&self, existing: &Existing<'_>, needed: &BTreeSet<IndexName>) -> BTreeSet<IndexName> {
        let before = existing.names().into_iter();
        let before: BTreeSet<_> = before.chain(needed.iter().cloned()).collect();
        let mut components: BTreeSet<_> = before.iter().map(|name| name.component().to_owned()).collect();
        components.insert(self.settings.component.clone());
        let mut architectures: BTreeSet<_> = self.settings.architectures.iter().cloned().collect();
        architectures.extend(before.iter().filter_map(|name| match name {
            IndexName::Binary { architecture, .. } if architecture != "all" => Some(architecture.clone()),
            _ => None,
        }));
        let mut names = BTreeSet::new();
        for component in components {
            let has_installer = |name: &IndexName| matches!(name, IndexName::Binary { component: of, installer: true, .. } if *of == component);
            let installer = before.iter().any(has_installer);
            for architecture in &architectures {
                for installer in if installer { &[false, true][..] } else { &[false] } {
                    let (component, architecture) = (component.clone(), architecture.clone());
                    names.insert(IndexName::Binary {
                        component,
                        architecture,
                        installer: *installer,
                    });
                }
            }
            names.insert(IndexName::Source { component });
        }
        names
    }

    /// Change an index. None if it stays as it is, which is known without reading it if nothing is to happen to it.
    fn index(
        &self,
        existing: &Existing<'_>,
        name: &IndexName,
        edits: Edits,
        told: &mut Told,
    ) -> Result<Option<Changed>, Failure> {
        let path = existing.path(&name.to_string());
        if !existing.lists(name) {
            let mut index = self.adopt(existing, name)?;
            edits.apply(&mut index)?;
            let index = self.published_index(name, index, told);
            return self.write_whole(&path, &index).map(Changed::anew);
        }
        let edits = self.published_edits(name, edits, told);
        let converts = existing.splits(name) != self.splits(name);
        let offered = existing.offers(&name.to_string(), self.settings) && !converts;
        if edits.is_empty() && offered {
            return Ok(None);
        }
        let sound = self.pieces(existing, name)?.filter(|_| !edits.rewrite && !converts);
        if let Some(text) = sound {
            let mut published = Published::new(self, existing, name);
            let difference = recent::edit(&text.pieces, edits, self.sizes, &mut published)?;
            if published.spliced.is_none() && !offered {
                published.splice(Vec::new())?;
            }
            return Ok(published.spliced.map(|spliced| Changed {
                spliced,
                difference: Some(difference.unwrap_or_default()),
            }));
        }
        let listed = existing.listed(name);
        let mut index = match existing.index(name) {
            // Whoever wants it anew says all that is to be in it.
            Err(_) if edits.rewrite => Index::default(),
            index => index?.unwrap_or_default(),
        };
        let digest = self.host.digest(index.to_string().as_bytes());
        if listed.is_none_or(|listed| listed.sha256 != digest.sha256) {
            self.host.warn(&format!(
                "{path} is not what its Release says: another program changed it; its packages stay"
            ));
        }
        if converts {
            return self.convert(existing, name, edits, told);
        }
        edits.apply(&mut index)?;
        let index = self.published_index(name, index, told);
        self.write_whole(&path, &index).map(Changed::anew)
    }

    /// The pieces of an index that distbot made, if nothing else changed it.
    pub(crate) fn pieces(&self, existing: &Existing<'_>, name: &IndexName) -> Result<Option<Text>, Failure> {
        let text = self.transaction.text(&existing.path(&name.to_string()))?;
        let listed = existing.listed(name);
        Ok(text.filter(|text| listed.is_some_and(|listed| listed.sha256 == text.checksum.sha256)))
    }

    /// The packages of some names that an index has, or will have when distbot writes it for the first time.
    pub(crate) fn packages(
        &self,
        existing: &Existing<'_>,
        name: &IndexName,
        packages: &BTreeSet<&str>,
    ) -> Result<Index, Failure> {
        if !existing.lists(name) {
            return Ok(self.adopt(existing, name)?.only(packages));
        }
        match self.pieces(existing, name)? {
            Some(text) => recent::only(&text.pieces, packages, &mut Published::new(self, existing, name)),
            None => Ok(existing.index(name)?.unwrap_or_default().only(packages)),
        }
    }

    /// Write an index from scratch, whatever is there.
    pub(crate) fn write_whole(&self, path: &str, index: &Index) -> Result<Spliced, Failure> {
        // Others publish it uncompressed as well.
        self.transaction.remove(path)?;
        let count = self.transaction.text(path)?.map_or(0, |text| text.pieces.len());
        let splice = Splice {
            first: 0,
            count,
            pieces: pieces::cut(index, self.sizes.piece),
        };
        self.transaction.splice(path, self.settings.extras, vec![splice])
    }

    /// An index that distbot writes for the first time: with what another program's had, and the packages for all
    /// architectures that are in those beside it.
    fn adopt(&self, existing: &Existing<'_>, name: &IndexName) -> Result<Index, Failure> {
        let mut index = existing.whole(name)?.unwrap_or_default();
        let IndexName::Binary {
            component, installer, ..
        } = name
        else {
            return Ok(index);
        };
        for sibling in existing.names() {
            let beside = matches!(&sibling, IndexName::Binary { component: c, installer: i, .. } if c == component && i == installer);
            if !beside || sibling == *name {
                continue;
            }
            for entry in existing.whole(&sibling)?.unwrap_or_default().entries() {
                if entry.architecture == "all" {
                    index.insert(entry.clone())?;
                }
            }
        }
        Ok(index)
    }

    /// The suite's new `Release`. Writes the files that it lists and that changed.
    fn release(
        &self,
        existing: &Existing<'_>,
        names: &BTreeSet<IndexName>,
        texts: &BTreeMap<String, Spliced>,
    ) -> Result<Release, Failure> {
        let before = existing.release.as_ref();
        let suite = match (&self.settings.suite, before) {
            (Some(suite), _) => Some(suite.clone()),
            // apt asks its user when it changes.
            (None, Some(before)) => before.suite.clone(),
            (None, None) => Some(self.codename.to_owned()),
        };
        let architectures: BTreeSet<_> = names
            .iter()
            .filter_map(|name| match name {
                IndexName::Binary { architecture, .. } => Some(architecture.clone()),
                IndexName::Source { .. } => None,
            })
            .collect();
        let components: BTreeSet<_> = names.iter().map(|name| name.component().to_owned()).collect();
        let mut release = Release {
            origin: self.settings.origin.clone(),
            label: self.settings.label.clone(),
            suite,
            codename: self.codename.to_owned(),
            architectures: architectures.into_iter().collect(),
            components: components.into_iter().collect(),
            description: self.settings.description.clone(),
            automatic: self.settings.automatic,
            files: match (&existing.records, before) {
                (Some(_), Some(before)) => before.files.clone(),
                _ => BTreeMap::new(),
            },
        };
        let unwanted = |path: &str| {
            (!self.settings.contents && ContentsName::is_one(path))
                || (!self.settings.split_descriptions && TranslationName::is_one(path))
        };
        let (lists, files) = release.files.into_iter().partition(|(path, _)| unwanted(path));
        release.files = files;
        let lists: BTreeMap<String, Listed> = lists;
        for path in lists.keys() {
            // Clients that have the Release before still find them by their digests.
            self.transaction.remove(&existing.path(path))?;
        }
        for (name, Spliced { text, files }) in texts {
            for suffix in SUFFIXES {
                release.files.remove(&format!("{name}{suffix}"));
            }
            // Clients check what they have unpacked, though no one offers it: as in Debian's own archive.
            release.files.insert(name.clone(), text.clone().into());
            for (suffix, checksum) in files {
                let path = format!("{name}{suffix}");
                let listed = checksum.clone().into();
                self.link_by_hash(existing, &path, &listed)?;
                release.files.insert(path, listed);
            }
        }
        for name in names {
            let architecture = match name {
                IndexName::Binary { architecture, .. } => architecture,
                IndexName::Source { .. } => "source",
            };
            let text = release.of_index(name.component(), architecture);
            let path = format!("{}/Release", name.directory());
            let sha256 = self.host.digest(text.as_bytes()).sha256;
            let listed = release.files.get(&path).filter(|listed| listed.sha256 == sha256);
            let names = listed.map(|listed| listed.by_hash(&path).chain([path.clone()]).collect::<Vec<_>>());
            let has_all = |names: Vec<String>| {
                let mut names = names.iter();
                names.try_fold(true, |all, name| Ok::<_, Failure>(all && existing.has(name)?))
            };
            if !names.map_or(Ok(false), has_all)? {
                self.write_listed(existing, &mut release, &path, text.as_bytes())?;
            }
        }
        for (name, path) in &existing.foreign {
            let ours = names.contains(name)
                && texts.get(&name.to_string()).is_some_and(|spliced| {
                    let published = |suffix: &str| existing.path(&format!("{name}{suffix}"));
                    spliced.files.iter().any(|(suffix, _)| *path == published(suffix))
                });
            if !ours {
                self.transaction.remove(path)?;
            }
        }
        self.strengthen(existing, &mut release)?;
        Ok(release)
    }

    /// Write a small file that the `Release` lists, under its own name and under that of its digest.
    fn write_listed(
        &self,
        existing: &Existing<'_>,
        release: &mut Release,
        path: &str,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let Digest {
            size, sha256, sha512, ..
        } = self.host.digest(bytes);
        let listed = Listed { size, sha256, sha512 };
        self.transaction.write(&existing.path(path), bytes)?;
        self.link_by_hash(existing, path, &listed)?;
        release.files.insert(path.to_owned(), listed);
        Ok(())
    }

    /// Write the signed `Release`, and forget the generations of indices that no client needs.
    fn sign(&self, existing: &Existing<'_>, release: &Release) -> Result<Vec<String>, Failure> {
        let now = self.host.now();
        let valid_until = self.settings.valid_for.map(|valid_for| now.saturating_add(valid_for));
        let until = valid_until.map(|until| self.host.rfc5322(until));
        let text = release.dated(&self.host.rfc5322(now), until.as_deref());
        let (clear, detached) = self.signatures(text.as_bytes())?;
        // `InRelease` at the very end: it is what apt asks for, and by it finds the indices under their digests.
        let files = [
            ("Release.gpg", detached),
            ("Release", text.into_bytes()),
            ("InRelease", clear),
        ];
        let mut last = Vec::new();
        for (file, bytes) in files {
            let path = existing.path(file);
            self.transaction.write(&path, &bytes)?;
            last.push(path);
        }
        let mut records = existing.records.clone().unwrap_or_default();
        records.limit_superseded(self.settings.superseded_limit);
        let before = match (&existing.records, &existing.release) {
            (Some(_), Some(before)) => before.by_hash(),
            _ => Files::new(),
        };
        for file in records.supersede(&before, &release.by_hash(), now) {
            self.transaction.remove(&existing.path(&file))?;
        }
        records.key = self.fingerprint.to_owned();
        records.older_keys = self.older_keys()?;
        records.valid_until = valid_until;
        records.valid_for = self.settings.valid_for;
        self.write_records(&records)?;
        Ok(last)
    }

    /// Forget the generations of indices that no client needs any more, though nothing else happens. True if there are any.
    ///
    /// # Errors
    /// The host's.
    pub fn expire(&self) -> Result<bool, Failure> {
        let existing = Existing::read(self.transaction, self.codename)?;
        let (Some(mut records), Some(release)) = (existing.records.clone(), &existing.release) else {
            return Ok(false);
        };
        records.limit_superseded(self.settings.superseded_limit);
        let expired = records.expire(&release.by_hash(), self.host.now());
        for file in &expired {
            self.transaction.remove(&existing.path(file))?;
        }
        if !expired.is_empty() {
            self.write_records(&records)?;
        }
        Ok(!expired.is_empty())
    }

    fn write_records(&self, records: &Records) -> Result<(), Failure> {
        let json = serde_json::to_vec(records).map_err(|error| Failure::Later(error.to_string()))?;
        self.transaction.write(&records_path(self.codename), &json)
    }
}

impl From<Checksum> for Listed {
    fn from(Checksum { size, sha256 }: Checksum) -> Self {
        let sha512 = None;
        Self { size, sha256, sha512 }
    }
}
