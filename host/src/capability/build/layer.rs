//! Puts build dependencies into a layer above a root, once for all builds that need the same ones.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::apt::{self, Source};
use super::error::{Attempt as _, BuildError};
use super::job::Job;
use super::lease::{Lock, lock_path};
use super::package::SourcePackage;
use super::request::Backend;
use super::sandbox::Root;

/// Keeps services from being started by the packages that bring them.
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

impl Job<'_> {
    /// The root with the build dependencies of the package over it, and the lock that keeps the layer in place.
    ///
    /// `state` is a digest of all that the base was made of: the same dependencies over another base are another
    /// layer.
    pub fn layered(
        &mut self,
        package: &SourcePackage,
        backend: Backend,
        base: Root,
        state: &[u8],
    ) -> Result<(Root, Lock), BuildError> {
        let kind = self.request.kind;
        let wanted = apt::satisfy(&package.relations.depends(kind), &package.relations.conflicts(kind));
        let extra = Extra::read(self)?;
        let mut hash = Sha256::new();
        for part in [state, base.base().as_os_str().as_encoded_bytes()] {
            hash.update(Sha256::digest(part));
        }
        for text in wanted.iter().chain(&extra.stanzas) {
            hash.update(Sha256::digest(text));
        }
        for (_, key) in &extra.keyrings {
            hash.update(Sha256::digest(key));
        }
        let layer = self.state("layers").join(hex::encode(hash.finalize()));

        for (_, name) in base.parts() {
            public_dir(&self.scratch.path().join("merged").join(name))?;
        }
        loop {
            let lock = self.wait(&lock_path(&layer), false)?;
            if layer.is_dir() {
                lock.touch();
                self.note("the build dependencies are there from an earlier build")?;
                return Ok((base.with_layer(&layer), lock));
            }
            drop(lock);
            let lock = self.wait(&lock_path(&layer), true)?;
            if layer.is_dir() {
                continue;
            }
            let made = self.scratch.path().join("layer");
            self.make_layer(backend, &base.clone().with_layer(&made), &made, &wanted, &extra)?;
            fs::rename(&made, &layer).attempt("rename", &made)?;
            lock.share();
            return Ok((base.with_layer(&layer), lock));
        }
    }

    /// Waits for a lock, as long as the build may last.
    pub fn wait(&self, path: &Path, exclusive: bool) -> Result<Lock, BuildError> {
        Lock::wait(path, exclusive, &mut || {
            if (self.stop)() {
                return Err(BuildError::Cancelled);
            }
            if Instant::now() >= self.deadline {
                return Err(BuildError::TimedOut {
                    phase: self.phase,
                    limit: self.request.limits.wall_time,
                    tail: self.log.tail(),
                });
            }
            Ok(())
        })
    }

    /// Adds a line of our own to the log.
    pub fn note(&mut self, text: &str) -> Result<(), BuildError> {
        let path = self.log_path();
        self.log.note(text).attempt("write", path)
    }

    fn make_layer(
        &mut self,
        backend: Backend,
        root: &Root,
        layer: &Path,
        wanted: &[String],
        extra: &Extra,
    ) -> Result<(), BuildError> {
        for (_, name) in root.parts() {
            for top in ["layer", "work"] {
                public_dir(&self.scratch.path().join(top).join(&name))?;
            }
        }
        self.scratch.dir("cache")?;
        let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        self.scratch.file("resolv", &resolv)?;

        let own = fs::read_to_string(root.base().join("etc/apt/apt.conf")).unwrap_or_default();
        public_file(
            &layer.join("etc/apt/apt.conf"),
            apt::configuration(&own).as_bytes(),
            0o644,
        )?;
        // A minimal root has no such file, and the sandbox needs one to put its own over.
        public_file(&layer.join("etc/hosts"), b"127.0.0.1 localhost\n", 0o644)?;
        public_file(&layer.join("usr/sbin/policy-rc.d"), NO_SERVICES.as_bytes(), 0o755)?;
        for (index, stanza) in extra.stanzas.iter().enumerate() {
            let name = format!("etc/apt/sources.list.d/foundry-{index}.sources");
            public_file(&layer.join(name), stanza.as_bytes(), 0o644)?;
        }
        for (name, key) in &extra.keyrings {
            public_file(&layer.join(name.trim_start_matches('/')), key, 0o644)?;
        }

        self.fetch(backend, root, wanted, !extra.stanzas.is_empty())?;
        self.apt_get(backend, root, false, &["--no-download", "satisfy", "--"], wanted)?;
        // A build has no use for the indices, and they are the larger part of many layers.
        self.stage
            .remove(&layer.join("var-lib/apt/lists"))
            .attempt("remove", layer)
    }

    /// Fetches packages, with indices that are fresh if need be.
    fn fetch(&mut self, backend: Backend, root: &Root, wanted: &[String], update: bool) -> Result<(), BuildError> {
        // apt has a lock of its own for its archives, and gives up at once when somebody else holds it.
        let _lock = self.wait(&self.state("archives.lock"), true)?;
        let download = ["--download-only", "satisfy", "--"];
        if !update {
            match self.apt_get(backend, root, true, &download, wanted) {
                Err(BuildError::Dependencies { .. }) => self.note("trying again with fresh package lists")?,
                other => return other,
            }
        }
        self.apt_get(backend, root, true, &["update"], &[])?;
        self.apt_get(backend, root, true, &download, wanted)
    }

    fn apt_get(
        &mut self,
        backend: Backend,
        root: &Root,
        network: bool,
        words: &[&str],
        wanted: &[String],
    ) -> Result<(), BuildError> {
        let mut command: Vec<String> = ["apt-get", "-q"].iter().chain(words).map(ToString::to_string).collect();
        command.extend_from_slice(wanted);
        match self.install(backend, root, network, &command) {
            Err(BuildError::Failed { tail, .. }) => {
                let mut missing: Vec<String> = self.log.recent().filter_map(apt::complaint).collect();
                missing.dedup();
                let unreachable = missing.iter().any(|one| one.contains("Failed to fetch"));
                if missing.is_empty() {
                    missing.push(format!("apt-get failed at `{}`", words.join(" ")));
                }
                Err(BuildError::Dependencies {
                    missing,
                    unreachable,
                    tail,
                })
            }
            other => other,
        }
    }
}

