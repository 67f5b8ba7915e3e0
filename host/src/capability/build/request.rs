//! What a caller asks for, and what it gets back.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Which packages a build makes from one source tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BuildKind {
    /// The source package and every binary package (`dpkg-buildpackage -F`).
    #[default]
    Full,
    /// Every binary package, architecture dependent and independent (`-b`).
    Binary,
    /// Only the packages of this architecture (`-B`); what the second and later architectures build.
    Any,
    /// Only the packages for every architecture (`-A`).
    All,
    /// Only the source package (`-S`); needs no build dependencies.
    Source,
}

impl BuildKind {
    /// Whether the result holds a source package.
    #[must_use]
    pub fn has_source(self) -> bool {
        matches!(self, Self::Full | Self::Source)
    }

    /// Whether the result holds binary packages.
    #[must_use]
    pub fn has_binaries(self) -> bool {
        self != Self::Source
    }

    /// The name that dpkg's tools use for it in `--build=`.
    pub(super) fn dpkg_name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Binary => "binary",
            Self::Any => "any",
            Self::All => "all",
            Self::Source => "source",
        }
    }
}

/// The bounds that one build must stay within.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall time for the whole build, its preparation included.
    pub wall_time: Duration,
    /// Memory of all the build's processes together, in bytes.
    pub memory: u64,
    /// What the build may write, in bytes: its tree, its artifacts and its temporary files.
    pub disk: u64,
    /// Processes and threads alive at one time.
    pub processes: u64,
    /// Bytes of log that are kept; the rest is counted and dropped.
    pub log: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_time: Duration::from_secs(2 * 60 * 60),
            memory: 8 << 30,
            disk: 20 << 30,
            processes: 4096,
            log: 64 << 20,
        }
    }
}

/// A file that the caller puts into the source tree before the build, in place of what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayFile {
    /// Where, relative to the top of the tree. Absolute paths and `..` are refused.
    pub path: PathBuf,
    /// The whole new content.
    pub content: Vec<u8>,
}

/// One build: a source tree, and how to build it.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The exported tree of the commit, without `.git`. It is only read.
    pub source: PathBuf,
    /// An existing directory that receives the artifacts and the log. Files of the same name are replaced.
    pub output: PathBuf,
    /// The Debian suite to build in. None: the suite that this machine runs.
    pub suite: Option<String>,
    /// The Debian architecture to build for. None: this machine's.
    pub architecture: Option<String>,
    /// Which packages to make.
    pub kind: BuildKind,
    /// Extra APT sources, each a line (`deb URI SUITE COMPONENT`) or a deb822 stanza.
    pub repositories: Vec<String>,
    /// Files with the OpenPGP keys that the extra APT sources, and only those, are checked against.
    pub keyrings: Vec<PathBuf>,
    /// Upstream tarballs and their signatures, where the caller has them (`NAME_VERSION.orig.tar.xz`).
    /// Without one, a `3.0 (quilt)` package gets a tarball generated from its tree.
    pub upstream: Vec<PathBuf>,
    /// Files that replace those of the tree, such as a new `debian/changelog`.
    pub files: Vec<OverlayFile>,
    /// What the build may use.
    pub limits: Limits,
    /// The time that the build writes into its results. None: that of the changelog's newest entry.
    pub source_date_epoch: Option<i64>,
}

impl BuildRequest {
    /// A full build of `source` for this machine's own suite and architecture, into `output`.
    #[must_use]
    pub fn new(source: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            output: output.into(),
            suite: None,
            architecture: None,
            kind: BuildKind::default(),
            repositories: Vec::new(),
            keyrings: Vec::new(),
            upstream: Vec::new(),
            files: Vec::new(),
            limits: Limits::default(),
            source_date_epoch: None,
        }
    }

    /// Checks what can be checked without touching the disk, and says what is wrong.
    pub(super) fn fault(&self) -> Option<String> {
        let token = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+' | '_'))
        };
        if let Some(suite) = self.suite.as_deref().filter(|suite| !token(suite)) {
            return Some(format!("`{suite}` is not the name of a suite"));
        }
        if let Some(name) = self.architecture.as_deref().filter(|name| !token(name)) {
            return Some(format!("`{name}` is not the name of an architecture"));
        }
        if let Some(file) = self.files.iter().find(|file| !stays_inside(&file.path)) {
            return Some(format!(
                "the overlay file `{}` would lie outside the tree",
                file.path.display()
            ));
        }
        None
    }
}

