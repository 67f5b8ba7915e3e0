//! The bwrap command line: what a build sees, and what it doesn't. Pure, but for looking which paths exist.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::machine;
use super::stage::words;

/// Directories of a Debian root that packages install into, where `var` is treated by itself.
const TOP: [&str; 9] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt"];

/// Of a host's own /etc and /var/lib, what no build has any business with, whatever its permissions say.
const HIDDEN: [&str; 16] = [
    "/etc/apt/auth.conf",
    "/etc/apt/auth.conf.d",
    "/etc/docker",
    "/etc/foundry",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/etc/letsencrypt",
    "/etc/netplan",
    "/etc/NetworkManager",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers.d",
    "/etc/wireguard",
    "/var/lib/foundry",
    "/var/lib/private",
];

/// The id that a build has inside its sandbox.
pub(super) const BUILD_USER: u32 = 1000;

/// Sizes of the small memory file systems, in bytes.
const SMALL: &str = "16777216";
const SHARED_MEMORY: &str = "268435456";

/// Where a sandbox's root comes from: `top` lists every top-level directory with its source.
#[derive(Debug, Clone, Default)]
pub(super) struct Root {
    /// Mounted read only: from, to.
    binds: Vec<(PathBuf, PathBuf)>,
    /// `bin -> usr/bin`.
    links: Vec<(PathBuf, PathBuf)>,
    /// Covered with nothing.
    hidden: Vec<(PathBuf, bool)>,
    /// Whether the root is this machine's own.
    is_host: bool,
}

impl Root {
    /// This machine's own root. What lies in `state` is covered, wherever that is.
    pub fn host(state: &Path) -> Self {
        let mut root = Self {
            is_host: true,
            ..Self::default()
        };
        root.take_top(Path::new("/"), |name| Path::new("/").join(name));
        root.binds.push(("/var/lib".into(), "/var/lib".into()));
        root.hide_private("/etc");
        root.hide_private("/var/lib");
        for path in HIDDEN.iter().map(Path::new).chain([Path::new("/usr/local"), state]) {
            root.hide(path);
        }
        root
    }

    /// A root that overlays have put together at `merged`, seen from inside as `inside`; `model` has the same names.
    pub fn merged(model: &Path, merged: impl Fn(&str) -> PathBuf) -> Self {
        let mut root = Self::default();
        root.take_top(model, &merged);
        root.binds.push((merged("var"), "/var".into()));
        root
    }

    fn take_top(&mut self, model: &Path, source: impl Fn(&str) -> PathBuf) {
        for name in TOP {
            let path = model.join(name);
            let target = Path::new("/").join(name);
            match fs::symlink_metadata(&path) {
                Ok(kind) if kind.is_symlink() => {
                    if let Ok(link) = fs::read_link(&path) {
                        self.links.push((link, target));
                    }
                }
                Ok(kind) if kind.is_dir() => self.binds.push((source(name), target)),
                _ => {}
            }
        }
    }

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
        let inside = self.binds.iter().any(|(_, target)| path.starts_with(target));
        let Ok(kind) = fs::symlink_metadata(path) else { return };
        if inside && !kind.is_symlink() && !self.hidden.iter().any(|(known, _)| path.starts_with(known)) {
            self.hidden.push((path.to_owned(), kind.is_dir()));
        }
    }

    /// Whether a path in the sandbox exists before anything is put there.
    fn arguments(&self, out: &mut Vec<OsString>) {
        for (from, to) in &self.binds {
            out.extend(words(&[Path::new("--ro-bind"), from, to]));
        }
        for (link, to) in &self.links {
            out.extend(words(&[Path::new("--symlink"), link, to]));
        }
        for (path, is_dir) in &self.hidden {
            if *is_dir {
                out.extend(words(&["--size", SMALL, "--tmpfs"]));
                out.extend(words(&[path.as_path(), Path::new("--remount-ro"), path]));
            } else {
                out.extend(words(&[Path::new("--ro-bind"), Path::new("/dev/null"), path]));
            }
        }
    }
}

/// What a build's sandbox is made of besides its root, with paths as seen from inside the stage.
#[derive(Debug)]
pub(super) struct BuildSandbox<'a> {
    pub root: &'a Root,
    /// The directory that becomes /build: the tree, and beside it the results.
    pub build: &'a Path,
    /// The directory that becomes /tmp and /var/tmp.
    pub tmp: &'a Path,
    /// Replacements of /etc/passwd, /etc/group and /etc/hosts.
    pub passwd: &'a Path,
    pub group: &'a Path,
    pub hosts: &'a Path,
    /// Where the command starts.
    pub directory: &'a str,
    pub environment: &'a [(String, String)],
    /// The bounds that every single process gets.
    pub processes: u64,
    pub file_size: u64,
}

impl BuildSandbox<'_> {
    /// The whole command line that runs `command` as a plain user without a network.
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
        self.root.arguments(&mut out);
        if self.root.is_host {
            for dir in ["/var/cache", "/var/log", "/var/spool"] {
                out.extend(words(&["--size", SMALL, "--tmpfs", dir]));
            }
            out.extend(words(&["--symlink", "/run", "/var/run"]));
        }
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
        for (from, to) in [
            (self.passwd, "/etc/passwd"),
            (self.group, "/etc/group"),
            (self.hosts, "/etc/hosts"),
        ] {
            out.extend(words(&[Path::new("--ro-bind"), from, Path::new(to)]));
        }
        for (from, to) in [(self.build, "/build"), (self.tmp, "/tmp"), (self.tmp, "/var/tmp")] {
            out.extend(words(&[Path::new("--bind"), from, Path::new(to)]));
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
