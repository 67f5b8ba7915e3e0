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

mod cgroup;
mod changes;
mod error;
mod log;
mod machine;
mod package;
mod pipeline;
mod request;
mod sandbox;
mod scratch;
mod stage;
mod supervise;
#[cfg(test)]
mod tests;
mod tree;
mod usage;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use error::{BuildError, Exit, LogTail, Unavailable};
pub use request::{
    Artifact, ArtifactKind, Backend, BuildKind, BuildReport, BuildRequest, Limits, Observer, OverlayFile, Phase,
    PhaseTime, Progress, Silent,
};

use error::Attempt as _;
use machine::Machine;

/// How this host builds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory for running builds and for what later builds can use again. Made if it isn't there.
    pub state: PathBuf,
    /// The only backend that may be used. None: the first that fits the request, in the order of [`Backend`].
    pub backend: Option<Backend>,
    /// The user and group id that builds have outside of their sandbox when the host runs as root. It belongs to
    /// nobody else.
    pub build_id: u32,
    /// How many jobs a build may run in parallel. None: one per processor.
    pub jobs: Option<usize>,
}

impl Settings {
    /// The id that builds have when the host is root: above every range that Debian's tools hand out to users
    /// (100000 and up) and to containers (up to 1879048191).
    pub const DEFAULT_BUILD_ID: u32 = 1_900_000_000;

    /// The defaults, with everything below `state`.
    #[must_use]
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            backend: None,
            build_id: Self::DEFAULT_BUILD_ID,
            jobs: None,
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
    settings: Settings,
    machine: Machine,
}

impl Builder {
    /// Prepares the state directory, and removes what builds of a host that was killed have left there.
    pub fn new(settings: Settings) -> Result<Self, BuildError> {
        let machine = Machine::look();
        make_dir(&settings.state, 0o700)?;
        let settings = Settings {
            state: settings.state.canonicalize().attempt("find", &settings.state)?,
            ..settings
        };
        // Builds of a root host run as somebody else, who has to get through to his own directory.
        make_dir(&settings.state, if machine.is_root { 0o711 } else { 0o700 })?;
        make_dir(
            &settings.state.join("builds"),
            if machine.is_root { 0o711 } else { 0o700 },
        )?;
        let swept = scratch::sweep(&settings.state.join("builds"))?;
        if swept > 0 {
            tracing::info!(swept, "removed directories of builds that a killed host has left");
        }
        Ok(Self {
            shared: Arc::new(Shared { settings, machine }),
        })
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

/// Makes sure of a directory and its mode.
fn make_dir(path: &Path, mode: u32) -> Result<(), BuildError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .attempt("create", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).attempt("change", path)
}
