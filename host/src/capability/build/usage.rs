//! What a build uses, seen from outside: the memory of its processes, and the disk below its directories.
//!
//! Exact answers cost time, so both are taken in two steps: a cheap figure that can only be too high, and the
//! exact one only when the cheap one is over the limit.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::inventory::Entry;
use super::keeper::Keeper;

/// Space on the host's disk that a build never gets, whatever its own limit.
const RESERVE: u64 = 512 << 20;
/// Of the files that the host's disk can hold, one of so many is never a build's.
const RESERVED_FILES: u64 = 50;
/// What a file takes at least, in bytes: one without content has a place in the disk's table of files all the same.
const SMALLEST_FILE: u64 = 4096;

/// What one line of a process's `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    dead: bool,
    /// Resident memory in pages.
    resident: u64,
}

/// A process and everything below it.
#[derive(Debug, Default)]
pub(super) struct Family {
    members: Vec<Stat>,
}

impl Family {
    /// Finds the living processes that descend from `ancestor`; itself is not among them.
    ///
    /// Nobody gets away: an orphan's new parent is the sandbox's own init, which is of the family.
    pub fn of(ancestor: u32) -> Self {
        let mut everyone: Vec<Stat> = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let is_pid = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
            if is_pid
                && let Some(stat) = fs::read_to_string(entry.path().join("stat"))
                    .ok()
                    .as_deref()
                    .and_then(parse)
            {
                everyone.push(stat);
            }
        }
        Self {
            members: descendants(&everyone, i32::try_from(ancestor).unwrap_or(i32::MAX)),
        }
    }

    /// The child of the ancestor that was found first: in a sandbox, its init.
    pub fn first(&self) -> Option<i32> {
        self.members.first().map(|stat| stat.pid)
    }

    /// Memory in bytes, with pages that several processes share counted for each.
    fn resident(&self) -> u64 {
        self.members.iter().fold(0, |sum: u64, stat| {
            sum.saturating_add(stat.resident.saturating_mul(page()))
        })
    }

    /// Memory in bytes, with shared pages counted once. Of files in memory the larger counts: what is mapped of any, or
    /// what those take that are open and have no name.
    fn proportional(&self, unnamed: u64) -> u64 {
        let (mut own, mut files) = (0_u64, 0_u64);
        for stat in &self.members {
            let memory = memory_of(stat);
            own = own.saturating_add(memory.own);
            files = files.saturating_add(memory.files);
        }
        own.saturating_add(files.max(unnamed))
    }

    /// What files take that are open and have no name any more: those on the disk `dev`, and those in memory.
    fn unnamed(&self, dev: u64, ancestor: u32, keeper: Keeper) -> io::Result<Unnamed> {
        let pids: Vec<i32> = self.members.iter().map(|stat| stat.pid).collect();
        let mut seen: HashSet<(u64, u64)> = HashSet::new();
        let mut sum = Unnamed::default();
        keeper.each_unnamed(&pids, ancestor, &mut |entry| {
            if !seen.insert((entry.dev, entry.ino)) {
                return;
            }
            let kind = if entry.dev == dev {
                &mut sum.disk
            } else {
                &mut sum.memory
            };
            *kind = kind.saturating_add(taken(&entry));
        })?;
        Ok(sum)
    }

    /// Whether one of them lets nobody look at what it has open but the machine's root: such a process belongs to him, as
    /// far as `/proc` says. Others do so to protect their secrets, builds of an ordinary user's host to escape its count.
    fn hides(&self) -> bool {
        let own = rustix::process::getuid();
        !own.is_root()
            && self
                .members
                .iter()
                .any(|stat| fs::metadata(format!("/proc/{}/fd", stat.pid)).is_ok_and(|kind| kind.uid() == 0))
    }

    /// Whether the family's memory is over `limit`, with `unnamed` bytes in files without a name.
    pub fn exceeds(&self, limit: u64, unnamed: u64) -> bool {
        self.resident().saturating_add(unnamed) > limit && self.proportional(unnamed) > limit
    }
}

/// What files without a name take, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Unnamed {
    disk: u64,
    memory: u64,
}

/// The memory of a process in bytes, its part of what it shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Memory {
    own: u64,
    /// Of files in memory.
    files: u64,
}

