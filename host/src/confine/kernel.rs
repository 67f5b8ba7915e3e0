//! Calls of the kernel that no safe crate has. Each is made once, by a helper that has one thread and holds nothing yet.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use libc::{c_int, c_long, c_ulong};

use super::bpf::Instruction;

/// Version 3 of the kernel's interface for capabilities.
const CAPABILITIES: u32 = 0x2008_0522;
const SET_MODE_FILTER: c_ulong = 1;
/// For all threads of the process, should there be others.
const ALL_THREADS: c_ulong = 1;
const VERSION_OF_LANDLOCK: c_ulong = 1;
const RULE_PATH_BENEATH: c_ulong = 1;

/// What the kernel answered, as a result.
fn answered(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Closes all descriptors from a number on. Needs Linux 5.9.
#[expect(unsafe_code, reason = "nothing is open yet that an object of this process owns")]
pub(super) fn close_from(first: u32) -> io::Result<()> {
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) };
    answered(result).map(drop)
}

/// Gives up all capabilities.
#[expect(unsafe_code, reason = "the kernel reads both structures and keeps neither")]
pub(super) fn drop_capabilities() -> io::Result<()> {
    let header = [CAPABILITIES, 0];
    let none = [0_u32; 6];
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    answered(result).map(drop)
}

/// From now on no program gives this process more rights. A filter needs that.
#[expect(unsafe_code, reason = "it takes numbers only")]
pub(super) fn no_new_privileges() -> io::Result<()> {
    let (yes, unused): (c_ulong, c_ulong) = (1, 0);
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, unused, unused, unused) };
    answered(c_long::from(result)).map(drop)
}

/// Installs a filter of system calls, for good.
#[expect(
    unsafe_code,
    reason = "the kernel copies the program, which lives until the call is over"
)]
pub(super) fn install(filter: &[Instruction]) -> io::Result<()> {
    let instruction = |(code, jt, jf, k): &Instruction| libc::sock_filter {
        code: *code,
        jt: *jt,
        jf: *jf,
        k: *k,
    };
    let mut code: Vec<_> = filter.iter().map(instruction).collect();
    let program = libc::sock_fprog {
        len: u16::try_from(code.len()).map_err(io::Error::other)?,
        filter: code.as_mut_ptr(),
    };
    let program: *const libc::sock_fprog = &raw const program;
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, ALL_THREADS, program) };
    match answered(result)? {
        0 => Ok(()),
        // The id of a thread that has a filter which this one can't be put on.
        thread => Err(io::Error::other(format!("thread {thread} keeps its own filter"))),
    }
}

/// What a set of Landlock's rules handles: operations on files, on TCP, and what is shared between processes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Handled {
    pub files: u64,
    pub network: u64,
    pub scoped: u64,
}

/// Which version of Landlock this kernel has.
///
/// # Errors
/// If it has none, or none is in force.
#[expect(unsafe_code, reason = "with this flag it takes no structure")]
pub(super) fn landlock_version() -> io::Result<u32> {
    let none: *const Handled = std::ptr::null();
    let size: libc::size_t = 0;
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, size, VERSION_OF_LANDLOCK) };
    answered(result).map(|version| u32::try_from(version).unwrap_or_default())
}

/// A new set of rules, which allows nothing of what it handles. `size` is how many bytes of the structure this version knows.
#[expect(
    unsafe_code,
    reason = "the kernel reads a part of the structure, and the descriptor that it returns is new"
)]
pub(super) fn landlock_ruleset(handled: Handled, size: usize) -> io::Result<OwnedFd> {
    let size = size.min(size_of::<Handled>());
    let flags: c_ulong = 0;
    unsafe {
        let result = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size, flags);
        let descriptor = c_int::try_from(answered(result)?).map_err(io::Error::other)?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Allows operations on what is below an open directory.
#[expect(
    unsafe_code,
    reason = "the kernel reads the structure, which is packed as it wants it"
)]
pub(super) fn landlock_allow(rules: &OwnedFd, directory: &OwnedFd, operations: u64) -> io::Result<()> {
    #[repr(C, packed)]
    struct Beneath {
        operations: u64,
        directory: c_int,
    }
    let rule = Beneath {
        operations,
        directory: directory.as_raw_fd(),
    };
    let flags: c_ulong = 0;
    let (set, rule) = (c_long::from(rules.as_raw_fd()), &raw const rule);
    let result = unsafe { libc::syscall(libc::SYS_landlock_add_rule, set, RULE_PATH_BENEATH, rule, flags) };
    answered(result).map(drop)
}

/// Puts a set of rules into force, for good.
#[expect(unsafe_code, reason = "it takes numbers only")]
pub(super) fn landlock_restrict(rules: &OwnedFd) -> io::Result<()> {
    let flags: c_ulong = 0;
    let set = c_long::from(rules.as_raw_fd());
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, set, flags) };
    answered(result).map(drop)
}
