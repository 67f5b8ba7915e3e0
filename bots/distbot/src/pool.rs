//! A build's files on their way into the pool, by one rule: the first published file of a name stays. Another build of the
//! same source may bring other bytes under that name, which are left out and told; another source may not.

use std::collections::{BTreeMap, BTreeSet};

use apt_repository::addition::Addition;
use apt_repository::binary::Binary;
use apt_repository::deb::{self, DebError};
use apt_repository::failure::Failure;
use apt_repository::host::{Digest, Transaction as _};
use apt_repository::pool;
use apt_repository::provenance::{Evidence, Provenance, SourceKey, Standing, is_of_version};
use apt_repository::settings::Settings;
use apt_repository::source::Source;
use foundry_sdk::Artifact;
use foundry_sdk::events::{Kept, Sign};

use crate::build::Build;
use crate::bytes::Windowed;
use crate::guest::{Placed, SiteTransaction};
use crate::vouch::{Doubt, Vouched};

/// What came of a build's files.
pub(crate) struct Pooled {
    /// What the suites list: of each file the bytes that the pool has.
    pub(crate) additions: Vec<Addition>,
    /// Files that stayed as they were published before, though the build has others.
    pub(crate) kept: Vec<Kept>,
    /// How many files are new in the pool.
    pub(crate) new_files: usize,
}

/// What a file is to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Binary,
    Dsc,
    /// What a .dsc lists. Its digest is promised there.
    Listed,
}

/// A file that a build has for the pool.
struct Offer {
    path: String,
    artifact: Artifact,
    /// By what an index has it.
    package: String,
    source: SourceKey,
    kind: Kind,
}

/// Add a build's files to the pool, all at once.
///
/// # Errors
/// [`Failure`] if one is there with other bytes and another source, or a source package is not complete.
pub(crate) fn add(
    build: &Build,
    transaction: &SiteTransaction,
    settings: &Settings,
    sign: &Sign,
) -> Result<Pooled, Failure> {
    let offers = offers(build, transaction, settings)?;
    let known = Known::read(build, transaction, settings, sign)?;
    let files: Vec<_> = offers
        .iter()
        .map(|offer| (offer.path.clone(), offer.artifact.clone()))
        .collect();
    let placed = transaction.add_missing(&files)?;
    if placed.len() != offers.len() {
        return Err(Failure::Later("the host did not add all files".to_owned()));
    }
    let differing = offers.iter().zip(&placed);
    let differing = differing.filter(|(offer, placed)| placed.digest.sha256 != offer.artifact.sha256);
    let doubts = differing.map(|(offer, placed)| Doubt {
        path: &offer.path,
        package: &offer.package,
        found: &placed.digest.sha256,
        offered: &offer.artifact.sha256,
    });
    let vouched = Vouched::of(doubts.collect(), known.record.as_ref(), transaction, settings)?;
    let kept = judge(&offers, &placed, &known, &vouched, &sign.commit.commit)?;
    known.note(transaction, settings, &offers, &placed, &sign.commit.commit)?;
    let mut sha512s = vec![None; offers.len()];
    if settings.sha512 {
        let paths: Vec<_> = files.into_iter().map(|(path, _)| path).collect();
        sha512s = transaction.sha512(&paths)?;
    }
    let new_files = placed.iter().filter(|placed| placed.is_new).count();
    let mut digests = BTreeMap::new();
    for ((offer, placed), sha512) in offers.iter().zip(placed).zip(sha512s) {
        digests.insert(
            offer.path.as_str(),
            Digest {
                sha512,
                ..placed.digest
            },
        );
    }
    Ok(Pooled {
        additions: additions(build, transaction, settings, &digests)?,
        kept,
        new_files,
    })
}

/// Its files and where they go: packages, source packages, and what those list.
fn offers(build: &Build, transaction: &SiteTransaction, settings: &Settings) -> Result<Vec<Offer>, Failure> {
    let component = &settings.component;
    let mut offers = Vec::with_capacity(build.binaries.len());
    for (binary, artifact) in &build.binaries {
        offers.push(Offer {
            path: binary.path(settings.component_of(binary)),
            artifact: artifact.clone(),
            package: binary.package.clone(),
            source: source_of(binary),
            kind: Kind::Binary,
        });
    }
    for (source, dsc) in &build.sources {
        offers.push(Offer {
            path: dsc_path(source, component),
            artifact: dsc.clone(),
            package: source.package.clone(),
            source: source.into(),
            kind: Kind::Dsc,
        });
    }
    for (source, _) in &build.sources {
        for (path, artifact) in listed(build, transaction, component, source)? {
            offers.push(Offer {
                path,
                artifact,
                package: source.package.clone(),
                source: source.into(),
                kind: Kind::Listed,
            });
        }
    }
    Ok(offers)
}

fn source_of(binary: &Binary) -> SourceKey {
    SourceKey {
        package: binary.source.clone(),
        version: binary.source_version.clone(),
    }
}

fn dsc_path(source: &Source, component: &str) -> String {
    format!("{}/{}", source.directory(component), source.dsc)
}