fn parse(stat: &str) -> Option<Stat> {
    // The command's name is in parentheses and may itself contain anything, parentheses too.
    let (head, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    Some(Stat {
        pid: head.split(' ').next()?.parse().ok()?,
        parent: fields.next()?.parse().ok()?,
        dead: matches!(state, "Z" | "X"),
        resident: fields.nth(19)?.parse().ok()?,
    })
}

fn descendants(everyone: &[Stat], ancestor: i32) -> Vec<Stat> {
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for stat in everyone.iter().filter(|stat| stat.parent == parent && !stat.dead) {
            found.push(*stat);
            parents.push(stat.pid);
        }
    }
    found
}

/// What the kernel says of a process's memory; all that is resident, if it says nothing to us.
fn memory_of(stat: &Stat) -> Memory {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", stat.pid));
    match text.ok().as_deref().and_then(rollup) {
        Some(memory) => memory,
        None if is_gone(stat.pid) => Memory::default(),
        None => Memory {
            own: stat.resident.saturating_mul(page()),
            files: 0,
        },
    }
}

fn rollup(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib.saturating_mul(1024))
    };
    let files = field("Pss_Shmem:").unwrap_or(0);
    Some(Memory {
        own: field("Pss:")?.saturating_sub(files),
        files,
    })
}

fn page() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// Whether a process is gone, or dead and only waits for its parent.
pub(super) fn is_gone(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .as_deref()
        .and_then(parse)
        .is_none_or(|stat| stat.dead)
}

/// Watches what a build writes.
#[derive(Debug)]
pub(super) struct Disk {
    places: Vec<PathBuf>,
    limit: u64,
    /// Who may look everywhere in there.
    keeper: Keeper,
    counted: u64,
    /// Memory of files without a name, when it was counted.
    in_memory: u64,
    free_then: u64,
    /// What was counted, and what was free, before a process hid what it has open.
    hidden: Option<(u64, u64)>,
    next_count: Instant,
}

/// What the watch over the disk has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskState {
    /// Nothing to complain of.
    Fine,
    /// The build has written more than it may.
    Exceeded,
    /// The host's disk is nearly full, by whomever.
    HostFull,
}

impl Disk {
    /// Watches these directories, which are all on one file system.
    pub fn watch(places: Vec<PathBuf>, limit: u64, keeper: Keeper) -> Self {
        Self {
            places,
            limit,
            keeper,
            counted: 0,
            in_memory: 0,
            free_then: 0,
            hidden: None,
            next_count: Instant::now(),
        }
    }

    /// Looks, and counts the files only if the free space leaves a doubt, or after a while. `ancestor` is the process
    /// whose descendants are the build.
    ///
    /// # Errors
    /// If the files can't be counted.
    pub fn check(&mut self, now: Instant, ancestor: u32) -> io::Result<DiskState> {
        let Some(disk) = self.places.first().and_then(|place| rustix::fs::statvfs(place).ok()) else {
            return Ok(DiskState::Fine);
        };
        if has_only_the_reserve(&disk) {
            return Ok(DiskState::HostFull);
        }
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // All that has vanished from the disk since the last count, as if the build had taken it.
        let worst = self.counted.saturating_add(self.free_then.saturating_sub(free));
        if worst <= self.limit && now < self.next_count && self.free_then > 0 {
            return Ok(DiskState::Fine);
        }
        let begun = Instant::now();
        self.counted = self.count(free, ancestor)?;
        self.free_then = free;
        // Counting never takes more than a tenth of the time, except while others fill the disk.
        self.next_count = now + (begun.elapsed() * 10).max(Duration::from_secs(2));
        Ok(if self.counted > self.limit {
            DiskState::Exceeded
        } else {
            DiskState::Fine
        })
    }

    /// The memory of files that have no name, in bytes, when they were counted last.
    pub fn in_memory(&self) -> u64 {
        self.in_memory
    }

    /// What the build has on the disk, in bytes.
    fn count(&mut self, free: u64, ancestor: u32) -> io::Result<u64> {
        let dev = self
            .places
            .first()
            .and_then(|place| fs::metadata(place).ok())
            .map(|kind| kind.dev());
        let family = Family::of(ancestor);
        let unnamed = family.unnamed(dev.unwrap_or_default(), ancestor, self.keeper)?;
        self.in_memory = unnamed.memory;
        let counted = count(&self.places, self.keeper)?.saturating_add(unnamed.disk);
        let before = if self.free_then > 0 { self.free_then } else { free };
        self.hidden = hidden(self.hidden, family.hides(), (self.counted, before));
        // Who hides what he has open pays for all that has vanished from the disk meanwhile.
        let vanished = |(counted, before): (u64, u64)| counted.saturating_add(before.saturating_sub(free));
        Ok(counted.max(self.hidden.map_or(0, vanished)))
    }
}

