//! The bwrap command line: what a build sees, and what it doesn't. Pure, but for looking which paths exist.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::machine;
use super::stage::{Overlay, words};

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

/// The id that a build has inside its sandbox.
pub(super) const BUILD_USER: u32 = 1000;

/// Sizes of the memory file systems, in bytes.
const SMALL: &str = "16777216";
const SHARED_MEMORY: &str = "268435456";

/// The file system below a sandbox: a base that is only read, and maybe a layer over it.
#[derive(Debug, Clone)]
pub(super) struct Root {
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

    fn is_host(&self) -> bool {
        self.base == Path::new("/")
    }

    /// Everything that isn't there for a sandbox, by its path in the sandbox.
    fn hidden(&self, state: &Path, for_build: bool) -> Vec<(PathBuf, bool)> {
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
    fn arguments(&self, out: &mut Vec<OsString>, bind: &str, inside: &dyn Fn(&Path) -> PathBuf, merged: &Path) {
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

fn hide(out: &mut Vec<OsString>, hidden: &[(PathBuf, bool)], for_build: bool) {
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

/// The sandbox of a build: a plain user without a network, who can write to the build's directory and nowhere else.
pub(super) struct BuildSandbox<'a> {
    pub root: &'a Root,
    /// The host's state, which no sandbox sees.
    pub state: &'a Path,
    /// The build's own directory, with `build`, `tmp`, `merged`, `passwd`, `group` and `hosts` in it.
    pub scratch: &'a Path,
    /// Where a path of the host's is when the sandbox is made.
    pub inside: &'a dyn Fn(&Path) -> PathBuf,
    /// Where the command starts.
    pub directory: &'a str,
    pub environment: &'a [(String, String)],
    /// The bounds that every single process gets.
    pub processes: u64,
    pub file_size: u64,
}

impl BuildSandbox<'_> {
    /// The whole command line.
    pub fn command(&self, command: &[&str]) -> Vec<OsString> {
        let mut out = words(&[
            "bwrap",
            "--unshare-user",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-net",
            "--unshare-cgroup-try",
            "--die-with-parent",
            "--new-session",
            "--seccomp",
            "9",
            "--disable-userns",
            "--cap-drop",
            "ALL",
            "--hostname",
            "foundry-build",
            "--clearenv",
        ]);
        let id = BUILD_USER.to_string();
        out.extend(words(&["--uid", &id, "--gid", &id]));
        for (name, value) in self.environment {
            out.extend(words(&["--setenv", name, value]));
        }
        self.root
            .arguments(&mut out, "--ro-bind", self.inside, &self.scratch.join("merged"));
        hide(&mut out, &self.root.hidden(self.state, true), true);
        out.extend(words(&["--proc", "/proc", "--dev", "/dev"]));
        out.extend(words(&[
            "--size",
            SHARED_MEMORY,
            "--perms",
            "1777",
            "--tmpfs",
            "/dev/shm",
        ]));
        out.extend(words(&["--remount-ro", "/dev", "--size", SMALL, "--tmpfs", "/run"]));
        let own = |name: &str| (self.inside)(&self.scratch.join(name));
        for (name, to) in [
            ("passwd", "/etc/passwd"),
            ("group", "/etc/group"),
            ("hosts", "/etc/hosts"),
        ] {
            out.extend(words(&[Path::new("--ro-bind"), &own(name), Path::new(to)]));
        }
        for (name, to) in [("build", "/build"), ("tmp", "/tmp"), ("tmp", "/var/tmp")] {
            out.extend(words(&[Path::new("--bind"), &own(name), Path::new(to)]));
        }
        // The rest is made of directories that hold the mounts above; a build has nothing to write there.
        out.extend(words(&["--remount-ro", "/", "--chdir", self.directory, "--"]));
        out.extend(words(&[
            "prlimit".to_owned(),
            format!("--nproc={}", self.processes),
            format!("--fsize={}", self.file_size),
            "--core=0".to_owned(),
        ]));
        out.push("--".into());
        out.extend(words(command));
        out
    }
}

/// The sandbox in which packages are installed into a layer: root of a user namespace, which can't leave the layer.
pub(super) struct InstallSandbox<'a> {
    pub root: &'a Root,
    pub state: &'a Path,
    /// The build's own directory, with `merged`, `cache` and `resolv` in it.
    pub scratch: &'a Path,
    /// Where packages are kept once they are fetched.
    pub archives: &'a Path,
    pub inside: &'a dyn Fn(&Path) -> PathBuf,
    /// Only to fetch: while packages run their own scripts there is none.
    pub network: bool,
}

impl InstallSandbox<'_> {
    /// The whole command line.
    pub fn command(&self, command: &[String]) -> Vec<OsString> {
        let mut out = words(&[
            "bwrap",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
            "--die-with-parent",
            "--new-session",
            "--seccomp",
            "9",
            "--hostname",
            "foundry-build",
            "--cap-drop",
            "ALL",
        ]);
        // What dpkg and the packages' scripts use; nothing that mounts, traces or configures.
        for name in [
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETFCAP",
            "SYS_CHROOT",
        ] {
            out.extend(words(&["--cap-add", &format!("CAP_{name}")]));
        }
        if !self.network {
            out.extend(words(&["--unshare-net"]));
        }
        self.root
            .arguments(&mut out, "--bind", self.inside, &self.scratch.join("merged"));
        hide(&mut out, &self.root.hidden(self.state, false), false);
        // Read only as a whole: here uid 0 may be the machine's own, to whom the kernel's settings belong.
        out.extend(words(&["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]));
        out.extend(words(&["--size", SMALL, "--tmpfs", "/run"]));
        let cache = (self.inside)(&self.scratch.join("cache"));
        for to in ["/tmp", "/var/tmp", "/var/cache/apt"] {
            out.extend(words(&[Path::new("--bind"), &cache, Path::new(to)]));
        }
        out.extend(words(&[
            Path::new("--bind"),
            &(self.inside)(self.archives),
            Path::new("/var/cache/apt/archives"),
        ]));
        if self.network {
            resolver(&mut out, &self.root.base, &(self.inside)(&self.scratch.join("resolv")));
            if !self.root.is_host() {
                for path in ["/etc/apt/auth.conf", "/etc/apt/auth.conf.d"] {
                    out.extend(words(&["--ro-bind-try", path, path]));
                }
            }
        }
        out.extend(words(&["--chdir", "/", "--"]));
        out.extend(words(command));
        out
    }
}

/// The sandbox in which mmdebstrap makes a root: this machine's own root, read only, and the new one.
pub(super) struct BootstrapSandbox<'a> {
    pub root: &'a Root,
    pub state: &'a Path,
    /// The build's own directory, with `root`, `bootstrap`, `mirrors.sources`, `transport.conf` and `resolv` in it.
    pub scratch: &'a Path,
    pub inside: &'a dyn Fn(&Path) -> PathBuf,
}

impl BootstrapSandbox<'_> {
    /// The whole command line. It has a network: everything that runs comes from the machine's own mirrors.
    pub fn command(&self, suite: &str, architecture: &str, hooks: &[String]) -> Vec<OsString> {
        let mut out = words(&[
            "bwrap",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
            "--die-with-parent",
            "--new-session",
            "--seccomp",
            "9",
            "--hostname",
            "foundry-build",
        ]);
        self.root
            .arguments(&mut out, "--ro-bind", self.inside, &self.scratch.join("merged"));
        hide(&mut out, &self.root.hidden(self.state, false), false);
        out.extend(words(&[
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--ro-bind",
            "/sys",
            "/sys",
        ]));
        out.extend(words(&["--size", SMALL, "--tmpfs", "/run"]));
        let own = |name: &str| (self.inside)(&self.scratch.join(name));
        for (name, to) in [("root", "/target"), ("bootstrap", "/tmp"), ("bootstrap", "/var/tmp")] {
            out.extend(words(&[Path::new("--bind"), &own(name), Path::new(to)]));
        }
        for name in ["mirrors.sources", "transport.conf"] {
            out.extend(words(&[Path::new("--ro-bind"), &own(name), &Path::new("/").join(name)]));
        }
        resolver(&mut out, &self.root.base, &own("resolv"));
        out.extend(words(&["--chdir", "/", "--"]));
        out.extend(words(&[
            "mmdebstrap",
            "--mode=root",
            "--variant=buildd",
            "--format=directory",
            "--include=fakeroot",
            "--skip=cleanup/apt/lists",
            "--skip=chroot/mount/sys",
            "--aptopt=/transport.conf",
            "--dpkgopt=force-unsafe-io",
        ]));
        out.extend(words(hooks));
        out.extend(words(&[
            &format!("--architectures={architecture}"),
            suite,
            "/target",
            "/mirrors.sources",
        ]));
        out
    }
}

/// Shows where names are looked up. The name of that file may be a link into /run, which is empty here.
fn resolver(out: &mut Vec<OsString>, base: &Path, file: &Path) {
    let name = Path::new("/etc/resolv.conf");
    let link = fs::read_link(base.join("etc/resolv.conf")).map(|link| Path::new("/etc").join(link));
    let target = match link {
        Ok(link) if link.starts_with("/run") => link,
        Ok(link) => link
            .strip_prefix("/etc/..")
            .map_or_else(|_| name.to_owned(), |rest| Path::new("/").join(rest)),
        Err(_) => name.to_owned(),
    };
    out.extend(words(&[Path::new("--ro-bind"), file, &target]));
}

/// The environment of what installs packages: with the machine's way to its mirrors, if it may use it.
pub(super) fn install_environment(network: bool) -> Vec<(OsString, OsString)> {
    let mut pairs: Vec<(OsString, OsString)> = vec![
        ("DEBIAN_FRONTEND".into(), "noninteractive".into()),
        ("HOME".into(), "/nonexistent".into()),
    ];
    if network {
        for name in [
            "http_proxy",
            "https_proxy",
            "ftp_proxy",
            "no_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            if let Some(value) = std::env::var_os(name) {
                pairs.push((name.into(), value));
            }
        }
    }
    pairs
}

