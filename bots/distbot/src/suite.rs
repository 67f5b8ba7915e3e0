//! Bringing a suite up to date: its indices with the new packages in them, and the signed `Release` over all of them.

use std::collections::{BTreeMap, BTreeSet};

use foundry_sdk::site::{Compression, Digest};

use crate::binary::Binary;
use crate::config::Config;
use crate::existing::{Existing, records_path};
use crate::failure::Failure;
use crate::generations::Records;
use crate::host::{Host, Transaction};
use crate::index::{Conflict, Entry, Index, IndexName};
use crate::release::{Listed, Release};
use crate::source::Source;

/// How an index is published: as it is, for those who look, and compressed, for apt.
const COMPRESSIONS: [(&str, Compression); 2] = [(".gz", Compression::Gzip), (".zst", Compression::Zstd)];

/// A package that goes into a suite; its files are in the pool.
#[derive(Debug)]
pub enum Addition {
    /// A binary package.
    Binary(Binary, Digest),
    /// A source package, with the digest of its .dsc.
    Source(Source, Digest),
}

impl Addition {
    fn belongs_to(&self, name: &IndexName) -> bool {
        match self {
            Self::Binary(binary, _) => binary.belongs_to(name),
            Self::Source(source, _) => source.belongs_to(name),
        }
    }

    fn entry(&self, component: &str) -> Entry {
        match self {
            Self::Binary(binary, digest) => binary.entry(component, digest),
            Self::Source(source, digest) => source.entry(component, digest),
        }
    }

    fn installer(&self) -> bool {
        matches!(self, Self::Binary(binary, _) if binary.installer)
    }
}

/// A change of one suite, inside of a transaction.
pub struct Update<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// The repository's open transaction.
    pub transaction: &'a dyn Transaction,
    /// What the operator wants.
    pub config: &'a Config,
    /// Fingerprint of the key.
    pub fingerprint: &'a str,
    /// The suite.
    pub codename: &'a str,
}

