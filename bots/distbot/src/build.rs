//! The packages of a build: what an event brings, read as hostile input.

use std::collections::{BTreeMap, BTreeSet};

use apt_repository::binary::Binary;
use apt_repository::deb::{self, DebError};
use apt_repository::failure::Failure;
use apt_repository::index::Key;
use apt_repository::source::{MAX_DSC, Source};
use foundry_sdk::Artifact;
use foundry_sdk::events::{Dist, Kept, Package, Sign};

use crate::announcement::{self, MAX_KEPT, MAX_LIST};
use crate::bytes::of_artifact;
use crate::config::Config;

/// The packages of a build, read but not yet published.
pub struct Build {
    pub(crate) binaries: Vec<(Binary, Artifact)>,
    pub(crate) sources: Vec<(Source, Artifact)>,
    /// Every file of the event, by name.
    pub(crate) files: BTreeMap<String, Artifact>,
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

    /// Whether all of its packages are among these.
    pub fn is_within(&self, keys: &BTreeSet<Key>) -> bool {
        let binaries = self.binaries.iter().map(|(binary, _)| binary.key());
        let mut all = binaries.chain(self.sources.iter().map(|(source, _)| source.key()));
        all.all(|key| keys.contains(&key))
    }

    /// The event that says what was published under a codename. What was kept as it was published before is in a list of its
    /// own: this build's files of those names are nowhere in the repository. What newer versions have superseded already is
    /// not in the suite.
    pub fn dist(
        &self,
        config: &Config,
        sign: &Sign,
        codename: &str,
        kept: &[Kept],
        superseded: &BTreeSet<Key>,
    ) -> Dist {
        let is_kept = |name: &str| kept.iter().any(|kept| kept.name == name);
        let published = |artifact: &&Artifact| !is_kept(&artifact.name);
        let binaries = self.binaries.iter();
        let binaries =
            binaries.filter(|(binary, artifact)| published(&artifact) && !superseded.contains(&binary.key()));
        let packages = binaries.clone().map(|(binary, _)| Package {
            package: binary.package.clone(),
            version: binary.version.clone(),
            architecture: binary.architecture.clone(),
        });
        let sources = self.sources.iter();
        let sources = sources.filter(|(source, _)| !superseded.contains(&source.key()));
        let sources = sources.flat_map(|(source, artifact)| {
            source
                .files
                .keys()
                .filter_map(|name| self.files.get(name))
                .chain([artifact])
        });
        let artifacts = binaries.map(|(_, artifact)| artifact).chain(sources);
        let mut artifacts = artifacts.filter(published).cloned().map(Into::into).collect();
        let mut packages = packages.collect();
        let mut kept = kept.to_vec();
        Dist {
            commit: sign.commit.clone(),
            name: config.name.clone(),
            distribution: codename.to_owned(),
            source: sign.source.clone(),
            version: sign.version.clone(),
            omitted_packages: announcement::shorten(&mut packages, MAX_LIST),
            packages,
            omitted_artifacts: announcement::shorten(&mut artifacts, MAX_LIST),
            artifacts,
            omitted_kept: announcement::shorten(&mut kept, MAX_KEPT),
            kept,
        }
    }
}

fn read_binary(artifact: &Artifact) -> Result<Binary, Failure> {
    let control = deb::control(&mut of_artifact(artifact)).map_err(|error| match error {
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
    let dsc = deb::Bytes::read(&mut of_artifact(artifact), 0, artifact.size)?;
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
