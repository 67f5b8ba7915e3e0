//! The directories that a helper has, by Landlock. A helper that has none keeps none, where the kernel has Landlock at all: the
//! filter lets it name no file, and this is a second wall behind that one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::kernel::{self, Handled};
use super::setup::{Access, Directory};

/// `EXECUTE` to `MAKE_SYM`, which the first version knows.
const FIRST: u64 = (1 << 13) - 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// Moving and linking between directories.
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Running programs, and making devices, sockets and pipes.
const NEVER: u64 = 1 | (1 << 6) | (1 << 9) | (1 << 10) | (1 << 11) | IOCTL_DEV;

/// Keeps this process to some directories, and from TCP and other processes as far as the kernel's version does that.
///
/// # Errors
/// If a directory can't be opened, or if there are some and the kernel has no Landlock.
pub(super) fn restrict(directories: &[Directory]) -> io::Result<()> {
    let version = match kernel::landlock_version() {
        Ok(version) => version,
        Err(_) if directories.is_empty() => return Ok(()),
        Err(error) => {
            let why = format!("the kernel has no Landlock, which keeps a helper to its directories ({error})");
            return Err(io::Error::new(error.kind(), why));
        }
    };
    let (handled, size) = handled(version);
    let rules = kernel::landlock_ruleset(handled, size)?;
    for directory in directories {
        let operations = match directory.access {
            Access::Read => READ_FILE | READ_DIR,
            Access::Write => handled.files & !NEVER,
        };
        kernel::landlock_allow(&rules, &open(&directory.path)?, operations)?;
    }
    kernel::landlock_restrict(&rules)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))
    })
}

/// All that a version handles, and how long its description is, in bytes.
fn handled(version: u32) -> (Handled, usize) {
    let since = |first: u32, bits: u64| if version >= first { bits } else { 0 };
    let handled = Handled {
        files: FIRST | since(2, REFER) | since(3, TRUNCATE) | since(5, IOCTL_DEV),
        network: since(4, 0b11),
        scoped: since(6, 0b11),
    };
    let size = match version {
        ..4 => 8,
        4 | 5 => 16,
        _ => 24,
    };
    (handled, size)
}
