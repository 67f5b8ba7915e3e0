//! What something costs: time, and the memory of whoever does it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The cost of one operation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub time: Duration,
    /// Most memory that one process of it had, in kilobytes.
    pub peak: u64,
}

impl Cost {
    /// One after the other.
    pub fn then(self, next: Self) -> Self {
        Self {
            time: self.time + next.time,
            peak: self.peak.max(next.peak),
        }
    }
}

/// Run a program that has to succeed.
pub fn run(command: &mut Command) -> Cost {
    let log = tempfile::NamedTempFile::new().unwrap();
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.reopen().unwrap())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // The high-water mark is gone with the process: look at it until then. A shell's children are looked at too.
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let id = child.id();
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        loop {
            peak = tree(id).into_iter().filter_map(high_water).fold(peak, u64::max);
            if ended.recv_timeout(Duration::from_millis(5)) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                return peak;
            }
        }
    });
    let status = child.wait().unwrap();
    let time = start.elapsed();
    drop(done);
    let peak = watcher.join().unwrap();
    assert!(
        status.success(),
        "{command:?} failed:\n{}",
        fs::read_to_string(log.path()).unwrap()
    );
    Cost { time, peak }
}

fn tree(id: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let below = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(id).chain(below.flat_map(tree)).collect()
}

fn high_water(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Most memory that this process has had since [`forget`], in kilobytes.
pub fn own_peak() -> u64 {
    high_water(std::process::id()).unwrap_or_default()
}

/// Begin the high-water mark anew.
pub fn forget() {
    // Where the kernel doesn't let us, the mark is that of all that came before.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The middle one of several costs by time, with the most memory of all.
pub fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.time);
    let peak = costs.iter().map(|cost| cost.peak).max().unwrap_or_default();
    let time = costs[costs.len() / 2].time;
    Cost { time, peak }
}