/// Whether a relative path names something strictly below its starting point, by its words alone.
fn stays_inside(path: &Path) -> bool {
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// The parts of a build, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The tree is checked and copied, and a root is chosen.
    Prepare,
    /// The build dependencies are fetched and installed into the sandbox's root; only the fetching has a network.
    Dependencies,
    /// The source package is made.
    Source,
    /// The binary packages are made.
    Build,
    /// The artifacts are checked against the build's own `.changes` and moved out.
    Collect,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Dependencies => "dependencies",
            Self::Source => "source",
            Self::Build => "build",
            Self::Collect => "collect",
        })
    }
}

/// Where the sandbox's file system comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// This machine's own `/usr`, `/etc` and `/var/lib`, read only. Needs no set-up.
    HostRoot,
    /// The same with the missing build dependencies in a private layer above it. Needs root.
    HostRootLayered,
    /// A root of its own, made by mmdebstrap for the suite, with the build dependencies in a layer above it.
    OwnRoot,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostRoot => "host root",
            Self::HostRootLayered => "host root with a layer",
            Self::OwnRoot => "own root",
        })
    }
}

/// What kind of file an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ArtifactKind {
    /// The list of everything that the build made.
    Changes,
    /// The record of what the build was made with.
    Buildinfo,
    /// The description of the source package.
    Dsc,
    /// A part of the source package: a tarball, its signature, or a diff.
    Source,
    /// A binary package.
    Deb,
    /// A binary package with debug symbols.
    Ddeb,
    /// A binary package for the installer.
    Udeb,
    /// Anything else that the `.changes` lists.
    Other,
}

/// One file that a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its place in the request's output directory.
    pub path: PathBuf,
    /// Its name there, without any directory.
    pub name: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its content.
    pub sha256: [u8; 32],
}

/// How long one phase took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseTime {
    /// Which.
    pub phase: Phase,
    /// Its wall time.
    pub duration: Duration,
}

/// A build that succeeded.
#[derive(Debug, Clone)]
pub struct BuildReport {
    /// The name of the source package.
    pub source: String,
    /// Its version, with the epoch if it has one.
    pub version: String,
    /// The distribution that its changelog names.
    pub distribution: String,
    /// The architecture that was built for: `amd64`.
    pub architecture: String,
    /// The architectures of the result, as the `.changes` lists them (`source amd64 all`).
    pub architectures: Vec<String>,
    /// Everything that was made; the `.changes` first.
    pub artifacts: Vec<Artifact>,
    /// The whole log, up to its limit.
    pub log: PathBuf,
    /// How it was built.
    pub backend: Backend,
    /// How long each phase took.
    pub phases: Vec<PhaseTime>,
}

/// Hears of a build while it runs. Called on the build's own thread: a slow observer slows the build,
/// so one that forwards elsewhere should drop what it can't pass on at once.
pub trait Observer: Send {
    /// A phase begins.
    fn phase(&mut self, phase: Phase);
    /// The build wrote a line. Invalid UTF-8 is replaced and overlong lines are cut.
    fn line(&mut self, line: &str);
}

/// An observer that isn't interested.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn phase(&mut self, _phase: Phase) {}
    fn line(&mut self, _line: &str) {}
}

/// What an observer forwards when the receiver is a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A phase begins.
    Phase(Phase),
    /// A line of the log.
    Line(String),
}

/// Forwards to a bounded channel. A full channel loses lines (the log file has them), never phases' order.
impl Observer for tokio::sync::mpsc::Sender<Progress> {
    fn phase(&mut self, phase: Phase) {
        // A live view that has gone away is no reason to stop a build.
        let _ = self.try_send(Progress::Phase(phase));
    }

    fn line(&mut self, line: &str) {
        let _ = self.try_send(Progress::Line(line.to_owned()));
    }
}