/// What a source package's .dsc lists, and where it goes.
fn listed(
    build: &Build,
    transaction: &SiteTransaction,
    component: &str,
    source: &Source,
) -> Result<Vec<(String, Artifact)>, Failure> {
    let directory = source.directory(component);
    let mut files = Vec::new();
    for (name, listed) in &source.files {
        let path = format!("{directory}/{name}");
        let file = match build.files.get(name) {
            Some(file) if file.sha256 != listed.sha256 || file.size != listed.size => {
                let why = format!(
                    "it lists {name} with SHA-256 {}, the build made {}",
                    listed.sha256, file.sha256
                );
                return Err(Failure::bad_file(&source.dsc, why));
            }
            Some(file) => file.clone(),
            // An upstream tarball that came with an earlier revision.
            None if transaction.list(&directory)?.contains(&path) => Artifact {
                name: name.clone(),
                size: listed.size,
                sha256: listed.sha256.clone(),
                media_type: "application/octet-stream".to_owned(),
            },
            None => {
                return Err(Failure::bad_file(
                    &source.dsc,
                    format!("it lists {name}, which neither the build nor the repository has"),
                ));
            }
        };
        files.push((path, file));
    }
    Ok(files)
}

/// What is known of the build's sources.
struct Known {
    standings: BTreeMap<SourceKey, Standing>,
    /// The source that the event is about, with its record if one is in force.
    own: SourceKey,
    record: Option<Provenance>,
}

impl Known {
    fn read(build: &Build, transaction: &SiteTransaction, settings: &Settings, sign: &Sign) -> Result<Self, Failure> {
        let own = SourceKey {
            package: sign.source.clone(),
            version: sign.version.clone(),
        };
        let published = files_of(transaction, settings, &own)?;
        let record = match Provenance::path(&settings.component, &own) {
            Some(path) => Provenance::read(transaction, &path)?.filter(|record| record.is_in_force(&published)),
            None => None,
        };
        let mut standings = BTreeMap::new();
        let mut sources: BTreeMap<SourceKey, Option<&Source>> = BTreeMap::from([(own.clone(), None)]);
        sources.extend(build.sources.iter().map(|(source, _)| (source.into(), Some(source))));
        for (key, source) in sources {
            let is_own = key == own;
            let dsc = match source {
                Some(source) => Some((dsc_path(source, &settings.component), source.dsc.clone())),
                None => dsc_among(&published, &own),
            };
            let there = match dsc {
                Some((path, name)) => published_source(transaction, &path, &name)?,
                None => None,
            };
            let evidence = Evidence {
                own: source,
                published: there.as_ref(),
                record: record.as_ref().filter(|_| is_own),
                commit: is_own.then_some(sign.commit.commit.as_str()),
                has_files: !is_own || published.iter().any(|path| is_of_version(path, &own.version)),
            };
            standings.insert(key, evidence.standing());
        }
        Ok(Self { standings, own, record })
    }

    fn standing(&self, source: &SourceKey) -> &Standing {
        self.standings.get(source).unwrap_or(&Standing::Unknown)
    }

    /// Write down which commit the source was built from, if that is known for certain: nothing was published of it before,
    /// or what was is of the same source.
    fn note(
        &self,
        transaction: &SiteTransaction,
        settings: &Settings,
        offers: &[Offer],
        placed: &[Placed],
        commit: &str,
    ) -> Result<(), Failure> {
        let known = matches!(self.standing(&self.own), Standing::New | Standing::Same);
        let Some(path) = Provenance::path(&settings.component, &self.own).filter(|_| known) else {
            return Ok(());
        };
        let mut record = self.record.clone().unwrap_or_else(|| Provenance {
            commit: commit.to_owned(),
            files: BTreeSet::new(),
            digests: BTreeMap::new(),
        });
        // A file that a .dsc lists may be of an earlier version too.
        let files = offers
            .iter()
            .zip(placed)
            .filter(|(offer, _)| offer.source == self.own && offer.kind != Kind::Listed);
        let files = files.map(|(offer, placed)| (offer.path.clone(), placed.digest.sha256.clone()));
        if record.note(files) {
            let json = serde_json::to_vec(&record).map_err(|error| Failure::Later(error.to_string()))?;
            transaction.write(&path, &json)?;
        }
        Ok(())
    }
}

/// The published files of a source, in each component that its packages go to.
fn files_of(
    transaction: &SiteTransaction,
    settings: &Settings,
    source: &SourceKey,
) -> Result<BTreeSet<String>, Failure> {
    let mut files = BTreeSet::new();
    if Provenance::path(&settings.component, source).is_none() {
        return Ok(files);
    }
    for component in [Some(&settings.component), settings.debug_component.as_ref()]
        .into_iter()
        .flatten()
    {
        files.extend(transaction.list(&pool::directory(component, &source.package))?);
    }
    Ok(files)
}

