//! What a sandbox sees, for every purpose that there is. This is the only place that decides it, and it decides by
//! naming what is there: whatever else the machine has is in no sandbox, wherever it is.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::allowed::{PASSWORDS, TRANSPORT};
use super::plan::{Plan, SHARED_MEMORY, SMALL};
use super::root::Root;

/// What a sandbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Purpose {
    /// Makes a root from the machine's own mirrors. It has a network; the scripts of Debian's base system run.
    Bootstrap,
    /// Asks apt what is needed, and fetches it. It has a network; no script of a package runs.
    Fetch,
    /// Installs packages into a layer, whose scripts run.
    Install,
    /// Runs what a source package says: to make the source package, to build it, to test it.
    Build,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bootstrap => "making a root",
            Self::Fetch => "fetching packages",
            Self::Install => "installing packages",
            Self::Build => "building",
        })
    }
}

impl Purpose {
    /// Whether packages are put into a layer.
    pub fn installs(self) -> bool {
        matches!(self, Self::Fetch | Self::Install)
    }

    /// Whether it has the machine's network, and so the machine's way to its mirrors.
    pub fn has_network(self) -> bool {
        matches!(self, Self::Bootstrap | Self::Fetch)
    }
}

/// What a sandbox is put together from.
pub(in super::super) struct View<'a> {
    pub root: &'a Root,
    /// The build's own directory.
    pub scratch: &'a Path,
    /// Where packages are kept once they are fetched; only for those who install.
    pub archives: &'a Path,
    /// Directories that no sandbox may see: the host's state, its user's home.
    pub private: &'a [PathBuf],
    /// Where a path of the host's is when the sandbox is made.
    pub inside: &'a dyn Fn(&Path) -> PathBuf,
}

impl View<'_> {
    /// The mounts of a sandbox.
    pub(super) fn plan(&self, purpose: Purpose) -> Plan<'_> {
        let mut plan = Plan::new(self.inside);
        // What bwrap makes by itself to hold a mount, nobody but its owner may enter.
        for at in ["/etc", "/var", "/var/lib"] {
            plan.directory(at);
        }
        self.root.show(&mut plan, purpose, &self.scratch.join("merged"));
        for path in self.root.covered(self.private) {
            // A package's own script may insist on a directory there; what it writes is dropped.
            plan.memory(&path, SMALL);
            if !purpose.installs() {
                plan.close(&path);
            }
        }
        self.kernel(&mut plan, purpose);
        self.places_to_write(&mut plan, purpose);
        self.files(&mut plan, purpose);
        if purpose == Purpose::Build {
            // apt's sources may hold passwords, and a build installs nothing.
            if self.root.has_layer() {
                plan.memory("/etc/apt", SMALL);
                plan.close("/etc/apt");
            }
            // The rest is made of directories that hold the mounts above; a build has nothing to write there.
            plan.close("/");
        }
        plan
    }

    /// What the kernel shows. Its settings belong to the machine's root, who may be who installs packages here.
    fn kernel(&self, plan: &mut Plan<'_>, purpose: Purpose) {
        plan.processes();
        if purpose != Purpose::Build {
            plan.close("/proc");
        }
        plan.devices();
        plan.public_memory("/dev/shm", SHARED_MEMORY);
        if purpose == Purpose::Build {
            plan.close("/dev");
        }
    }

    fn places_to_write(&self, plan: &mut Plan<'_>, purpose: Purpose) {
        for (at, size) in [
            ("/run", SMALL),
            ("/var/cache", SHARED_MEMORY),
            ("/var/log", SHARED_MEMORY),
            ("/var/spool", SHARED_MEMORY),
        ] {
            if purpose == Purpose::Build {
                plan.directory(at);
            } else {
                plan.memory(at, size);
            }
        }
        plan.link(Path::new("/run"), "/var/run");
        plan.link(Path::new("/run/lock"), "/var/lock");
        let lent: &[(&str, &str)] = match purpose {
            Purpose::Build => &[("build", "/build"), ("tmp", "/tmp"), ("tmp", "/var/tmp")],
            Purpose::Bootstrap => &[("root", "/target"), ("bootstrap", "/tmp"), ("bootstrap", "/var/tmp")],
            Purpose::Fetch | Purpose::Install => &[
                ("cache/tmp", "/tmp"),
                ("cache/tmp", "/var/tmp"),
                ("cache/apt", "/var/cache/apt"),
            ],
        };
        for (name, at) in lent {
            plan.lend(&self.scratch.join(name), at);
        }
        match purpose {
            Purpose::Fetch => plan.lend(self.archives, "/var/cache/apt/archives"),
            Purpose::Install => plan.show(self.archives, "/var/cache/apt/archives"),
            Purpose::Build | Purpose::Bootstrap => {}
        }
    }

    /// Files of our own, and those that only this purpose needs.
    fn files(&self, plan: &mut Plan<'_>, purpose: Purpose) {
        let own: &[(&str, &str)] = match purpose {
            Purpose::Build => &[
                ("passwd", "/etc/passwd"),
                ("group", "/etc/group"),
                ("hosts", "/etc/hosts"),
            ],
            Purpose::Bootstrap => &[
                ("passwd", "/etc/passwd"),
                ("group", "/etc/group"),
                ("mirrors.sources", "/mirrors.sources"),
            ],
            Purpose::Fetch | Purpose::Install => &[],
        };
        for (name, at) in own {
            plan.show(&self.scratch.join(name), at);
        }
        if purpose.has_network() {
            plan.show(&self.scratch.join("resolv"), resolver(self.root));
            for name in PASSWORDS {
                let kept = self.scratch.join("passwords").join(name);
                if kept.exists() {
                    plan.show(&kept, Path::new("/etc").join(name));
                }
            }
            let transport = match purpose {
                Purpose::Bootstrap => "/transport.conf".into(),
                _ => Path::new("/etc").join(TRANSPORT),
            };
            plan.show(&self.scratch.join("passwords").join(TRANSPORT), transport);
        }
    }
}

/// Where names are looked up. In a root of its own that file may be a link into /run, which is empty here.
fn resolver(root: &Root) -> PathBuf {
    let name = Path::new("/etc/resolv.conf");
    let link = (!root.is_host()).then(|| fs::read_link(root.base().join("etc/resolv.conf")));
    let Some(Ok(link)) = link else {
        return name.to_owned();
    };
    let link = Path::new("/etc").join(link);
    if link.starts_with("/run") {
        return link;
    }
    link.strip_prefix("/etc/..")
        .map_or_else(|_| name.to_owned(), |rest| Path::new("/").join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_mirrors_is_shown_where_they_are_reached_and_nowhere_else() {
        let root = Root::over(Path::new("/")).with_layer(Path::new("/layer"));
        let view = View {
            root: &root,
            scratch: Path::new("/scratch"),
            archives: Path::new("/archives"),
            private: &[],
            inside: &|path| path.to_owned(),
        };
        let transport = Path::new("/scratch/passwords").join(TRANSPORT);
        for purpose in [Purpose::Bootstrap, Purpose::Fetch, Purpose::Install, Purpose::Build] {
            let words = view.plan(purpose).into_words();
            let is_shown = words.contains(&transport.clone().into_os_string());
            assert_eq!(is_shown, purpose.has_network(), "{purpose}");
        }
    }
}
