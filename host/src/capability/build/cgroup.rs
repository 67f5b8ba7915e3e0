//! A control group for one build, where the system lets us make one: the kernel then keeps the limits on memory
//! and processes by itself. Where it doesn't, [`super::usage`] watches from outside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::request::Limits;

/// The group of one build. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Group {
    memory: Option<PathBuf>,
    processes: Option<PathBuf>,
    unified: bool,
}

/// What a group has prevented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Prevented {
    /// A process was ended for want of memory.
    pub memory: bool,
    /// A fork was refused.
    pub fork: bool,
}

impl Group {
    /// Makes a group with these limits below our own, with as many of the two controllers as can be had.
    pub fn create(name: &str, limits: &Limits) -> Self {
        // An ordinary user who was given a group may put his own processes into it and no others, and a build has another id.
        Self::create_in(&own_places(), name, limits, rustix::process::geteuid().is_root())
    }

    /// Removes a group that a killed host has left.
    pub fn forget(name: &str) {
        let places = own_places();
        let beside = places.unified.as_deref().and_then(Path::parent).map(Path::to_owned);
        for parent in [places.memory, places.processes, places.unified, beside]
            .into_iter()
            .flatten()
        {
            remove(&parent.join(name));
        }
    }

    /// `moves_others` says whether processes of other users may be put into a group that is not handed on (version 1).
    fn create_in(places: &Places, name: &str, limits: &Limits, moves_others: bool) -> Self {
        if let Some(base) = &places.unified {
            // A group with processes can't hand controllers on, so the build's group stands beside ours, or,
            // where ours is the root of all, below it.
            for parent in [Some(base.as_path()), base.parent()].into_iter().flatten() {
                let handed_on = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
                let has = |controller| handed_on.split_whitespace().any(|word| word == controller);
                let path = parent.join(name);
                if has("memory") && has("pids") && fs::create_dir(&path).is_ok() {
                    let group = Self {
                        memory: Some(path.clone()),
                        processes: Some(path.clone()),
                        unified: true,
                    };
                    let set = |file: &str, value: &str| fs::write(path.join(file), value);
                    let limited = set("memory.max", &limits.memory.to_string())
                        .and_then(|()| set("pids.max", &limits.processes.to_string()));
                    if limited.is_ok() {
                        // Neither is there on every kernel, and the limits hold without them.
                        let _ = set("memory.swap.max", "0");
                        let _ = set("memory.oom.group", "1");
                        return group;
                    }
                }
            }
        }
        let make = |base: &Option<PathBuf>, file: &str, value: u64| {
            let path = base.as_ref().filter(|_| moves_others)?.join(name);
            fs::create_dir(&path).ok()?;
            if fs::write(path.join(file), value.to_string()).is_err() {
                let _ = fs::remove_dir(&path);
                return None;
            }
            Some(path)
        };
        Self {
            memory: make(&places.memory, "memory.limit_in_bytes", limits.memory),
            processes: make(&places.processes, "pids.max", limits.processes),
            unified: false,
        }
    }

    /// Whether the kernel keeps the limit on memory.
    pub fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// What keeps the limits on memory and processes, as words for people, with the groups in which those of builds are made.
    pub fn kept_by(&self) -> String {
        let words = match (&self.memory, &self.processes) {
            (Some(_), Some(_)) => "memory and processes are limited by control groups",
            (Some(_), None) => "memory is limited by a control group, processes by RLIMIT_NPROC",
            (None, Some(_)) => "memory is limited by watching the processes, their number by a control group",
            (None, None) => "memory is limited by watching the processes, their number by RLIMIT_NPROC",
        };
        let within: Vec<_> = self
            .paths()
            .filter_map(|path| Some(path.parent()?.display().to_string()))
            .collect();
        match within.is_empty() {
            true => words.to_owned(),
            false => format!("{words} (in {})", within.join(" and ")),
        }
    }

    /// Puts a process, and so all that it will start, into the group.
    pub fn adopt(&self, pid: u32) -> io::Result<()> {
        for path in self.paths() {
            fs::write(path.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// What the limits have prevented so far.
    pub fn prevented(&self) -> Prevented {
        let memory_file = if self.unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        Prevented {
            memory: count(self.memory.as_deref(), memory_file, "oom_kill") > 0,
            fork: count(self.processes.as_deref(), "pids.events", "max") > 0,
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.memory
            .iter()
            .chain(self.processes.iter().filter(|_| !self.unified))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for path in self.paths() {
            remove(path);
        }
    }
}

/// Remove a group, if it is there. It is busy until the kernel has buried its last process, which takes a moment.
fn remove(path: &Path) {
    for pause in [1, 5, 20, 100, 400, 1000] {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(pause));
            }
            _ => break,
        }
    }
}

/// Where the groups of this process are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    memory: Option<PathBuf>,
    processes: Option<PathBuf>,
    unified: Option<PathBuf>,
}

