//! Watches over one running sandbox: takes its output, keeps its limits, ends it when it must end.

use std::io::{self, Read as _};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::cgroup::Group;
use super::log::Log;
use super::stage::Waiting;
use super::usage::{Disk, DiskState, Family, is_gone};

/// How often the limits are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long the kernel gets to clear away a sandbox whose init was killed.
const BURIAL: Duration = Duration::from_secs(10);

/// Why a sandbox was ended from outside.
#[derive(Debug)]
pub(super) enum Ended {
    Cancelled,
    TimedOut,
    OutOfMemory,
    OutOfDisk { host_full: bool },
    Io(io::Error),
}

/// The bounds of a run that are watched from here.
pub(super) struct Watch<'a> {
    pub group: &'a Group,
    pub memory: u64,
    pub disk: &'a mut Disk,
    pub deadline: Instant,
    pub stop: &'a dyn Fn() -> bool,
}

/// Opens the gate and stays until the sandbox is gone. Whatever the outcome, no process of it is left.
pub(super) fn run(mut waiting: Waiting, log: &mut Log, watch: &mut Watch<'_>) -> Result<ExitStatus, Ended> {
    let outcome = watch
        .group
        .adopt(waiting.child.id())
        .and_then(|()| waiting.go())
        .map_err(Ended::Io)
        .and_then(|()| follow(&mut waiting, log, watch));
    match outcome {
        Ok(()) => waiting.child.wait().map_err(Ended::Io),
        Err(why) => {
            end(&mut waiting);
            // What was said before the end belongs into the log; the pipe has no writers left.
            let mut rest = Vec::new();
            if waiting.output.by_ref().take(1 << 20).read_to_end(&mut rest).is_ok() {
                let _ = log.write(&rest);
            }
            Err(why)
        }
    }
}

/// Takes the output until it ends, which is when the last process has ended.
fn follow(waiting: &mut Waiting, log: &mut Log, watch: &mut Watch<'_>) -> Result<(), Ended> {
    let mut buffer = vec![0_u8; 64 << 10];
    let mut next_look = Instant::now() + TICK;
    loop {
        let wait = next_look.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(wait).ok();
        let ready = {
            let mut fds = [PollFd::new(&waiting.output, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(count) => count > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(Ended::Io(error.into())),
            }
        };
        if ready {
            let count = waiting.output.read(&mut buffer).map_err(Ended::Io)?;
            match buffer.get(..count) {
                None | Some([]) => return Ok(()),
                Some(bytes) => log.write(bytes).map_err(Ended::Io)?,
            }
        }
        let now = Instant::now();
        if now >= next_look {
            look(waiting.child.id(), watch, now)?;
            next_look = now + TICK;
        }
    }
}

fn look(pid: u32, watch: &mut Watch<'_>, now: Instant) -> Result<(), Ended> {
    if (watch.stop)() {
        return Err(Ended::Cancelled);
    }
    if now >= watch.deadline {
        return Err(Ended::TimedOut);
    }
    match watch.disk.check(now, pid).map_err(Ended::Io)? {
        DiskState::Fine => {}
        DiskState::Exceeded => return Err(Ended::OutOfDisk { host_full: false }),
        DiskState::HostFull => return Err(Ended::OutOfDisk { host_full: true }),
    }
    if !watch.group.limits_memory() && Family::of(pid).exceeds(watch.memory, watch.disk.in_memory()) {
        return Err(Ended::OutOfMemory);
    }
    Ok(())
}

/// Kills the sandbox's init, and with it, by the kernel's doing, everything in its pid namespace.
fn end(waiting: &mut Waiting) {
    let init = Family::of(waiting.child.id()).first();
    if let Some(init) = init.and_then(Pid::from_raw) {
        // Its parent, bwrap, hasn't waited for it while we looked, so the number is still its own.
        let _ = kill_process(init, Signal::KILL);
    }
    let begun = Instant::now();
    let is_over = |waiting: &mut Waiting| matches!(waiting.child.try_wait(), Ok(Some(_)) | Err(_));
    while !is_over(waiting) && begun.elapsed() < BURIAL {
        if init.is_none() || begun.elapsed() > BURIAL / 2 {
            let _ = waiting.child.kill();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    while init.is_some_and(|init| !is_gone(init)) && begun.elapsed() < BURIAL {
        std::thread::sleep(Duration::from_millis(2));
    }
}
