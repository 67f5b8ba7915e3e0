//! The sandbox in which a root for builds is made.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::stage::words;
use super::root::{Root, hide};
use super::{SMALL, isolated, resolver};

/// The sandbox in which mmdebstrap makes a root: this machine's own root, read only, and the new one.
pub(in super::super) struct BootstrapSandbox<'a> {
    pub root: &'a Root,
    pub state: &'a Path,
    /// The build's own directory, with `root`, `bootstrap`, `mirrors.sources`, `transport.conf` and `resolv` in it.
    pub scratch: &'a Path,
    pub inside: &'a dyn Fn(&Path) -> PathBuf,
}

impl BootstrapSandbox<'_> {
    /// The whole command line. It has a network: everything that runs comes from the machine's own mirrors.
    pub fn command(&self, suite: &str, architecture: &str, hooks: &[String]) -> Vec<OsString> {
        let mut out = isolated();
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
        resolver(&mut out, self.root.base(), &own("resolv"));
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
