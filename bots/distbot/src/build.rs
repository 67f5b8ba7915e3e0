//! The packages of a build: what an event brings, read as hostile input.

use std::collections::BTreeMap;

use apt_repository::addition::Addition;
use apt_repository::binary::Binary;
use apt_repository::deb::{self, DebError};
use apt_repository::failure::Failure;
use apt_repository::host::Transaction as _;
use apt_repository::settings::Settings;
use apt_repository::source::{MAX_DSC, Source};
use foundry_sdk::events::{Dist, Package, Sign};
use foundry_sdk::{Artifact, artifacts};

use crate::announcement;
use crate::config::Config;
use crate::guest::SiteTransaction;

/// Least bytes to read of an artifact at once: most packages' control files are in the first ones.
const WINDOW: u64 = 64 * 1024;

/// Most bytes that the host gives at once.
const MAX_READ: u64 = 16 * 1024 * 1024;

/// The packages of a build, read but not yet published.
pub struct Build {
    binaries: Vec<(Binary, Artifact)>,
    sources: Vec<(Source, Artifact)>,
    /// Every file of the event, by name.
    files: BTreeMap<String, Artifact>,
}

impl Build {
    /// Read the packages of an event.
    ///
    /// # Errors
    /// [`Failure`] if one of them can't be published.
    pub fn read(config: &Config, sign: &Sign) -> Result<Self, Failure> {
        let mut build = Self {
            binaries: Vec::new(),
            sources: Vec::new(),
            files: BTreeMap::new(),
        };
        for artifact in &sign.artifacts {
            let artifact = Artifact::from(artifact.clone());
            match build.files.insert(artifact.name.clone(), artifact.clone()) {
                Some(other) if other.sha256 != artifact.sha256 => {
                    return Err(Failure::bad_file(
                        &artifact.name,
                        "the event has two files of this name",
                    ));
                }
                Some(_) => continue,
                None => {}
            }
            match artifact.name.rsplit_once('.').map(|(_, extension)| extension) {
                Some("deb" | "udeb") => {
                    let binary = read_binary(&artifact)?;
                    check_served(config, &binary, &artifact.name)?;
                    build.binaries.push((binary, artifact));
                }
                Some("dsc") => build.sources.push((read_source(&artifact)?, artifact)),
                // The .changes and .buildinfo describe the build; the sources' files come with their .dsc.
                _ => {}
            }
        }
        if build.binaries.is_empty() && build.sources.is_empty() {
            Err(Failure::NoPackages)
        } else {
            Ok(build)
        }
    }

    /// Add its files to the pool, all at once.
    ///
    /// # Errors
    /// [`Failure`] if one is there with other bytes, or a source package is not complete.
    pub fn add_to_pool(&self, transaction: &SiteTransaction, settings: &Settings) -> Result<Vec<Addition>, Failure> {
        let component = &settings.component;
        let mut files = Vec::with_capacity(self.binaries.len());
        for (binary, artifact) in &self.binaries {
            files.push((binary.path(settings.component_of(binary)), artifact.clone()));
        }
        for (source, dsc) in &self.sources {
            files.push((format!("{}/{}", source.directory(component), source.dsc), dsc.clone()));
        }
        let own = files.len();
        // A package's own file is what its index describes; the others come with their source.
        for (source, _) in &self.sources {
            files.extend(self.source_files(transaction, component, source)?);
        }
        let mut digests = transaction.add(&files)?;
        let mut sources: Vec<_> = self.sources.iter().map(|(source, _)| source.clone()).collect();
        if settings.sha512 {
            let paths: Vec<_> = files.into_iter().map(|(path, _)| path).collect();
            let sha512s = transaction.sha512(&paths)?;
            let listed = sources.iter_mut().flat_map(|source| source.files.values_mut());
            // In the order in which they were added.
            let own = digests.iter_mut().take(own).map(|digest| &mut digest.sha512);
            for (sha512, of_file) in own.chain(listed.map(|file| &mut file.sha512)).zip(sha512s) {
                *sha512 = of_file;
            }
        }
        let (of_binaries, of_sources) = digests
            .split_at_checked(self.binaries.len())
            .ok_or_else(|| Failure::Later("the host did not add all files".to_owned()))?;
        let binaries = self.binaries.iter().map(|(binary, _)| binary.clone());
        let binaries = binaries
            .zip(of_binaries)
            .map(|(binary, digest)| Addition::Binary(binary, digest.clone()));
        let sources = sources
            .into_iter()
            .zip(of_sources)
            .map(|(source, digest)| Addition::Source(source, digest.clone()));
        Ok(binaries.chain(sources).collect())
    }

