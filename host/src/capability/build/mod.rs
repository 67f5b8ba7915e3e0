//! The capability `build`: makes Debian packages from a source tree, in a sandbox.
//!
//! The source is hostile until proven otherwise: it comes from a commit, and a build runs whatever the commit says.
//! So every command that touches it runs in a sandbox of the operating system's own tools (bubblewrap, user
//! namespaces, overlays, control groups), without a network, as a user who owns nothing but the build's own
//! directory, under limits on time, memory, disk and processes. What comes out is only what the build's own
//! `.changes` lists, checked name by name and byte by byte.
//!
//! ```text
//! prepare        copy the tree, check what it says about itself, choose a root          no sandbox, no code of it runs
//! dependencies   apt installs what the build needs into a layer above the root          network only to fetch
//! source         dpkg-source makes the source package                                   no network
//! build          dpkg-buildpackage makes the binary packages                            no network
//! collect        the artifacts are checked against the .changes and moved out           no sandbox, no code of it runs
//! ```
//!
//! [`Builder`] is the whole interface. A build runs on its own thread from beginning to end, which is also the
//! parent of every process in it: the kernel ends those processes when that thread dies, and so when the host does.

mod apt;
mod archives;
mod binding;
mod cgroup;
mod changes;
mod collect;
mod data;
mod error;
mod ids;
mod inventory;
mod job;
mod keeper;
mod layer;
mod lease;
mod log;
mod machine;
mod machine_layer;
mod package;
mod pipeline;
mod probe;
mod provide;
mod request;
mod retention;
mod rights;
mod root;
mod sandbox;
mod scratch;
mod seccomp;
mod source_grant;
mod source_reach;
mod stage;
mod storing;
mod subordinate;
mod supervise;
mod taped;
#[cfg(test)]
mod tests;
mod tree;
mod tried;
mod usage;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use error::{BuildError, Exit, LogTail, Unavailable};
pub use probe::{Needs, examine};
pub use request::{
    Artifact, ArtifactKind, Backend, BuildKind, BuildReport, BuildRequest, Limits, Observer, OverlayFile, Phase,
    PhaseTime, Progress, Silent,
};

pub use source_grant::{BadSourceGrant, SourceGrant, SourceRefusal};
pub use subordinate::{IdsFault, User, ids_fault};

use cgroup::Group;
use error::Attempt as _;
use machine::Machine;
use scratch::Scratch;
use stage::Stage;
use tried::Tried;

use crate::reach::Network;

/// How this host builds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The only backend that may be used. None: the first that fits the request, in the order of [`Backend`].
    pub backend: Option<Backend>,
    /// The user and group id that builds have outside of their sandbox when the host runs as root. It belongs to
    /// nobody else.
    pub build_id: u32,
    /// How long a root made for a suite is used before a new one is made.
    pub root_max_age: Duration,
    /// How many jobs a build may run in parallel. None: one per processor.
    pub jobs: Option<usize>,
    /// What a build may use, unless its request says otherwise.
    pub limits: Limits,
    /// The operator's exceptions for this host's network: where package sources may lead that a bot names.
    pub network: Arc<Network>,
}

impl Settings {
    /// The id that builds have when the host is root: above every range that Debian's tools hand out to users
    /// (100000 and up) and to containers (up to 1879048191).
    pub const DEFAULT_BUILD_ID: u32 = 1_900_000_000;

    /// The age at which roots are made anew: a week.
    pub const DEFAULT_ROOT_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: None,
            build_id: Self::DEFAULT_BUILD_ID,
            root_max_age: Self::DEFAULT_ROOT_MAX_AGE,
            jobs: None,
            limits: Limits::default(),
            network: Arc::default(),
        }
    }
}

/// Builds packages. Cheap to clone; every clone may build at the same time.
#[derive(Debug, Clone)]
pub struct Builder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The directory for running builds, and for what later builds can use again.
    state: PathBuf,
    /// Directories that no sandbox may see: what is beside `state`, which is the host's, and the home of its user.
    private: Vec<PathBuf>,
    settings: Settings,
    machine: Machine,
    /// Whether there can be sandboxes here.
    sandbox: Tried,
    /// Sizes of layers and roots, which don't change once they are made: to look at all of their files takes a while.
    sizes: Mutex<HashMap<PathBuf, u64>>,
}

