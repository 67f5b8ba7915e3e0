//! The system calls that a helper may make. All others fail with `EPERM`, which programs take for "not allowed" and go on.
//!
//! Nothing here makes a process, a thread, a socket or executable memory, changes who the process is, or names a file,
//! unless directories were granted; of those Landlock keeps the paths.

use libc::c_long;

use super::bpf::{
    ALLOW, ARCHITECTURE, ERROR, Instruction, JUMP_IF_ANY, JUMP_IF_EQUAL, KILL, LOAD, NUMBER, RETURN, architecture,
    lower_half, upper_half,
};

/// What a refused call says.
const REFUSED: u32 = ERROR | libc::EPERM.unsigned_abs();

/// Calls that are about what the process has already: its memory, its descriptors, its own end.
const PLAIN: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
    libc::SYS_poll,
    // Its arguments are in memory, where no filter sees them; pages that are executable are of use to no one who has none to call.
    #[cfg(target_arch = "s390x")]
    libc::SYS_mmap,
    #[cfg(target_pointer_width = "32")]
    libc::SYS__llseek,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_fstat64,
    // clock_gettime64, clock_nanosleep_time64, ppoll_time64, futex_time64: the same numbers wherever they are.
    #[cfg(target_pointer_width = "32")]
    403,
    #[cfg(target_pointer_width = "32")]
    407,
    #[cfg(target_pointer_width = "32")]
    414,
    #[cfg(target_pointer_width = "32")]
    422,
];

/// Calls that name files, or change them. None changes the mode or the times of a file by its name: Landlock has no rule for that, and the
/// owner of a file may do it without any right.
const FILES: &[c_long] = &[
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_fchmod,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_pwrite64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    // faccessat2, the same number wherever it is.
    439,
    #[cfg(target_pointer_width = "64")]
    libc::SYS_newfstatat,
    #[cfg(not(target_arch = "riscv64"))]
    libc::SYS_renameat,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_fstatat64,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_stat64,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_lstat64,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_ftruncate64,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_statfs64,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_fstatfs64,
];

/// The same as calls of old, which later architectures have no more.
#[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
const OLD_FILES: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
];
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const OLD_FILES: &[c_long] = &[];

/// What maps memory here, other than [`PLAIN`] on s390x.
#[cfg(not(any(target_arch = "s390x", target_pointer_width = "32")))]
const MAP: &[c_long] = &[libc::SYS_mmap];
#[cfg(target_pointer_width = "32")]
const MAP: &[c_long] = &[libc::SYS_mmap2];
#[cfg(target_arch = "s390x")]
const MAP: &[c_long] = &[];

#[cfg(target_pointer_width = "32")]
const CONTROL: c_long = libc::SYS_fcntl64;
#[cfg(not(target_pointer_width = "32"))]
const CONTROL: c_long = libc::SYS_fcntl;

/// What of `fcntl` is about the descriptor alone. That which names a process to be signalled is not.
const CONTROLS: [u32; 6] = [
    libc::F_DUPFD.unsigned_abs(),
    libc::F_GETFD.unsigned_abs(),
    libc::F_SETFD.unsigned_abs(),
    libc::F_GETFL.unsigned_abs(),
    libc::F_SETFL.unsigned_abs(),
    libc::F_DUPFD_CLOEXEC.unsigned_abs(),
];

/// What of `fcntl` locks parts of files, which databases and libgit2 do.
const LOCKS: [u32; 3] = [
    libc::F_GETLK.unsigned_abs(),
    libc::F_SETLK.unsigned_abs(),
    libc::F_SETLKW.unsigned_abs(),
];

/// `AUDIT_ARCH_*` of this program. None: no filter can be written for it here.
const NATIVE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(architecture::X86_64)
} else if cfg!(target_arch = "x86") {
    Some(architecture::I386)
} else if cfg!(target_arch = "aarch64") {
    Some(architecture::AARCH64)
} else if cfg!(target_arch = "arm") {
    Some(architecture::ARM)
} else if cfg!(target_arch = "riscv64") {
    Some(architecture::RISCV64)
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    Some(architecture::PPC64LE)
} else if cfg!(target_arch = "s390x") {
    Some(architecture::S390X)
} else {
    None
};

