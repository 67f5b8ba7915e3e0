//! Which bots belong to a host, loaded or not.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::supervisor::bot::RunningBot;
use crate::supervisor::registry::Registry;

/// The bots that a host is to have: those that somebody said will be loaded, and those that are. Clones share them.
#[derive(Clone, Default)]
pub(in crate::supervisor) struct Expected {
    named: Arc<Mutex<BTreeSet<String>>>,
}

impl Expected {
    /// Note one that is going to be loaded.
    pub(in crate::supervisor) fn note(&self, name: &str) {
        self.named().insert(name.to_owned());
    }

    fn named(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // Nothing panics while it holds this.
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, with those whose files are below the state directory, since they come back at the next start.
    pub(super) fn all(&self, state: &Path, bots: &Registry<RunningBot>) -> BTreeSet<String> {
        let mut all = self.named().clone();
        all.extend(bots.names());
        all.extend(kept(state));
        all
    }
}

/// The bots that were loaded by hand, each of which has a file of its name.
pub(super) fn kept(state: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(state.join("bots")).into_iter().flatten().flatten();
    let names = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
    names.collect()
}
