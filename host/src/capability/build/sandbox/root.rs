//! The file system below a sandbox, and what of it stays hidden.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::stage::{Overlay, words};
use super::{SHARED_MEMORY, SMALL};

/// Directories of a Debian root that packages install into. Whichever of them is a link is made one again.
const PARTS: [&str; 10] = [
    "bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "var/lib",
];

/// Of a host's own /etc and /var/lib, what no sandbox has any business with, whatever its permissions say.
const HIDDEN: [&str; 14] = [
    "/etc/docker",
    "/etc/foundry",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/etc/letsencrypt",
    "/etc/netplan",
    "/etc/NetworkManager",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers.d",
    "/etc/wireguard",
    "/usr/local",
    "/var/lib/foundry",
    "/var/lib/private",
];

/// What apt needs, to fetch and to install, and a build does not.
const HIDDEN_FROM_BUILDS: [&str; 3] = ["/etc/apt/auth.conf", "/etc/apt/auth.conf.d", "/etc/shadow"];

/// The file system below a sandbox: a base that is only read, and maybe a layer over it.
#[derive(Debug, Clone)]
pub(in super::super) struct Root {
    base: PathBuf,
    layer: Option<PathBuf>,
    /// The parts that are directories, relative to the root.
    parts: Vec<&'static str>,
    /// `bin -> usr/bin`.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Root {
    /// Looks at the directory that serves as base. `/` is the machine's own root.
    pub fn over(base: &Path) -> Self {
        let mut root = Self {
            base: base.to_owned(),
            layer: None,
            parts: Vec::new(),
            links: Vec::new(),
        };
        for part in PARTS {
            let path = base.join(part);
            match fs::symlink_metadata(&path) {
                Ok(kind) if kind.is_symlink() => {
                    if let Ok(link) = fs::read_link(&path) {
                        root.links.push((link, Path::new("/").join(part)));
                    }
                }
                Ok(kind) if kind.is_dir() => root.parts.push(part),
                _ => {}
            }
        }
        root
    }

    /// The same with a layer over it, which has a directory for each part.
    #[must_use]
    pub fn with_layer(mut self, layer: &Path) -> Self {
        self.layer = Some(layer.to_owned());
        self
    }

    /// The directory that serves as base.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The parts, with the names that their directories have in a layer.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.parts.iter().map(|part| (*part, part.replace('/', "-")))
    }

    /// The overlays that put layer and base together below `merged`, unchangeable.
    pub fn overlays(&self, merged: &Path) -> Vec<Overlay> {
        let Some(layer) = &self.layer else { return Vec::new() };
        self.parts()
            .map(|(part, name)| Overlay {
                lower: vec![layer.join(&name), self.base.join(part)],
                upper: None,
                target: merged.join(name),
            })
            .collect()
    }

    /// The overlays that take changes to the base into the layer.
    pub fn changing_overlays(&self, work: &Path, merged: &Path) -> Vec<Overlay> {
        let Some(layer) = &self.layer else { return Vec::new() };
        self.parts()
            .map(|(part, name)| Overlay {
                lower: vec![self.base.join(part)],
                upper: Some((layer.join(&name), work.join(&name))),
                target: merged.join(name),
            })
            .collect()
    }

    /// Where a file of the root is, seen from the host: in the layer if that has it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.layer
            .as_ref()
            .map(|layer| layer.join(name))
            .filter(|path| path.exists())
            .unwrap_or_else(|| self.base.join(name))
    }

    pub(super) fn is_host(&self) -> bool {
        self.base == Path::new("/")
    }

    /// Everything that isn't there for a sandbox, by its path in the sandbox.
    pub(super) fn hidden(&self, state: &Path, for_build: bool) -> Vec<(PathBuf, bool)> {
        let mut found = Hidden {
            parts: &self.parts,
            paths: Vec::new(),
        };
        if !self.is_host() {
            return found.paths;
        }
        for path in HIDDEN.iter().map(Path::new).chain([state]) {
            found.hide(path);
        }
        if for_build {
            found.hide_private("/etc");
            found.hide_private("/var/lib");
            for path in HIDDEN_FROM_BUILDS {
                found.hide(Path::new(path));
            }
        }
        found.paths
    }

    /// The arguments that put the root together, from `inside` where the parts have been merged.
    pub(super) fn arguments(
        &self,
        out: &mut Vec<OsString>,
        bind: &str,
        inside: &dyn Fn(&Path) -> PathBuf,
        merged: &Path,
    ) {
        for (part, name) in self.parts() {
            let source = if self.layer.is_some() {
                merged.join(name)
            } else {
                self.base.join(part)
            };
            out.extend(words(&[Path::new(bind), &inside(&source), &Path::new("/").join(part)]));
        }
        for (link, to) in &self.links {
            out.extend(words(&[Path::new("--symlink"), link, to]));
        }
        for dir in ["/var/cache", "/var/log", "/var/spool"] {
            out.extend(words(&["--size", SHARED_MEMORY, "--tmpfs", dir]));
        }
        out.extend(words(&[
            "--symlink",
            "/run",
            "/var/run",
            "--symlink",
            "/run/lock",
            "/var/lock",
        ]));
    }
}

/// A collection of paths to be covered.
struct Hidden<'a> {
    parts: &'a [&'static str],
    paths: Vec<(PathBuf, bool)>,
}

impl Hidden<'_> {
    /// Covers the entries of a directory that not everyone may read: they are somebody's secret.
    fn hide_private(&mut self, dir: &str) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let Ok(kind) = entry.metadata() else { continue };
            let public = if kind.is_dir() { 0o005 } else { 0o004 };
            if !kind.is_symlink() && kind.permissions().mode() & public != public {
                self.hide(&entry.path());
            }
        }
    }

    fn hide(&mut self, path: &Path) {
        let visible = self
            .parts
            .iter()
            .any(|part| path.starts_with(Path::new("/").join(part)));
        let Ok(kind) = fs::symlink_metadata(path) else { return };
        if visible && !kind.is_symlink() && !self.paths.iter().any(|(known, _)| path.starts_with(known)) {
            self.paths.push((path.to_owned(), kind.is_dir()));
        }
    }
}

pub(super) fn hide(out: &mut Vec<OsString>, hidden: &[(PathBuf, bool)], for_build: bool) {
    for (path, is_dir) in hidden {
        if *is_dir {
            out.extend(words(&["--size", SMALL, "--tmpfs"]));
            out.push(path.into());
            // A package's own script may insist on a directory there; what it writes is dropped.
            if for_build {
                out.extend(words(&[Path::new("--remount-ro"), path]));
            }
        } else {
            out.extend(words(&[Path::new("--ro-bind"), Path::new("/dev/null"), path]));
        }
    }
}