/// The .dsc of a source among published files: its path and name.
fn dsc_among(published: &BTreeSet<String>, source: &SourceKey) -> Option<(String, String)> {
    published.iter().find_map(|path| {
        let (_, name) = path.rsplit_once('/')?;
        let of_source = name.strip_prefix(source.package.as_str())?.starts_with('_');
        (of_source && name.ends_with(".dsc") && is_of_version(path, &source.version))
            .then(|| (path.clone(), name.to_owned()))
    })
}

/// A published source package; `None` if there is none, or it can't be read: then it proves nothing.
fn published_source(transaction: &SiteTransaction, path: &str, name: &str) -> Result<Option<Source>, Failure> {
    let dsc = transaction.read(path)?;
    Ok(dsc.and_then(|dsc| Source::new(dsc, name).ok()))
}

/// Which files stay as they were published. An error if one may not.
fn judge(
    offers: &[Offer],
    placed: &[Placed],
    known: &Known,
    vouched: &Vouched,
    commit: &str,
) -> Result<Vec<Kept>, Failure> {
    let mut kept = Vec::new();
    let differs = |(offer, placed): &(&Offer, &Placed)| placed.digest.sha256 != offer.artifact.sha256;
    let conflict = |offer: &Offer, placed: &Placed| Failure::Conflict {
        what: offer.path.clone(),
        existing: placed.digest.sha256.clone(),
        new: offer.artifact.sha256.clone(),
    };
    // Of another source, what says so first is its .dsc.
    let mut sources = offers.iter().zip(placed).filter(|(offer, _)| offer.kind == Kind::Dsc);
    if let Some((offer, placed)) = sources.find(|(offer, _)| *known.standing(&offer.source) == Standing::OtherSource) {
        return Err(conflict(offer, placed));
    }
    for (offer, placed) in offers.iter().zip(placed) {
        let differs = differs(&(offer, placed));
        match known.standing(&offer.source) {
            // The same bytes need no proof.
            _ if !differs && !placed.is_new => {}
            Standing::OtherCommit { published } => {
                return Err(Failure::OtherCommit {
                    source_package: offer.source.package.clone(),
                    version: offer.source.version.clone(),
                    published: published.clone(),
                    new: commit.to_owned(),
                });
            }
            Standing::Same if differs && offer.kind != Kind::Listed => {
                vouched.require(&offer.path)?;
                kept.push(Kept {
                    name: offer.artifact.name.clone(),
                    published: placed.digest.sha256.clone(),
                    offered: offer.artifact.sha256.clone(),
                });
            }
            _ if differs => return Err(conflict(offer, placed)),
            _ => {}
        }
    }
    Ok(kept)
}

/// What the suites are to list, each with what the pool has.
fn additions(
    build: &Build,
    transaction: &SiteTransaction,
    settings: &Settings,
    digests: &BTreeMap<&str, Digest>,
) -> Result<Vec<Addition>, Failure> {
    let digest = |path: &str| {
        let digest = digests.get(path).cloned();
        digest.ok_or_else(|| Failure::Later(format!("the host did not add {path}")))
    };
    let mut additions = Vec::with_capacity(build.binaries.len());
    for (binary, artifact) in &build.binaries {
        let path = binary.path(settings.component_of(binary));
        let digest = digest(&path)?;
        let listed = if digest.sha256 == artifact.sha256 {
            binary.clone()
        } else {
            published_binary(transaction, &path, binary, &digest, artifact)?
        };
        additions.push(Addition::Binary(listed, digest));
    }
    for (source, _) in &build.sources {
        let mut source = source.clone();
        let directory = source.directory(&settings.component);
        for (name, file) in &mut source.files {
            let found = digest(&format!("{directory}/{name}"))?;
            if let Some(why) = file.contradicted(&found) {
                return Err(Failure::bad_file(&source.dsc, format!("it lists {name} with {why}")));
            }
            file.sha512 = found.sha512;
        }
        let digest = digest(&dsc_path(&source, &settings.component))?;
        additions.push(Addition::Source(source, digest));
    }
    Ok(additions)
}

/// A package that stays as it is published: an index describes the bytes that clients get.
fn published_binary(
    transaction: &SiteTransaction,
    path: &str,
    offered: &Binary,
    published: &Digest,
    artifact: &Artifact,
) -> Result<Binary, Failure> {
    let unreadable = |why: String| {
        Failure::Repository(format!(
            "cannot read {path}, which is published already: {why} (see foundry-host repo check)"
        ))
    };
    let mut bytes = Windowed::new(&artifact.name, published.size, |offset, length| {
        transaction.read_part(path, offset, length)
    });
    let control = deb::control(&mut bytes).map_err(|error| match error {
        DebError::Read(Failure::BadFile { why, .. }) | DebError::Format(why) => unreadable(why),
        DebError::Read(failure) => failure,
    })?;
    let binary = Binary::new(&control, &artifact.name).map_err(|error| unreadable(error.to_string()))?;
    // One name can stand for two versions that differ in their epoch, or for packages of two sources.
    if binary.version == offered.version && source_of(&binary) == source_of(offered) {
        Ok(binary)
    } else {
        Err(Failure::Conflict {
            what: path.to_owned(),
            existing: published.sha256.clone(),
            new: artifact.sha256.clone(),
        })
    }
}