impl Update<'_> {
    /// Add packages. Returns the files that the transaction has to end with; none if the suite is as it should be.
    ///
    /// # Errors
    /// [`Failure`] if nothing may be published.
    pub fn add(&self, additions: &[Addition]) -> Result<Vec<String>, Failure> {
        let existing = Existing::read(self.transaction, self.codename)?;
        let names = self.names(&existing, additions);
        let indices = self.indices(&existing, &names, additions)?;
        let release = self.release(&existing, &names, &indices)?;
        let unchanged = existing.records.as_ref().is_some_and(|records| self.is_fresh(records))
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
        let lasts = match (self.config.valid_for, records.valid_until) {
            (None, None) => true,
            (Some(valid_for), Some(until)) => until.saturating_sub(self.host.now()) > valid_for / 2,
            _ => false,
        };
        lasts && records.key == self.fingerprint
    }

    /// The indices that the suite has from now on: of every component and architecture that it had or that is asked for.
    fn names(&self, existing: &Existing<'_>, additions: &[Addition]) -> BTreeSet<IndexName> {
        let listed = existing.release.iter().flat_map(|release| release.files.keys());
        let listed: BTreeSet<_> = listed.filter_map(|path| IndexName::from_path(path)).collect();
        let before: BTreeSet<_> = listed.into_iter().chain(existing.foreign_names()).collect();
        let mut components: BTreeSet<_> = before.iter().map(|name| name.component().to_owned()).collect();
        components.insert(self.config.component.clone());
        let mut architectures: BTreeSet<_> = self.config.architectures.iter().cloned().collect();
        architectures.extend(before.iter().filter_map(|name| match name {
            IndexName::Binary { architecture, .. } if architecture != "all" => Some(architecture.clone()),
            _ => None,
        }));
        let mut names = BTreeSet::new();
        for component in components {
            let has_installer = |name: &IndexName| matches!(name, IndexName::Binary { component: of, installer: true, .. } if *of == component);
            let gets_installer = component == self.config.component && additions.iter().any(Addition::installer);
            let installer = gets_installer || before.iter().any(has_installer);
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

    /// The indices that change. The others stay as they are, unread: cost follows the change.
    fn indices(
        &self,
        existing: &Existing<'_>,
        names: &BTreeSet<IndexName>,
        additions: &[Addition],
    ) -> Result<BTreeMap<IndexName, Index>, Failure> {
        let mut changed = BTreeMap::new();
        for name in names {
            let additions = additions
                .iter()
                .filter(|addition| *name.component() == self.config.component && addition.belongs_to(name));
            let entries: Vec<_> = additions
                .map(|addition| addition.entry(&self.config.component))
                .collect();
            let listed = existing.lists(name);
            if listed && entries.is_empty() {
                continue;
            }
            let (mut index, mut rewrite) = if listed {
                self.load(existing, name)?
            } else {
                (self.adopt(existing, name)?, true)
            };
            for entry in entries {
                rewrite |= index.insert(entry)?;
            }
            if rewrite {
                changed.insert(name.clone(), index);
            }
        }
        Ok(changed)
    }

    /// An index that distbot wrote, and whether it has to be written again because someone else changed it.
    fn load(&self, existing: &Existing<'_>, name: &IndexName) -> Result<(Index, bool), Failure> {
        let index = existing.index(name)?.unwrap_or_default();
        let digest = self.host.digest(index.to_string().as_bytes());
        let listed = existing
            .release
            .as_ref()
            .and_then(|release| release.files.get(&name.to_string()));
        let touched = listed.is_none_or(|listed| listed.sha256 != digest.sha256);
        if touched {
            let path = existing.path(&name.to_string());
            self.host.warn(&format!(
                "{path} is not what its Release says: another program changed it; its packages stay"
            ));
        }
        Ok((index, touched))
    }

    /// An index that distbot writes for the first time: with what another program's had, and the packages for all
    /// architectures that are in those beside it.
    fn adopt(&self, existing: &Existing<'_>, name: &IndexName) -> Result<Index, Failure> {
        let mut index = if existing.records.is_none() {
            existing.index(name)?.unwrap_or_default()
        } else {
            Index::default()
        };
        let IndexName::Binary {
            component, installer, ..
        } = name
        else {
            return Ok(index);
        };
        let listed = existing.release.iter().flat_map(|release| release.files.keys());
        let siblings: BTreeSet<_> = listed
            .filter_map(|path| IndexName::from_path(path))
            .chain(existing.foreign_names())
            .collect();
        for sibling in siblings {
            let beside = matches!(&sibling, IndexName::Binary { component: c, installer: i, .. } if c == component && i == installer);
            if !beside || sibling == *name {
                continue;
            }
            for entry in existing.index(&sibling)?.unwrap_or_default().entries() {
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
        indices: &BTreeMap<IndexName, Index>,
    ) -> Result<Release, Failure> {
        let before = existing.release.as_ref();
        let suite = match (&self.config.suite, before) {
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
            origin: self.config.origin.clone(),
            label: self.config.label.clone(),
            suite,
            codename: self.codename.to_owned(),
            architectures: architectures.into_iter().collect(),
            components: components.into_iter().collect(),
            description: self.config.description.clone(),
            files: match (&existing.records, before) {
                (Some(_), Some(before)) => before.files.clone(),
                _ => BTreeMap::new(),
            },
        };
        for (name, index) in indices {
            let text = index.to_string();
            self.write_listed(existing, &mut release, &name.to_string(), text.as_bytes())?;
            for (suffix, compression) in COMPRESSIONS {
                let compressed = self.host.compress(compression, text.as_bytes());
                self.write_listed(existing, &mut release, &format!("{name}{suffix}"), &compressed)?;
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
            if release.files.get(&path).is_none_or(|listed| listed.sha256 != sha256) {
                self.write_listed(existing, &mut release, &path, text.as_bytes())?;
            }
        }
        for (name, path) in &existing.foreign {
            let ours = names.contains(name)
                && ["", ".gz", ".zst"]
                    .iter()
                    .any(|suffix| *path == existing.path(&format!("{name}{suffix}")));
            if !ours {
                self.transaction.remove(path)?;
            }
        }
        Ok(release)
    }

    /// Write a file that the `Release` lists, under its own name and under that of its digest.
    fn write_listed(
        &self,
        existing: &Existing<'_>,
        release: &mut Release,
        path: &str,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let Digest { size, sha256, .. } = self.host.digest(bytes);
        self.transaction.write(&existing.path(path), bytes)?;
        self.transaction.write(&existing.path(&by_hash(path, &sha256)), bytes)?;
        release.files.insert(path.to_owned(), Listed { size, sha256 });
        Ok(())
    }

    /// Write the signed `Release`, and forget the generations of indices that no client needs.
    fn sign(&self, existing: &Existing<'_>, release: &Release) -> Result<Vec<String>, Failure> {
        let now = self.host.now();
        let valid_until = self.config.valid_for.map(|valid_for| now.saturating_add(valid_for));
        let until = valid_until.map(|until| self.host.rfc5322(until));
        let text = release.dated(&self.host.rfc5322(now), until.as_deref());
        let key = &self.config.key;
        // `InRelease` at the very end: it is what apt asks for, and by it finds the indices under their digests.
        let files = [
            ("Release.gpg", self.host.detach_sign(key, text.as_bytes())?),
            ("Release", text.clone().into_bytes()),
            ("InRelease", self.host.clear_sign(key, text.as_bytes())?),
        ];
        let mut last = Vec::new();
        for (file, bytes) in files {
            let path = existing.path(file);
            self.transaction.write(&path, &bytes)?;
            last.push(path);
        }
        let mut records = existing.records.clone().unwrap_or_default();
        let before = match (&existing.records, &existing.release) {
            (Some(_), Some(before)) => by_hash_files(before),
            _ => BTreeSet::new(),
        };
        for file in records.supersede(&before, &by_hash_files(release), now) {
            self.transaction.remove(&existing.path(&file))?;
        }
        records.key = self.fingerprint.to_owned();
        records.valid_until = valid_until;
        let json = serde_json::to_vec(&records).map_err(|error| Failure::Later(error.to_string()))?;
        self.transaction.write(&records_path(self.codename), &json)?;
        Ok(last)
    }
}

fn by_hash_files(release: &Release) -> BTreeSet<String> {
    release
        .files
        .iter()
        .map(|(path, listed)| by_hash(path, &listed.sha256))
        .collect()
}

/// Where a file is found by its digest.
fn by_hash(path: &str, sha256: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/by-hash/SHA256/{sha256}"),
        None => format!("by-hash/SHA256/{sha256}"),
    }
}

impl From<Conflict> for Failure {
    fn from(Conflict { what, existing, new }: Conflict) -> Self {
        Self::Conflict { what, existing, new }
    }
}