/// What the request adds to the machine's own package sources.
struct Extra {
    stanzas: Vec<String>,
    /// Where each keyring goes, and its bytes.
    keyrings: Vec<(String, Vec<u8>)>,
}

impl Extra {
    fn read(job: &Job<'_>) -> Result<Self, BuildError> {
        let mut keyrings = Vec::new();
        for (index, path) in job.request.keyrings.iter().enumerate() {
            let key = fs::read(path).attempt("read", path)?;
            // apt tells the two forms of a key file by its name.
            let ending = if key.starts_with(b"-----BEGIN") { "asc" } else { "gpg" };
            keyrings.push((format!("/etc/apt/keyrings/foundry-{index}.{ending}"), key));
        }
        let names: Vec<String> = keyrings.iter().map(|(name, _)| name.clone()).collect();
        let stanzas = job
            .request
            .repositories
            .iter()
            .map(|text| Source::parse(text).map(|source| source.signed_by(&names).stanza()))
            .collect::<Result<_, _>>()
            .map_err(|why| BuildError::BadRequest { why })?;
        Ok(Self { stanzas, keyrings })
    }
}

/// Makes directories that everyone may enter, whatever the process's umask: an overlay shows their modes.
fn public_dir(path: &Path) -> Result<(), BuildError> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = path;
    while !at.exists() {
        missing.push(at.to_owned());
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    for dir in missing.iter().rev() {
        fs::create_dir(dir).attempt("create", dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).attempt("change", dir)?;
    }
    Ok(())
}

fn public_file(path: &Path, content: &[u8], mode: u32) -> Result<(), BuildError> {
    if let Some(parent) = path.parent() {
        public_dir(parent)?;
    }
    fs::write(path, content).attempt("write", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).attempt("change", path)
}
