//! Publishing a commit's packages: all of them in every suite of their branch, or nothing.

use std::collections::BTreeMap;

use foundry_sdk::Artifact;
use foundry_sdk::events::{Dist, Package, Sign};
use foundry_sdk::site::Digest;

use crate::binary::Binary;
use crate::config::Config;
use crate::deb::{self, DebError};
use crate::failure::Failure;
use crate::host::{Host, Transaction};
use crate::source::{MAX_DSC, Source};
use crate::suite::{Addition, Update};

/// Where users get the key that signs the repository.
pub const KEY_FILE: &str = "key.asc";

/// Least bytes to read of an artifact at once: most packages' control files are in the first ones.
const WINDOW: u64 = 64 * 1024;

/// Most bytes that the host gives at once.
const MAX_READ: u64 = 16 * 1024 * 1024;

/// See that the key can sign and the directory can be published into.
///
/// # Errors
/// [`Failure`] if not.
pub fn check(host: &dyn Host, config: &Config) -> Result<(), Failure> {
    host.fingerprint(&config.key)?;
    host.public_key(&config.key)?;
    Ok(host.begin(&config.directory).map(drop)?)
}

/// See that the repository is there and says what the operator wants, with or without packages.
///
/// # Errors
/// [`Failure`] if it can't be made or signed.
pub fn prepare(host: &dyn Host, config: &Config) -> Result<(), Failure> {
    change(host, config, &config.mapping.all_codenames(), |_| Ok(Vec::new()))
}

/// Publish a commit's packages. What was published under each codename; none if its branch isn't published at all.
///
/// # Errors
/// [`Failure`] if nothing was published.
pub fn publish(host: &dyn Host, config: &Config, sign: &Sign) -> Result<Vec<Dist>, Failure> {
    let codenames = config.mapping.codenames(&sign.commit.branch);
    if codenames.is_empty() {
        return Ok(Vec::new());
    }
    let build = Build::read(host, config, sign)?;
    change(host, config, &codenames, |transaction| {
        build.add_to_pool(transaction, &config.component)
    })?;
    Ok(codenames
        .into_iter()
        .map(|codename| build.dist(config, sign, codename))
        .collect())
}

/// Change suites in one transaction, with packages whose files are added in it.
fn change(
    host: &dyn Host,
    config: &Config,
    codenames: &[&str],
    add_files: impl FnOnce(&dyn Transaction) -> Result<Vec<Addition>, Failure>,
) -> Result<(), Failure> {
    let fingerprint = host.fingerprint(&config.key)?;
    let key = host.public_key(&config.key)?;
    let transaction = host.begin(&config.directory)?;
    let transaction = transaction.as_ref();
    let additions = add_files(transaction)?;
    let mut last = Vec::new();
    for codename in codenames {
        let update = Update {
            host,
            transaction,
            config,
            fingerprint: &fingerprint,
            codename,
        };
        last.extend(update.add(&additions)?);
    }
    let key_changes = transaction.read(KEY_FILE)?.as_deref() != Some(key.as_bytes());
    if key_changes {
        transaction.write(KEY_FILE, key.as_bytes())?;
    }
    // A package that every suite has already is in the pool as well.
    if last.is_empty() && !key_changes {
        Ok(())
    } else {
        Ok(transaction.commit(&last)?)
    }
}

/// The packages of a build, read but not yet published.
struct Build {
    binaries: Vec<(Binary, Artifact)>,
    sources: Vec<(Source, Artifact)>,
    /// Every file of the event, by name.
    files: BTreeMap<String, Artifact>,
}

impl Build {
    fn read(host: &dyn Host, config: &Config, sign: &Sign) -> Result<Self, Failure> {
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
                    let binary = read_binary(host, &artifact)?;
                    check_served(config, &binary, &artifact.name)?;
                    build.binaries.push((binary, artifact));
                }
                Some("dsc") => build.sources.push((read_source(host, &artifact)?, artifact)),
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

    fn add_to_pool(&self, transaction: &dyn Transaction, component: &str) -> Result<Vec<Addition>, Failure> {
        let mut additions = Vec::new();
        for (binary, artifact) in &self.binaries {
            let digest = transaction.add(&binary.path(component), artifact)?;
            additions.push(Addition::Binary(binary.clone(), digest));
        }
        for (source, artifact) in &self.sources {
            let digest = self.add_source(transaction, component, source, artifact)?;
            additions.push(Addition::Source(source.clone(), digest));
        }
        Ok(additions)
    }

    fn add_source(
        &self,
        transaction: &dyn Transaction,
        component: &str,
        source: &Source,
        dsc: &Artifact,
    ) -> Result<Digest, Failure> {
        let directory = source.directory(component);
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
            transaction.add(&path, &file)?;
        }
        Ok(transaction.add(&format!("{directory}/{}", source.dsc), dsc)?)
    }

    fn dist(&self, config: &Config, sign: &Sign, codename: &str) -> Dist {
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
        Dist {
            commit: sign.commit.clone(),
            name: config.name.clone(),
            distribution: codename.to_owned(),
            source: sign.source.clone(),
            version: sign.version.clone(),
            packages: packages.collect(),
            artifacts: binaries.chain(sources).map(Into::into).collect(),
        }
    }
}

fn read_binary(host: &dyn Host, artifact: &Artifact) -> Result<Binary, Failure> {
    let mut bytes = ArtifactBytes {
        host,
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

fn read_source(host: &dyn Host, artifact: &Artifact) -> Result<Source, Failure> {
    if artifact.size > MAX_DSC {
        return Err(Failure::bad_file(
            &artifact.name,
            format!("it has {} bytes", artifact.size),
        ));
    }
    let mut bytes = ArtifactBytes {
        host,
        artifact,
        start: 0,
        window: Vec::new(),
    };
    let dsc = deb::Bytes::read(&mut bytes, 0, artifact.size)?;
    Source::new(dsc, &artifact.name).map_err(|error| Failure::bad_file(&artifact.name, error))
}

fn check_served(config: &Config, binary: &Binary, file: &str) -> Result<(), Failure> {
    if binary.architecture == "all" || config.architectures.contains(&binary.architecture) {
        return Ok(());
    }
    Err(Failure::NotServed {
        file: file.to_owned(),
        architecture: binary.architecture.clone(),
        served: config.architectures.join(", "),
    })
}

/// An artifact, read through a window: a package's headers are close to each other.
struct ArtifactBytes<'a> {
    host: &'a dyn Host,
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
            let read = self.host.read_artifact(self.artifact, offset, want);
            self.window = read.map_err(|error| Failure::artifact(&self.artifact.name, error))?;
            self.start = offset;
        }
        debug_assert!(end >= offset);
        self.in_window(offset, length)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Failure::bad_file(&self.artifact.name, "it is cut off"))
    }
}
