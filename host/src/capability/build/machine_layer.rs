//! Layers over the machine's own root. Its packages may be changed at any time, by its administrator or by a timer; a layer
//! that was made meanwhile is of two machines, if it can be made at all.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::error::{Attempt as _, BuildError, Unavailable};
use super::job::Job;
use super::lease::Lock;
use super::package::SourcePackage;
use super::request::Backend;
use super::sandbox::{self, Purpose, Root};

/// How often a layer is made until nobody has changed the machine meanwhile.
const ATTEMPTS: usize = 2;

impl Job<'_> {
    /// The machine's own root with the build dependencies of the package over it, and the lock that keeps the layer in
    /// place.
    ///
    /// # Errors
    /// [`BuildError::NoBackend`] if the machine's packages change each time that it is made: another attempt may succeed.
    pub fn over_machine(&mut self, package: &SourcePackage) -> Result<(Root, Lock), BuildError> {
        let backend = Backend::HostRootLayered;
        for _ in 0..ATTEMPTS {
            let before = packages();
            let is_same = || packages() == before;
            match self.layered(package, backend, Root::over(Path::new("/")), &before, &is_same) {
                Err(error) if may_be_of_a_change(&error) && !is_same() => {
                    self.note("this machine's packages have changed meanwhile: what was laid over them is dropped")?;
                    self.drop_unfinished()?;
                }
                other => return other,
            }
        }
        Err(changed())
    }

    /// Removes what was made of a layer.
    fn drop_unfinished(&self) -> Result<(), BuildError> {
        let scratch = self.scratch.path();
        let made = ["layer", "work", "cache"].map(|name| scratch.join(name));
        self.stage.keeper.remove(&made).attempt("remove", scratch)
    }
}

/// That the machine's packages have changed while something was laid over them.
pub(super) fn changed() -> BuildError {
    BuildError::NoBackend {
        tried: vec![Unavailable {
            backend: Backend::HostRootLayered,
            why: "this machine's packages were changed while others were laid over them (nothing is to be done: it is tried \
                  again)"
                .to_owned(),
        }],
    }
}

/// Whether an error may come of files that were exchanged below it.
fn may_be_of_a_change(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::NoBackend { .. }
            | BuildError::Dependencies { .. }
            | BuildError::Failed { .. }
            | BuildError::Io { .. }
    )
}

/// A digest that changes whenever this machine's packages or their data do, or what its apt knows of newer ones. While
/// dpkg is at work, its journal is part of it.
fn packages() -> Vec<u8> {
    let mut files = files_in("/var/lib/dpkg/updates", "");
    files.extend(files_in("/var/lib/apt/lists", "Release"));
    files.push("/var/lib/dpkg/status".into());
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(Sha256::digest(file.as_os_str().as_encoded_bytes()));
        hash.update(Sha256::digest(fs::read(file).unwrap_or_default()));
    }
    let mut state = hash.finalize().to_vec();
    state.extend(sandbox::data_digest(Purpose::Install));
    state
}

fn files_in(dir: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}
