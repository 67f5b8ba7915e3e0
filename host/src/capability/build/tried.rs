//! Whether there can be sandboxes on this machine: it is tried once, and again when something that decides about it has changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::machine;

/// What a trial's outcome rests on: who has which ids, who may use them, and the kernel's settings.
const FILES: [&str; 4] = ["/etc/subuid", "/etc/subgid", "/etc/passwd", "/etc/login.defs"];
const SETTINGS: [&str; 4] = [
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/self/uid_map",
];
const TOOLS: [&str; 7] = [
    "bwrap",
    "unshare",
    "setpriv",
    "prlimit",
    "bash",
    "newuidmap",
    "newgidmap",
];

/// One thing that a trial's outcome rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fact {
    /// A file: inode, length, mode, and when its content or its rights were changed. None: there is none.
    File(Option<(u64, u64, u32, i64, i64)>),
    /// What a setting says.
    Setting(Option<String>),
}

/// The last trial that went well, if there was one. A machine without sandboxes is tried each time: somebody is mending it.
#[derive(Debug, Default)]
pub(super) struct Tried {
    good: Mutex<Option<Vec<Fact>>>,
}

impl Tried {
    /// What keeps sandboxes from working here, in words that say what to install or to set. Starts up to three programs where it is
    /// not known, and blocks until they have ended.
    pub fn fault(&self) -> Option<String> {
        self.fault_by(facts(), machine::sandbox_fault)
    }

    fn fault_by(&self, facts: Vec<Fact>, trial: impl FnOnce() -> Option<String>) -> Option<String> {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.as_ref() == Some(&facts) {
            return None;
        }
        let fault = trial();
        *good = fault.is_none().then_some(facts);
        fault
    }

    /// Has the next one tried again: a sandbox could not be made.
    pub fn forget(&self) {
        *self.good.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn facts() -> Vec<Fact> {
    let tools = TOOLS.iter().map(|name| machine::tool(name));
    let files = FILES.iter().map(|path| Some(PathBuf::from(path)));
    let files = files.chain(tools).map(|path| {
        let kind = fs::metadata(path?).ok()?;
        Some((kind.ino(), kind.len(), kind.mode(), kind.ctime(), kind.ctime_nsec()))
    });
    let settings = SETTINGS.iter().map(|path| fs::read_to_string(path).ok());
    files.map(Fact::File).chain(settings.map(Fact::Setting)).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn setting(text: &str) -> Vec<Fact> {
        vec![Fact::Setting(Some(text.to_owned()))]
    }

    #[test]
    fn a_machine_with_sandboxes_is_tried_once_and_again_after_a_change_or_a_failure() {
        let (tried, trials) = (Tried::default(), Cell::new(0));
        let ask = |facts| {
            tried.fault_by(facts, || {
                trials.set(trials.get() + 1);
                None
            })
        };
        for (text, so_far) in [("1", 1), ("1", 1), ("0", 2), ("0", 2)] {
            assert_eq!(ask(setting(text)), None);
            assert_eq!(trials.get(), so_far);
        }
        tried.forget();
        assert_eq!((ask(setting("0")), trials.get()), (None, 3));
    }

    #[test]
    fn a_machine_without_sandboxes_is_tried_each_time() {
        let tried = Tried::default();
        let fault = || tried.fault_by(setting("1"), || Some("no ids".to_owned()));
        assert_eq!(
            (fault(), fault()),
            (Some("no ids".to_owned()), Some("no ids".to_owned()))
        );
        assert_eq!(tried.fault_by(setting("1"), || None), None);
    }

    #[test]
    fn what_a_trial_rests_on_is_the_same_while_nothing_changes() {
        assert_eq!(facts(), facts());
        assert_eq!(facts().len(), FILES.len() + TOOLS.len() + SETTINGS.len());
    }
}
