//! Puts build dependencies into a layer above a root, once for all builds that need the same ones.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::apt::{self, Source};
use super::archives;
use super::error::{Attempt as _, BuildError};
use super::job::{Job, Target};
use super::lease::{Lock, lock_path, use_path};
use super::machine_layer;
use super::package::SourcePackage;
use super::request::Backend;
use super::root::transport;
use super::sandbox::{self, Purpose, Root};
use super::source_reach;
use super::stage::Role;

/// Keeps services from being started by the packages that bring them.
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// What layers are made of: one that was made otherwise is not used.
const FORMAT: &[u8] = b"foundry layer 3";

/// What the account of somebody who never logs in has after the password, in `/etc/shadow` and in `/etc/gshadow`.
const NO_LOGIN: [(&str, &str, &str); 2] = [("passwd", "shadow", "19000:0:99999:7:::"), ("group", "gshadow", ":")];

/// Installs what is fetched. apt can't lock what it may not change, and dpkg locks its own.
const INSTALL: [&str; 7] = [
    "apt-get",
    "-q",
    "-o",
    "Debug::NoLocking=1",
    "--no-download",
    "satisfy",
    "--",
];

/// The directories of a build that hold what apt caches, and are /tmp where it runs; `nothing` is a place of fetched
/// packages without any.
const CACHE: [(&str, u32); 5] = [
    ("cache", 0o755),
    ("cache/apt", 0o755),
    ("cache/tmp", 0o1777),
    ("cache/tmp/nothing", 0o755),
    ("cache/tmp/nothing/partial", 0o755),
];

/// Writes to /tmp/list what apt wants to fetch, where nothing is fetched yet. What it says goes to the log if it fails.
const LIST: &str = "\
apt-get -q --print-uris -o Acquire::ForceHash=SHA256 -o Dir::Cache::archives=/tmp/nothing satisfy -- \"$@\" \\
    >/tmp/list || { status=$?; cat /tmp/list; exit $status; }";