/// The environment that every build gets, and no more.
pub(super) fn environment(jobs: usize, source_date_epoch: Option<i64>) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("PATH".to_owned(), machine::PATH.to_owned()),
        // As on Debian's own builders: a build that writes to the home directory fails.
        ("HOME".to_owned(), "/nonexistent".to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ("LOGNAME".to_owned(), "build".to_owned()),
        ("USER".to_owned(), "build".to_owned()),
        ("SHELL".to_owned(), "/bin/sh".to_owned()),
        ("TZ".to_owned(), "UTC".to_owned()),
        ("DEB_BUILD_OPTIONS".to_owned(), format!("parallel={jobs}")),
        // The sandbox has no other user: a real chown fails with EINVAL, which fakeroot, unlike EPERM, passes on.
        ("FAKEROOTDONTTRYCHOWN".to_owned(), "1".to_owned()),
        ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()),
    ];
    if let Some(epoch) = source_date_epoch {
        pairs.push(("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string()));
    }
    pairs
}

/// The users of a root without its people: system accounts stay, and the build gets a name.
pub(super) fn accounts(text: &str, build_line: &str) -> String {
    let mut kept: String = text
        .lines()
        .filter(|line| {
            line.split(':')
                .nth(2)
                .and_then(|id| id.parse::<u32>().ok())
                .is_some_and(|id| id < BUILD_USER || id == 65_534)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    kept.push_str(build_line);
    kept.push('\n');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_no_part_of_the_sandbox() {
        let text = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/zsh\nbroken\nnobody:x:65534:65534::/:/bin/false\n";
        assert_eq!(
            accounts(text, "build:x:1000:1000::/nonexistent:/bin/sh"),
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\nbuild:x:1000:1000::/nonexistent:/bin/sh\n"
        );
    }
}