/// The filter for the process with an id, which may signal itself and nobody else. None on a processor that it can't be written for.
pub(super) fn filter(process: u32, files: bool) -> Option<Vec<Instruction>> {
    let mut code = vec![
        (LOAD, 0, 0, ARCHITECTURE),
        // Another way of calling the kernel is nothing that this program does.
        (JUMP_IF_EQUAL, 1, 0, NATIVE?),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ];
    let named: &[&[c_long]] = if files { &[FILES, OLD_FILES] } else { &[] };
    for call in PLAIN.iter().chain(named.iter().copied().flatten()) {
        code.extend(guarded(*call, vec![(RETURN, 0, 0, ALLOW)]));
    }
    let executable = libc::PROT_EXEC.unsigned_abs();
    for call in MAP.iter().chain(&[libc::SYS_mprotect]) {
        code.extend(guarded(*call, without(2, executable)));
    }
    if files {
        // Of a file that is open.
        code.extend(guarded(libc::SYS_utimensat, null(1)));
        code.extend(guarded(libc::SYS_openat, unless_emptied(2)));
        #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
        code.extend(guarded(libc::SYS_open, unless_emptied(1)));
    }
    code.extend(guarded(libc::SYS_tgkill, one_of(0, &[process])));
    let locks: &[u32] = if files { &LOCKS } else { &[] };
    code.extend(guarded(CONTROL, one_of(1, &[&CONTROLS, locks].concat())));
    // To an address only a socket that has no other end would send.
    code.extend(guarded(libc::SYS_sendto, null(4)));
    code.push((RETURN, 0, 0, REFUSED));
    Some(code)
}

/// What is done if the call has this number; the number stays loaded for what follows, if not.
fn guarded(call: c_long, block: Vec<Instruction>) -> Vec<Instruction> {
    let mut code = vec![(
        JUMP_IF_EQUAL,
        0,
        distance(block.len()),
        u32::try_from(call).unwrap_or(u32::MAX),
    )];
    code.extend(block);
    code
}

/// Allows the call if an argument is one of these.
fn one_of(argument: u32, values: &[u32]) -> Vec<Instruction> {
    let mut block = vec![(LOAD, 0, 0, lower_half(argument))];
    for (index, value) in values.iter().enumerate() {
        // Over the remaining values and the refusal.
        block.push((JUMP_IF_EQUAL, distance(values.len() - index), 0, *value));
    }
    block.push((RETURN, 0, 0, REFUSED));
    block.push((RETURN, 0, 0, ALLOW));
    block
}

/// Allows the call if an argument has none of these bits.
fn without(argument: u32, bits: u32) -> Vec<Instruction> {
    vec![
        (LOAD, 0, 0, lower_half(argument)),
        (JUMP_IF_ANY, 0, 1, bits),
        (RETURN, 0, 0, REFUSED),
        (RETURN, 0, 0, ALLOW),
    ]
}

/// Allows the call unless its flags empty a file that is opened for reading alone. That needs the right to read there and no other, before
/// version 3 of Landlock.
fn unless_emptied(flags: u32) -> Vec<Instruction> {
    vec![
        (LOAD, 0, 0, lower_half(flags)),
        (JUMP_IF_ANY, 0, 2, libc::O_TRUNC.unsigned_abs()),
        (JUMP_IF_ANY, 1, 0, libc::O_ACCMODE.unsigned_abs()),
        (RETURN, 0, 0, REFUSED),
        (RETURN, 0, 0, ALLOW),
    ]
}

/// Allows the call if a pointer is null.
fn null(argument: u32) -> Vec<Instruction> {
    vec![
        (LOAD, 0, 0, lower_half(argument)),
        (JUMP_IF_EQUAL, 0, 2, 0),
        (LOAD, 0, 0, upper_half(argument)),
        (JUMP_IF_EQUAL, 1, 0, 0),
        (RETURN, 0, 0, REFUSED),
        (RETURN, 0, 0, ALLOW),
    ]
}

