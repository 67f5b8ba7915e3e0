//! Roots of our own: a minimal Debian system per suite and architecture, made by mmdebstrap from this machine's own
//! mirrors, and made anew when it is old.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::apt::{self, Source};
use super::error::{Attempt as _, BuildError, Unavailable};
use super::job::Job;
use super::lease::{Lock, lock_path};
use super::machine;
use super::request::Backend;
use super::sandbox::{self, Root, TRANSPORT};
use super::stage::Role;

impl Job<'_> {
    /// Why no root of our own can be had for this request.
    pub fn own_root_fault(&self) -> Option<String> {
        let machine = &self.shared.machine;
        if machine::tool("mmdebstrap").is_none() {
            return Some("`mmdebstrap` is not installed (install the package mmdebstrap)".to_owned());
        }
        let Some(suite) = self.suite() else {
            return Some("this machine's suite is unknown (name one)".to_owned());
        };
        let own = machine.architecture.as_deref();
        let asked = self.request.architecture.as_deref();
        if let Some(fault) = asked.and_then(|asked| foreign_fault(own, asked, machine::tool("arch-test").is_some())) {
            return Some(fault);
        }
        if sources_for(&host_sources(), machine.codename.as_deref(), suite).is_empty() {
            return Some(format!(
                "none of this machine's APT sources leads to the suite {suite} (add one to /etc/apt/sources.list.d)"
            ));
        }
        machine::layer_fault(&self.shared.state)
    }

    /// A root for the request's suite and architecture, and the lock that keeps it in place.
    pub fn own_root(&mut self) -> Result<(Root, Lock), BuildError> {
        let suite = self.suite().unwrap_or_default().to_owned();
        let machine = &self.shared.machine;
        let architecture = self
            .request
            .architecture
            .clone()
            .or_else(|| machine.architecture.clone())
            .unwrap_or_default();
        let name = format!("{suite}_{architecture}");
        let roots = self.state("roots");
        loop {
            if let Some(root) = self.young_root(&roots, &name)? {
                let lock = self.wait(&lock_path(&root), false)?;
                lock.touch();
                // It may have been swept away while we waited.
                if root.is_dir() {
                    return Ok((Root::over(&root), lock));
                }
                continue;
            }
            let _making = self.wait(&roots.join(format!("{name}.making")), true)?;
            if self.young_root(&roots, &name)?.is_some() {
                continue;
            }
            self.note(&format!("making a root for {suite} ({architecture})"))?;
            let made = self.bootstrap(&suite, &architecture)?;
            let root = roots.join(format!("{name}_{}", now()));
            self.stage.keeper.rename(&made, &root)?;
        }
    }

    fn suite(&self) -> Option<&str> {
        self.request
            .suite
            .as_deref()
            .or(self.shared.machine.codename.as_deref())
    }

    /// The newest root of this name, unless it is too old.
    fn young_root(&self, roots: &Path, name: &str) -> Result<Option<PathBuf>, BuildError> {
        let mut newest: Option<(u64, PathBuf)> = None;
        for entry in fs::read_dir(roots).attempt("read", roots)? {
            let path = entry.attempt("read", roots)?.path();
            let made = path.file_name().and_then(|file| {
                file.to_str()?
                    .strip_prefix(name)?
                    .strip_prefix('_')?
                    .parse::<u64>()
                    .ok()
            });
            if let Some(made) = made
                && self.is_ours(&path)
                && newest.as_ref().is_none_or(|(time, _)| made > *time)
            {
                newest = Some((made, path));
            }
        }
        let age = self.shared.settings.root_max_age.as_secs();
        Ok(newest
            .filter(|(made, _)| now().saturating_sub(*made) <= age)
            .map(|(_, path)| path))
    }

    /// Whether a root belongs to the ids that install packages now. One that was made under others can't be changed.
    fn is_ours(&self, root: &Path) -> bool {
        let owner = self.stage.installer(Role::Installer).map(|(user, _)| user);
        let own = rustix::process::getuid().as_raw();
        fs::symlink_metadata(root).is_ok_and(|kind| kind.uid() == owner.unwrap_or(own))
    }

    /// Makes a root in the build's own directory.
    fn bootstrap(&mut self, suite: &str, architecture: &str) -> Result<PathBuf, BuildError> {
        let sources = sources_for(&host_sources(), self.shared.machine.codename.as_deref(), suite);
        let stanzas: String = sources.iter().map(|source| format!("{}\n", source.stanza())).collect();
        let target = self.prepare_bootstrap(&stanzas)?;
        match self.run_bootstrap(&sandbox::mmdebstrap(suite, architecture, &hooks(&sources))) {
            Ok(()) => {
                self.stage.keeper.without_rights(&target)?;
                Ok(target)
            }
            Err(BuildError::Failed { .. }) => {
                let said = self
                    .log
                    .recent()
                    .rev()
                    .find(|line| line.starts_with("E: "))
                    .unwrap_or("see the log");
                let why = format!("mmdebstrap cannot make a root for {suite}: {said}");
                Err(BuildError::NoBackend {
                    tried: vec![Unavailable {
                        backend: Backend::OwnRoot,
                        why,
                    }],
                })
            }
            Err(other) => Err(other),
        }
    }

    /// Makes what a bootstrap sees, and returns the directory that becomes the root.
    pub fn prepare_bootstrap(&mut self, sources: &str) -> Result<PathBuf, BuildError> {
        self.write_accounts(&Root::over(Path::new("/")))?;
        let scratch = &self.scratch;
        scratch.file("mirrors.sources", sources)?;
        scratch.file("resolv", fs::read_to_string("/etc/resolv.conf").unwrap_or_default())?;
        self.copy_passwords()?;
        scratch.dir("bootstrap")?;
        let target = scratch.dir("root")?;
        if let Some(owner) = self.stage.installer(Role::Installer) {
            let given = ["root", "bootstrap", "passwords"].map(|name| scratch.path().join(name));
            self.stage.keeper.give(&given, owner)?;
        }
        Ok(target)
    }

    /// Runs a command where a root is made.
    pub fn run_bootstrap(&mut self, command: &[OsString]) -> Result<(), BuildError> {
        let host = Root::over(Path::new("/"));
        let inside = |path: &Path| self.stage.inside(path);
        let mut words = sandbox::bootstrap_sandbox(&self.view(&host, &inside, Path::new("")));
        words.extend_from_slice(command);
        let environment = sandbox::install_environment(true);
        self.chain(Backend::OwnRoot, Role::Installer, &[], &environment, &words)
    }
}