fn own_places() -> Places {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    places(&mounts, &own)
}

/// Finds our own groups in the texts of /proc/self/mounts and /proc/self/cgroup.
fn places(mounts: &str, own: &str) -> Places {
    let mount = |wanted: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let mut parts = line.split(' ');
            let target = parts.nth(1)?;
            let (kind, options) = (parts.next()?, parts.next()?);
            wanted(kind, options).then(|| PathBuf::from(target))
        })
    };
    let own_path = |controller: &str| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let names = parts.nth(1)?;
            let path = parts.next()?;
            let fits = if controller.is_empty() {
                names.is_empty()
            } else {
                names.split(',').any(|n| n == controller)
            };
            fits.then(|| Path::new(path.trim_start_matches('/')).to_owned())
        })
    };
    let old = |controller: &'static str| {
        let top = mount(&|kind, options| kind == "cgroup" && options.split(',').any(|word| word == controller))?;
        Some(top.join(own_path(controller)?))
    };
    Places {
        memory: old("memory"),
        processes: old("pids"),
        unified: mount(&|kind, _| kind == "cgroup2").and_then(|top| Some(top.join(own_path("")?))),
    }
}

/// The number behind a key in a file of `key number` lines.
fn count(dir: Option<&Path>, file: &str, key: &str) -> u64 {
    dir.and_then(|dir| fs::read_to_string(dir.join(file)).ok())
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            memory: 1 << 20,
            processes: 7,
            ..Limits::default()
        }
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_group_of_version_2_stands_beside_the_hosts_own_and_has_both_limits() {
        let top = tempfile::tempdir().unwrap();
        let own = top.path().join("host");
        fs::create_dir(&own).unwrap();
        fs::write(top.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        let places = Places {
            unified: Some(own),
            ..Places::default()
        };
        let group = Group::create_in(&places, "b", &limits(), false);
        let path = top.path().join("b");
        assert_eq!(text(&path.join("memory.max")), "1048576");
        assert_eq!(text(&path.join("pids.max")), "7");
        let said = group.kept_by();
        assert!(
            said.ends_with(&format!("by control groups (in {})", top.path().display())),
            "{said}"
        );
        fs::write(path.join("memory.events"), "oom 2\noom_kill 1\n").unwrap();
        assert!(group.prevented().memory && !group.prevented().fork);
    }

    #[test]
    fn groups_of_version_1_are_one_for_each_controller_where_others_may_be_put_into_them() {
        let top = tempfile::tempdir().unwrap();
        let places = Places {
            memory: Some(top.path().join("memory")),
            processes: Some(top.path().join("pids")),
            unified: None,
        };
        for place in [&places.memory, &places.processes].into_iter().flatten() {
            fs::create_dir(place).unwrap();
        }
        let none = Group::create_in(&places, "b", &limits(), false);
        assert!(
            !none.limits_memory() && none.kept_by().contains("watching"),
            "{}",
            none.kept_by()
        );
        let group = Group::create_in(&places, "b", &limits(), true);
        let (memory, pids) = (top.path().join("memory/b"), top.path().join("pids/b"));
        assert_eq!(text(&memory.join("memory.limit_in_bytes")), "1048576");
        assert_eq!(text(&pids.join("pids.max")), "7");
        assert!(group.kept_by().contains("/memory and "), "{}", group.kept_by());
        group.adopt(42).unwrap();
        assert_eq!(text(&memory.join("cgroup.procs")), "42");
        assert_eq!(text(&pids.join("cgroup.procs")), "42");
        assert_eq!(group.prevented(), Prevented::default());
        fs::write(memory.join("memory.oom_control"), "under_oom 0\noom_kill 3\n").unwrap();
        fs::write(pids.join("pids.events"), "max 1\n").unwrap();
        assert!(group.prevented().memory && group.prevented().fork);
    }

    #[test]
    fn a_controller_that_cannot_be_had_leaves_the_other_one() {
        let top = tempfile::tempdir().unwrap();
        let places = Places {
            memory: Some(top.path().join("not-there")),
            processes: Some(top.path().to_owned()),
            unified: None,
        };
        let group = Group::create_in(&places, "b", &limits(), true);
        assert!(!group.limits_memory());
        assert!(
            group
                .kept_by()
                .starts_with("memory is limited by watching the processes, their number by a control group")
        );
    }

    #[test]
    fn own_groups_are_found_in_both_hierarchies() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let own = "8:pids:/a\n4:memory:/m\n0::/u/v\n";
        assert_eq!(
            places(mounts, own),
            Places {
                memory: None,
                processes: Some("/sys/fs/cgroup/pids/a".into()),
                unified: Some("/sys/fs/cgroup/unified/u/v".into()),
            }
        );
    }
}