impl Job<'_> {
    /// The root with the build dependencies of the package over it, and the lock that keeps the layer in place.
    ///
    /// `state` is a digest of all that the base was made of: the same dependencies over another base are another
    /// layer. `is_same` says whether the base is what it was then: of one that is not, no layer is kept.
    pub fn layered(
        &mut self,
        package: &SourcePackage,
        backend: Backend,
        base: Root,
        state: &[u8],
        is_same: &dyn Fn() -> bool,
    ) -> Result<(Root, Lock), BuildError> {
        let kind = self.request.kind;
        let wanted = apt::satisfy(&package.relations.depends(kind), &package.relations.conflicts(kind));
        let extra = Extra::read(self)?;
        let mut hash = Sha256::new();
        for part in [FORMAT, state, base.base().as_os_str().as_encoded_bytes()] {
            hash.update(Sha256::digest(part));
        }
        for text in wanted.iter().chain(&extra.stanzas) {
            hash.update(Sha256::digest(text));
        }
        for (_, key) in &extra.keyrings {
            hash.update(Sha256::digest(key));
        }
        let layer = self.state("layers").join(hex::encode(hash.finalize()));

        let root = base.clone().with_layer(&layer);
        for part in root.parts() {
            public_dir(&self.scratch.path().join("merged").join(part.name()))?;
        }
        loop {
            let lock = self.wait(&lock_path(&layer), false)?;
            if layer.is_dir() {
                lock.touch();
                self.note("the build dependencies are there from an earlier build")?;
                return Ok((root, lock));
            }
            drop(lock);
            let lock = self.wait(&lock_path(&layer), true)?;
            if layer.is_dir() {
                continue;
            }
            let made = self.scratch.path().join("layer");
            let archives = self.archives(backend, &base, &extra)?;
            let target = Target {
                backend,
                root: &base.clone().with_layer(&made),
                archives: &archives,
            };
            self.make_layer(&target, &made, &wanted, &extra)?;
            if !is_same() {
                return Err(machine_layer::changed());
            }
            self.stage.keeper.rename(&made, &layer)?;
            lock.share();
            return Ok((root, lock));
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
        target: &Target<'_>,
        layer: &Path,
        wanted: &[String],
        extra: &Extra,
    ) -> Result<(), BuildError> {
        self.prepare_layer(target, layer, extra)?;
        // What is fetched, or is there already, stays until it is installed.
        let _in_use = self.wait(&use_path(target.archives), false)?;
        self.fetch(target, wanted, !extra.stanzas.is_empty())?;
        let command = command(&INSTALL, wanted);
        self.apt(target, Purpose::Install, &command)?;
        self.stage.keeper.without_rights(layer)?;
        // A build has no use for the indices, and they are the larger part of many layers.
        let lists = layer.join("var-lib-apt");
        self.stage
            .keeper
            .remove(std::slice::from_ref(&lists))
            .attempt("remove", lists)
    }

    /// Makes what those who install see and change.
    fn prepare_layer(&self, target: &Target<'_>, layer: &Path, extra: &Extra) -> Result<(), BuildError> {
        for part in target.root.parts() {
            for top in ["layer", "work"] {
                public_dir(&self.scratch.path().join(top).join(part.name()))?;
            }
        }
        if target.root.is_host() {
            copy_machine(target.root, layer)?;
        }
        write_settings(target.root, layer, extra)?;
        self.prepare_to_install(Role::of(target.backend))
    }

    /// Runs a command where packages' scripts run, over a root whose files are given to those who install.
    #[cfg(test)]
    pub fn install_for_probes(&mut self, base: &Path, command: &[&str]) -> Result<(), BuildError> {
        let backend = Backend::OwnRoot;
        if let Some(owner) = self.stage.installer(Role::of(backend)) {
            self.stage.keeper.give(&[base.to_owned()], owner)?;
        }
        let (base, made) = (Root::over(base), self.scratch.path().join("layer"));
        let extra = Extra::read(self)?;
        let target = Target {
            backend,
            root: &base.clone().with_layer(&made),
            archives: &self.archives(backend, &base, &extra)?,
        };
        for part in target.root.parts() {
            public_dir(&self.scratch.path().join("merged").join(part.name()))?;
        }
        self.prepare_layer(&target, &made, &extra)?;
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        self.install(&target, Purpose::Install, &command)
    }

    /// Makes the directories that those who install write to, and gives them what they change.
    fn prepare_to_install(&self, role: Role) -> Result<(), BuildError> {
        let scratch = &self.scratch;
        for (name, mode) in CACHE {
            let dir = scratch.dir(name)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).attempt("change", &dir)?;
        }
        scratch.file("resolv", fs::read_to_string("/etc/resolv.conf").unwrap_or_default())?;
        self.copy_passwords()?;
        if let Some(owner) = self.stage.installer(role) {
            let given = ["layer", "work", "cache", "passwords"].map(|name| scratch.path().join(name));
            self.stage.keeper.give(&given, owner)?;
        }
        Ok(())
    }

    /// Puts the passwords for mirrors and proxies where those who fetch see them, and nobody else.
    pub fn copy_passwords(&self) -> Result<(), BuildError> {
        let passwords = self.scratch.path().join("passwords");
        // Where a root was made they are there, and belong to who made it.
        if passwords.is_dir() {
            return Ok(());
        }
        self.scratch.dir("passwords")?;
        sandbox::copy_passwords(&passwords)?;
        sandbox::private_file(&passwords.join(sandbox::TRANSPORT), transport().as_bytes())
    }

    /// The directory for packages of the target's sources.
    fn archives(&self, backend: Backend, base: &Root, extra: &Extra) -> Result<PathBuf, BuildError> {
        let owner = self.stage.installer(Role::of(backend));
        let mut sources = vec![format!("{owner:?}").into_bytes()];
        sources.extend(own_sources(base.base()));
        sources.extend(extra.stanzas.iter().map(|text| text.clone().into_bytes()));
        sources.extend(extra.keyrings.iter().map(|(_, key)| key.clone()));
        let dir = archives::dir_of(&self.state("archives"), &sources);
        // Whoever holds it fetches, and changes what is in there.
        let _lock = self.wait(&lock_path(&dir), true)?;
        public_dir(&dir)?;
        if let Some(owner) = owner {
            self.stage.keeper.give_dir(&dir, owner)?;
        }
        Ok(dir)
    }

    /// Fetches packages, with indices that are fresh if need be.
    fn fetch(&mut self, target: &Target<'_>, wanted: &[String], update: bool) -> Result<(), BuildError> {
        // apt has a lock of its own for its archives, and gives up at once when somebody else holds it.
        let _lock = self.wait(&lock_path(target.archives), true)?;
        if !update {
            match self.fetch_as_listed(target, wanted) {
                Err(BuildError::Dependencies { .. }) => self.note("trying again with fresh package lists")?,
                other => return other,
            }
        }
        self.apt(target, Purpose::Fetch, &command(&["apt-get", "-q", "update"], &[]))?;
        self.fetch_as_listed(target, wanted)
    }

    /// Fetches what is not there yet, or is not what the signed index says.
    fn fetch_as_listed(&mut self, target: &Target<'_>, wanted: &[String]) -> Result<(), BuildError> {
        self.apt(target, Purpose::Fetch, &command(&["sh", "-c", LIST, "sh"], wanted))?;
        let listed = archives::read_list(&self.scratch.path().join("cache/tmp/list"))?;
        if archives::lacking(target.archives, &listed, &self.stage.keeper)?.is_empty() {
            return Ok(());
        }
        let command = command(&["apt-get", "-q", "--download-only", "satisfy", "--"], wanted);
        self.apt(target, Purpose::Fetch, &command)?;
        match archives::lacking(target.archives, &listed, &self.stage.keeper)? {
            missing if missing.is_empty() => Ok(()),
            missing => Err(BuildError::Dependencies {
                missing: missing
                    .iter()
                    .map(|name| format!("{name} (not fetched as the signed index has it)"))
                    .collect(),
                unreachable: false,
                tail: self.log.tail(),
            }),
        }
    }

    fn apt(&mut self, target: &Target<'_>, purpose: Purpose, command: &[String]) -> Result<(), BuildError> {
        match self.install(target, purpose, command) {
            Err(BuildError::Failed { tail, .. }) => {
                let mut missing: Vec<String> = self.log.recent().filter_map(apt::complaint).collect();
                missing.dedup();
                let unreachable = missing.iter().any(|one| one.contains("Failed to fetch"));
                if missing.is_empty() {
                    missing.push(format!("apt-get failed ({purpose})"));
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

fn command(words: &[&str], wanted: &[String]) -> Vec<String> {
    let words = words.iter().map(ToString::to_string);
    words.chain(wanted.iter().cloned()).collect()
}

/// The texts of a root's own package sources.
fn own_sources(base: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(base.join("etc/apt/sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.push(base.join("etc/apt/sources.list"));
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}

/// Gives a layer over the machine's root the machine's data as far as sandboxes may see it, without its people.
fn copy_machine(root: &Root, layer: &Path) -> Result<(), BuildError> {
    sandbox::copy_data(Purpose::Install, layer)?;
    for (accounts, passwords, fields) in NO_LOGIN {
        let text = sandbox::system_accounts(&root.text(&format!("etc/{accounts}")));
        public_file(&layer.join("etc").join(accounts), text.as_bytes(), 0o644)?;
        let text = sandbox::without_passwords(&text, fields);
        public_file(&layer.join("etc").join(passwords), text.as_bytes(), 0o640)?;
    }
    for below in ["dpkg", "apt"] {
        public_dir(&layer.join("var-lib").join(below))?;
    }
    Ok(())
}

/// Writes what apt is told, and what keeps packages from starting services.
fn write_settings(root: &Root, layer: &Path, extra: &Extra) -> Result<(), BuildError> {
    // The scripts of packages see it.
    let own = root.public_text("etc/apt/apt.conf");
    let settings = apt::configuration(&own) + &extra.settings;
    public_file(&layer.join("etc/apt/apt.conf"), settings.as_bytes(), 0o644)?;
    // Those who fetch see the machine's transport in its place.
    public_file(&layer.join("etc").join(sandbox::TRANSPORT), b"", 0o644)?;
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
    Ok(())
}

/// What the request adds to the machine's own package sources.
struct Extra {
    stanzas: Vec<String>,
    /// What apt is told of their servers.
    settings: String,
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
        let sources: Vec<Source> = job
            .request
            .repositories
            .iter()
            .map(|text| Source::parse(text).map(|source| source.signed_by(&names)))
            .collect::<Result<_, _>>()
            .map_err(|why| BuildError::BadRequest { why })?;
        Ok(Self {
            stanzas: sources.iter().map(Source::stanza).collect(),
            settings: source_reach::without_redirects(&sources),
            keyrings,
        })
    }
}

/// Makes directories that everyone may enter, whatever the process's umask: an overlay shows their modes.
pub(super) fn public_dir(path: &Path) -> Result<(), BuildError> {
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

pub(super) fn public_file(path: &Path, content: &[u8], mode: u32) -> Result<(), BuildError> {
    if let Some(parent) = path.parent() {
        public_dir(parent)?;
    }
    fs::write(path, content).attempt("write", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).attempt("change", path)
}