    /// What a source package's .dsc lists, and where it goes.
    fn source_files(
        &self,
        transaction: &SiteTransaction,
        component: &str,
        source: &Source,
    ) -> Result<Vec<(String, Artifact)>, Failure> {
        let directory = source.directory(component);
        let mut files = Vec::new();
        for (name, listed) in &source.files {
            let path = format!("{directory}/{name}");
            let file = match self.files.get(name) {
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

    /// The event that says what was published under a codename.
    pub fn dist(&self, config: &Config, sign: &Sign, codename: &str) -> Dist {
        let packages = self.binaries.iter().map(|(binary, _)| Package {
            package: binary.package.clone(),
            version: binary.version.clone(),
            architecture: binary.architecture.clone(),
        });
        let binaries = self.binaries.iter().map(|(_, artifact)| artifact.clone());
        let sources = self.sources.iter().flat_map(|(source, artifact)| {
            source
                .files
                .keys()
                .filter_map(|name| self.files.get(name))
                .chain([artifact])
                .cloned()
        });
        let mut packages = packages.collect();
        let mut artifacts = binaries.chain(sources).map(Into::into).collect();
        Dist {
            commit: sign.commit.clone(),
            name: config.name.clone(),
            distribution: codename.to_owned(),
            source: sign.source.clone(),
            version: sign.version.clone(),
            omitted_packages: announcement::shorten(&mut packages),
            packages,
            omitted_artifacts: announcement::shorten(&mut artifacts),
            artifacts,
        }
    }
}

fn read_binary(artifact: &Artifact) -> Result<Binary, Failure> {
    let mut bytes = ArtifactBytes {
        artifact,
        start: 0,
        window: Vec::new(),
    };
    let control = deb::control(&mut bytes).map_err(|error| match error {
        DebError::Read(failure) => failure,
        DebError::Format(why) => Failure::bad_file(&artifact.name, why),
    })?;
    Binary::new(&control, &artifact.name).map_err(|error| Failure::bad_file(&artifact.name, error))
}

fn read_source(artifact: &Artifact) -> Result<Source, Failure> {
    if artifact.size > MAX_DSC {
        return Err(Failure::bad_file(
            &artifact.name,
            format!("it has {} bytes", artifact.size),
        ));
    }
    let mut bytes = ArtifactBytes {
        artifact,
        start: 0,
        window: Vec::new(),
    };
    let dsc = deb::Bytes::read(&mut bytes, 0, artifact.size)?;
    Source::new(dsc, &artifact.name).map_err(|error| Failure::bad_file(&artifact.name, error))
}

fn check_served(config: &Config, binary: &Binary, file: &str) -> Result<(), Failure> {
    if binary.architecture == "all" || config.settings.architectures.contains(&binary.architecture) {
        return Ok(());
    }
    Err(Failure::NotServed {
        file: file.to_owned(),
        architecture: binary.architecture.clone(),
        served: config.settings.architectures.join(", "),
    })
}

/// An artifact, read through a window: a package's headers are close to each other.
struct ArtifactBytes<'a> {
    artifact: &'a Artifact,
    start: u64,
    window: Vec<u8>,
}

impl ArtifactBytes<'_> {
    fn in_window(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.window.get(from..from.checked_add(usize::try_from(length).ok()?)?)
    }
}

impl deb::Bytes for ArtifactBytes<'_> {
    type Error = Failure;

    fn size(&self) -> u64 {
        self.artifact.size
    }

    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        let cut_off = || Failure::bad_file(&self.artifact.name, "it is cut off");
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= self.artifact.size)
            .ok_or_else(cut_off)?;
        if self.in_window(offset, length).is_none() {
            let want = length.max(WINDOW).min(self.artifact.size - offset);
            let want = u32::try_from(want)
                .ok()
                .filter(|_| length <= MAX_READ)
                .ok_or_else(cut_off)?;
            let read = artifacts::read(self.artifact, offset, want);
            self.window = read.map_err(|error| unreadable(&self.artifact.name, error))?;
            self.start = offset;
        }
        debug_assert!(end >= offset);
        self.in_window(offset, length)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Failure::bad_file(&self.artifact.name, "it is cut off"))
    }
}

/// An artifact could not be read.
fn unreadable(file: &str, error: artifacts::Error) -> Failure {
    let why = match error {
        artifacts::Error::NotFound(digest) => format!("no artifact has the digest {digest}"),
        artifacts::Error::Corrupt(digest) => format!("the stored bytes are not those of {digest}"),
        artifacts::Error::BadName(name) => format!("{name:?} is not a file name"),
        artifacts::Error::BadRange => "it is shorter than its event says".to_owned(),
        artifacts::Error::Unavailable(why) => return Failure::Later(format!("{file}: {why}")),
    };
    Failure::bad_file(file, why)
}