fn distance(instructions: usize) -> u8 {
    u8::try_from(instructions).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: u32 = 4711;

    /// What the filter says of a call, by the rules of classic BPF.
    fn verdict(files: bool, architecture: u32, number: c_long, arguments: [u64; 6]) -> u32 {
        let filter = filter(PROCESS, files).unwrap();
        let (mut at, mut value) = (0, 0);
        loop {
            let (operation, yes, no, operand) = filter[at];
            at += 1;
            let holds = match operation {
                LOAD => {
                    value = match operand {
                        NUMBER => number as u32,
                        ARCHITECTURE => architecture,
                        half => {
                            let argument = (half - 16) / 8;
                            let is_lower = half == lower_half(argument);
                            (arguments[argument as usize] >> if is_lower { 0 } else { 32 }) as u32
                        }
                    };
                    continue;
                }
                JUMP_IF_EQUAL => value == operand,
                JUMP_IF_ANY => value & operand != 0,
                RETURN => return operand,
                other => unreachable!("{other:x}"),
            };
            at += usize::from(if holds { yes } else { no });
        }
    }

    fn allows(files: bool, number: c_long, arguments: [u64; 6]) -> bool {
        match verdict(files, NATIVE.unwrap(), number, arguments) {
            ALLOW => true,
            REFUSED => false,
            other => unreachable!("{other:x}"),
        }
    }

    fn plain(number: c_long) -> bool {
        allows(false, number, [0; 6])
    }

    #[test]
    fn calls_that_are_not_on_the_list_are_refused() {
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_openat,
            libc::SYS_newfstatat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_kill,
            libc::SYS_setuid,
            libc::SYS_prctl,
            libc::SYS_prlimit64,
            libc::SYS_ioctl,
            libc::SYS_memfd_create,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_keyctl,
            libc::SYS_pidfd_getfd,
        ] {
            assert!(!plain(call), "{call}");
        }
        assert!(plain(libc::SYS_read) && plain(libc::SYS_write) && plain(libc::SYS_exit_group));
        // Numbers of x32, which has the same convention as amd64.
        assert!(!plain(0x4000_0000 | libc::SYS_read));
    }

    #[test]
    fn files_are_named_only_where_directories_were_granted() {
        for call in FILES.iter().chain(OLD_FILES) {
            assert!(!plain(*call), "{call}");
            assert!(allows(true, *call, [0; 6]), "{call}");
        }
        assert!(!allows(true, libc::SYS_execve, [0; 6]));
        assert!(!allows(true, libc::SYS_mount, [0; 6]));
        for call in [libc::SYS_openat, libc::SYS_utimensat] {
            assert!(!plain(call) && allows(true, call, [0; 6]), "{call}");
        }
    }

    #[test]
    fn no_mode_and_no_time_is_changed_by_a_name_and_nothing_is_emptied_that_is_opened_to_be_read() {
        for call in [libc::SYS_fchmodat, libc::SYS_fchownat, libc::SYS_setxattr] {
            assert!(!allows(true, call, [0; 6]), "{call}");
        }
        for name in [1, 1 << 32] {
            assert!(!allows(true, libc::SYS_utimensat, [0, name, 0, 0, 0, 0]));
        }
        let opens = |flags: i32| allows(true, libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0]);
        assert!(opens(libc::O_RDONLY | libc::O_CLOEXEC) && !opens(libc::O_RDONLY | libc::O_TRUNC));
        // Landlock asks for the right to write there.
        assert!(opens(libc::O_WRONLY | libc::O_TRUNC) && opens(libc::O_RDWR | libc::O_TRUNC));
    }

    #[test]
    fn no_memory_becomes_executable() {
        for call in MAP.iter().chain(&[libc::SYS_mprotect]) {
            assert!(allows(false, *call, [0, 4096, 3, 0, 0, 0]));
            assert!(!allows(false, *call, [0, 4096, 5, 0, 0, 0]));
        }
    }

    #[test]
    fn a_helper_signals_itself_and_sends_to_no_address() {
        assert!(allows(false, libc::SYS_tgkill, [u64::from(PROCESS), 1, 6, 0, 0, 0]));
        assert!(!allows(false, libc::SYS_tgkill, [1, 1, 9, 0, 0, 0]));
        assert!(allows(false, libc::SYS_sendto, [0; 6]));
        for address in [1, 1 << 32] {
            assert!(!allows(false, libc::SYS_sendto, [0, 0, 0, 0, address, 0]));
        }
        let control = |what: i32| allows(false, CONTROL, [0, what as u64, 0, 0, 0, 0]);
        assert!(control(libc::F_GETFL) && !control(libc::F_SETOWN) && !control(libc::F_SETLK));
    }

    #[test]
    fn another_way_of_calling_the_kernel_ends_the_helper() {
        for foreign in [architecture::I386, architecture::ARM, 0x1234] {
            assert_eq!(verdict(true, foreign, libc::SYS_read, [0; 6]), KILL);
        }
    }
}