/// What was counted, and what was free, when somebody began to hide what he has open. None: nobody does now; what is open is seen again then.
fn hidden(since: Option<(u64, u64)>, hides: bool, now: (u64, u64)) -> Option<(u64, u64)> {
    hides.then(|| since.unwrap_or(now))
}

/// Whether the disk of a directory has no room for a build. One that can't be asked counts as one that has.
pub(super) fn is_nearly_full(place: &Path) -> bool {
    rustix::fs::statvfs(place).is_ok_and(|disk| has_only_the_reserve(&disk))
}

fn has_only_the_reserve(disk: &rustix::fs::StatVfs) -> bool {
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Where files need no table, none are counted.
    free < RESERVE || disk.f_favail < disk.f_files / RESERVED_FILES
}

/// How many bytes builds may still write where `place` is.
///
/// # Errors
/// If nobody can look.
pub(super) fn room(place: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(place)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(RESERVE))
}

/// What a file takes on the disk, in bytes.
fn taken(entry: &Entry) -> u64 {
    entry.blocks.saturating_mul(512).max(SMALLEST_FILE)
}

/// The disk space of everything below some directories, in bytes; a file with two names is counted once.
fn count(places: &[PathBuf], keeper: Keeper) -> io::Result<u64> {
    let mut seen: HashSet<(u64, u64)> = HashSet::new();
    let mut sum = 0_u64;
    keeper.each_below(places, &mut |entry| {
        if entry.links < 2 || entry.is_dir || seen.insert((entry.dev, entry.ino)) {
            sum = sum.saturating_add(taken(&entry));
        }
    })?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_call_itself_anything() {
        let between = " 0".repeat(19);
        let stat = parse(&format!("42 (a) (b c) S 7{between} 1234 5")).unwrap();
        assert_eq!(
            stat,
            Stat {
                pid: 42,
                parent: 7,
                dead: false,
                resident: 1234
            }
        );
        assert_eq!(parse("42 (a"), None);
    }

    #[test]
    fn shared_memory_is_told_apart_where_the_kernel_does() {
        let text = "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss:  30 kB\nPss_Anon: 8 kB\nPss_Shmem:  20 kB\n";
        let memory = rollup(text).unwrap();
        assert_eq!((memory.own, memory.files), (10 << 10, 20 << 10));
        assert_eq!(rollup("Pss:  30 kB\n").unwrap().own, 30 << 10);
        assert_eq!(rollup("Rss:  30 kB\n"), None);
    }

    #[test]
    fn who_hides_what_he_has_open_pays_for_the_disk_only_as_long_as_he_does() {
        let begun = hidden(None, true, (1, 100));
        assert_eq!(begun, Some((1, 100)));
        assert_eq!(hidden(begun, true, (2, 50)), begun);
        assert_eq!(hidden(begun, false, (2, 50)), None);
        assert_eq!(hidden(None, false, (2, 50)), None);
    }

    #[test]
    fn the_family_is_found_down_to_the_last() {
        let one = |pid, parent, dead| Stat {
            pid,
            parent,
            dead,
            resident: 0,
        };
        let everyone = [
            one(1, 0, false),
            one(5, 4, false),
            one(2, 1, false),
            one(4, 2, false),
            one(3, 2, true),
        ];
        let pids: Vec<i32> = descendants(&everyone, 1).iter().map(|stat| stat.pid).collect();
        assert_eq!(pids, [2, 4, 5]);
    }

    #[test]
    fn a_file_without_content_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..100 {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(
            count(&[dir.path().to_owned()], Keeper::new(None)).unwrap(),
            100 * SMALLEST_FILE
        );
    }

    #[test]
    fn two_names_of_one_file_are_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let sum = count(&[dir.path().to_owned()], Keeper::new(None)).unwrap();
        assert!((1 << 20..3 << 19).contains(&sum), "{sum}");
    }
}