impl Builder {
    /// Prepares the directory `state`, which is made if it isn't there, and removes what builds of a host that was
    /// killed have left in it. No build sees the directory that it is in, nor `$HOME`.
    ///
    /// # Errors
    /// [`BuildError::Io`] if the directory can't be used. What else builds need is looked for when one is asked for.
    pub fn new(state: &Path, settings: Settings) -> Result<Self, BuildError> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        Self::at(state, home.as_deref(), settings)
    }

    /// For somebody who builds nothing, and only looks at what there is: what killed processes have left stays.
    ///
    /// # Errors
    /// [`BuildError::Io`] if the directory can't be used.
    pub fn looking(state: &Path, settings: Settings) -> Result<Self, BuildError> {
        Self::unswept(state, None, settings)
    }

    /// The same for a user with this home.
    fn at(state: &Path, home: Option<&Path>, settings: Settings) -> Result<Self, BuildError> {
        let builder = Self::unswept(state, home, settings)?;
        let Shared {
            state,
            machine,
            settings,
            ..
        } = &*builder.shared;
        let stage = Stage::new(state, machine, settings.build_id);
        let swept = scratch::sweep(&state.join("builds"), stage.keeper)?;
        if swept > 0 {
            tracing::info!(swept, "removed directories of builds that a killed host has left");
        }
        Ok(builder)
    }

    fn unswept(state: &Path, home: Option<&Path>, settings: Settings) -> Result<Self, BuildError> {
        let machine = Machine::look();
        make_dir(state, 0o700)?;
        let state = state.canonicalize().attempt("find", state)?;
        // Builds run as somebody else, who has to get through to his own directory. On the machine nobody else does: the
        // directory that all this is in is the host's alone.
        make_dir(&state, 0o711)?;
        for name in ["archives", "builds", "data", "layers", "roots"] {
            make_dir(&state.join(name), 0o711)?;
        }
        Ok(Self {
            shared: Arc::new(Shared {
                private: private(&state, home),
                state,
                settings,
                machine,
                sandbox: Tried::default(),
                sizes: Mutex::default(),
            }),
        })
    }

    /// What a build may use, unless its request says otherwise.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.settings.limits
    }

    /// The operator's exceptions for this host's network.
    fn network(&self) -> Arc<Network> {
        Arc::clone(&self.shared.settings.network)
    }

    /// The suite that this machine runs, where the system says so: what is built for if nobody asks for another.
    #[must_use]
    pub fn own_suite(&self) -> Option<&str> {
        self.shared.machine.codename.as_deref()
    }

    /// What keeps the limits on the memory and the processes of builds here, as words for people.
    #[must_use]
    pub fn kept_by(&self) -> String {
        static LOOKS: AtomicU64 = AtomicU64::new(0);
        // Two who look at the same time must not take each other's group for one that can't be had.
        let name = format!(
            "foundry-look-{}-{}",
            std::process::id(),
            LOOKS.fetch_add(1, Ordering::Relaxed)
        );
        Group::create(&name, &self.shared.settings.limits).kept_by()
    }

    /// A directory for the results of one build. It is removed when it is dropped.
    ///
    /// # Errors
    /// [`BuildError::Io`] if it can't be made.
    pub fn output(&self) -> Result<Output, BuildError> {
        let shared = &self.shared;
        let stage = Stage::new(&shared.state, &shared.machine, shared.settings.build_id);
        Scratch::create(&shared.state.join("builds"), stage.keeper).map(Output)
    }

    /// Builds, and returns when no process and no file of the build is left but its results.
    ///
    /// Dropping the future cancels the build just as the token does; its directory is then removed in the
    /// background.
    pub async fn run(
        &self,
        request: BuildRequest,
        cancel: CancellationToken,
        observer: impl Observer + 'static,
    ) -> Result<BuildReport, BuildError> {
        let token = cancel.child_token();
        let cancel_on_drop = token.clone().drop_guard();
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name("build".to_owned())
            .spawn(move || {
                let outcome = pipeline::build(&shared, &request, &token, Box::new(observer));
                // The caller may have gone; the build was cancelled then, and there is nobody to tell.
                let _ = sender.send(outcome);
            })
            .attempt("start", "a thread")?;
        let outcome = receiver.await.unwrap_or_else(|_| {
            Err(BuildError::Internal {
                why: "its thread ended without a result".to_owned(),
            })
        });
        drop(cancel_on_drop);
        outcome
    }
}

/// A directory for the results of one build. It is removed when it is dropped.
#[derive(Debug)]
pub struct Output(Scratch);

impl Output {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The directories that no sandbox may see, each by its one true name.
fn private(state: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let places = state.parent().into_iter().chain(home);
    places.filter_map(|place| place.canonicalize().ok()).collect()
}

/// Makes sure of a directory and its mode.
fn make_dir(path: &Path, mode: u32) -> Result<(), BuildError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .attempt("create", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).attempt("change", path)
}
