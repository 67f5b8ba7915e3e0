//! The sandbox in which build dependencies are installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::stage::words;
use super::root::{Root, hide};
use super::{SMALL, isolated, resolver};

/// The sandbox in which packages are installed into a layer: root of a user namespace, which can't leave the layer.
pub(in super::super) struct InstallSandbox<'a> {
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
        let mut out = isolated();
        out.extend(words(&["--cap-drop", "ALL"]));
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
            resolver(&mut out, self.root.base(), &(self.inside)(&self.scratch.join("resolv")));
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