/// Every source in this machine's configuration that is switched on, and that everyone may read: packages' scripts see
/// them in the root.
fn host_sources() -> Vec<Source> {
    public_sources(Path::new("/etc/apt"))
}

fn public_sources(apt: &Path) -> Vec<Source> {
    let mut files = vec![apt.join("sources.list")];
    files.extend(
        fs::read_dir(apt.join("sources.list.d"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    files.retain(|file| is_for_everyone(file));
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let ending = file.extension().and_then(|ending| ending.to_str());
        if let (Some(ending @ ("list" | "sources")), Ok(text)) = (ending, fs::read_to_string(&file)) {
            sources.extend(Source::parse_file(&text, ending == "sources"));
        }
    }
    sources
}

/// Whether everyone may read a file, or what a link leads to.
fn is_for_everyone(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|kind| kind.mode() & 0o004 != 0)
}

/// Those of the sources that lead to a suite: that name it, or else those of this machine's own suite, moved.
fn sources_for(sources: &[Source], own: Option<&str>, suite: &str) -> Vec<Source> {
    let moved = |from: &str| -> Vec<Source> {
        sources
            .iter()
            .filter(|source| source.has_packages())
            .filter_map(|source| source.for_suite(from, suite))
            .collect()
    };
    let direct = moved(suite);
    if direct.is_empty() {
        own.map(moved).unwrap_or_default()
    } else {
        direct
    }
}

/// What mmdebstrap does besides: the sources' keys go where the sources say, and stay; the passwords for the mirrors
/// and the way to them are there only while it works.
fn hooks(sources: &[Source]) -> Vec<String> {
    let plain = |path: &&str| path.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-".contains(c));
    let mut hooks: Vec<String> = sources
        .iter()
        .flat_map(Source::key_files)
        .filter(plain)
        .map(|key| format!("--setup-hook=install -D -m 644 {key} \"$1{key}\""))
        .collect();
    hooks.push(
        "--setup-hook=mkdir -p \"$1/etc/apt\"; cp -a /etc/apt/auth.conf* \"$1/etc/apt/\" 2>/dev/null || true"
            .to_owned(),
    );
    hooks.push(format!(
        "--setup-hook=install -D -m 600 /transport.conf \"$1/etc/{TRANSPORT}\""
    ));
    hooks.push(format!(
        "--customize-hook=rm -rf \"$1\"/etc/apt/auth.conf* \"$1/etc/{TRANSPORT}\""
    ));
    hooks
}

/// How this machine's apt reaches its mirrors: proxies, certificates and the like, with the passwords among them.
pub(super) fn transport() -> String {
    Command::new("apt-config")
        .arg("dump")
        .env("PATH", machine::PATH)
        .output()
        .map(|output| apt::transport(&String::from_utf8_lossy(&output.stdout)))
        .unwrap_or_default()
}

/// What keeps this machine from making a root for an architecture. None: nothing does.
fn foreign_fault(own: Option<&str>, asked: &str, has_arch_test: bool) -> Option<String> {
    if !runs_here(own, asked) {
        return Some(format!(
            "this machine cannot run programs for {asked} (install the package qemu-user-static)"
        ));
    }
    // mmdebstrap asks it even where the processor runs both, such as i386 on amd64.
    (own != Some(asked) && !has_arch_test).then(|| {
        format!(
            "`arch-test` is not installed, without which mmdebstrap makes no root for {asked} (install the package arch-test)"
        )
    })
}

/// Whether programs of an architecture run on this machine, by itself or with an emulator.
fn runs_here(own: Option<&str>, asked: &str) -> bool {
    let natively = own == Some(asked) || matches!((own, asked), (Some("amd64"), "i386"));
    let emulator = match asked {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "armhf" | "armel" => "arm",
        "ppc64el" => "ppc64le",
        other => other,
    };
    natively
        || Path::new("/proc/sys/fs/binfmt_misc")
            .join(format!("qemu-{emulator}"))
            .exists()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_another_architecture_needs_is_named() {
        assert_eq!(foreign_fault(Some("amd64"), "amd64", false), None);
        assert_eq!(foreign_fault(Some("amd64"), "i386", true), None);
        let fault = foreign_fault(Some("amd64"), "i386", false).unwrap();
        assert!(fault.contains("install the package arch-test"), "{fault}");
        let fault = foreign_fault(Some("amd64"), "no-such-machine", true).unwrap();
        assert!(fault.contains("qemu-user-static"), "{fault}");
    }

    #[test]
    fn a_suite_of_its_own_comes_before_a_moved_one() {
        let file = "Types: deb\nURIs: http://a\nSuites: bookworm\nComponents: main\n\nTypes: deb\nURIs: http://b\nSuites: trixie\nComponents: main\n";
        let sources = Source::parse_file(file, true);
        let uris = |suite: &str| -> String {
            sources_for(&sources, Some("bookworm"), suite)
                .iter()
                .map(Source::stanza)
                .collect()
        };
        assert!(uris("trixie").contains("http://b") && !uris("trixie").contains("http://a"));
        assert!(uris("sid").contains("http://a\nSuites: sid\n"));
    }

    #[test]
    fn a_source_that_not_everyone_may_read_is_in_no_root() {
        let apt = tempfile::tempdir().unwrap();
        fs::create_dir(apt.path().join("sources.list.d")).unwrap();
        for (name, mode) in [("sources.list", 0o644), ("sources.list.d/mine.list", 0o600)] {
            let file = apt.path().join(name);
            fs::write(&file, format!("deb http://{mode:o}.example/debian trixie main\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        let found: String = public_sources(apt.path()).iter().map(Source::stanza).collect();
        assert!(
            found.contains("http://644.example") && !found.contains("http://600.example"),
            "{found}"
        );
    }

    #[test]
    fn programs_of_another_architecture_need_an_emulator() {
        assert!(runs_here(Some("amd64"), "amd64") && runs_here(Some("amd64"), "i386"));
        assert!(!runs_here(Some("amd64"), "no-such-machine"));
    }
}
