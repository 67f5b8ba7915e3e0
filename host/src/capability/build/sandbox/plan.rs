//! An ordered list of mounts, as bwrap's arguments. bwrap mounts all of them `nosuid`, and all but `/dev` `nodev`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::super::stage::words;

/// Sizes of the memory file systems, in bytes.
pub(super) const SMALL: &str = "16777216";
pub(super) const SHARED_MEMORY: &str = "268435456";

/// Mounts in the order in which they are made: a later one covers what an earlier one shows at the same place.
pub(super) struct Plan<'a> {
    words: Vec<OsString>,
    /// Where a path of the host's is when the sandbox is made.
    inside: &'a dyn Fn(&Path) -> PathBuf,
}

impl<'a> Plan<'a> {
    /// A plan without a mount: a sandbox in which there is no file at all.
    pub fn new(inside: &'a dyn Fn(&Path) -> PathBuf) -> Self {
        Self {
            words: Vec::new(),
            inside,
        }
    }

    /// Shows a file or directory of the host's at `to`; it can't be changed.
    pub fn show(&mut self, from: &Path, to: impl AsRef<Path>) {
        self.bind("--ro-bind", from, to.as_ref());
    }

    /// Shows a file or directory of the host's at `to`, where it can be changed.
    pub fn lend(&mut self, from: &Path, to: impl AsRef<Path>) {
        self.bind("--bind", from, to.as_ref());
    }

    /// Makes a symbolic link.
    pub fn link(&mut self, target: &Path, at: impl AsRef<Path>) {
        self.add(&[OsStr::new("--symlink"), target.as_os_str(), at.as_ref().as_os_str()]);
    }

    /// Makes an empty directory that takes up to `size` bytes.
    pub fn memory(&mut self, at: impl AsRef<Path>, size: &str) {
        self.add(&["--size", size, "--tmpfs"]);
        self.add(&[at.as_ref()]);
    }

    /// Makes an empty directory that takes up to `size` bytes from everybody.
    pub fn public_memory(&mut self, at: impl AsRef<Path>, size: &str) {
        self.add(&["--perms", "1777"]);
        self.memory(at, size);
    }

    /// Makes a directory in the sandbox's own root that everyone may enter.
    pub fn directory(&mut self, at: impl AsRef<Path>) {
        self.add(&[Path::new("--dir"), at.as_ref()]);
    }

    /// Makes what is mounted at a place unchangeable, but not what is mounted below it.
    pub fn close(&mut self, at: impl AsRef<Path>) {
        self.add(&[Path::new("--remount-ro"), at.as_ref()]);
    }

    /// The sandbox's own processes.
    pub fn processes(&mut self) {
        self.add(&["--proc", "/proc"]);
    }

    /// `null`, `zero`, `full`, `random`, `urandom`, `tty`, and terminals of the sandbox's own.
    pub fn devices(&mut self) {
        self.add(&["--dev", "/dev"]);
    }

    /// The arguments.
    pub fn into_words(self) -> Vec<OsString> {
        self.words
    }

    fn bind(&mut self, how: &str, from: &Path, to: &Path) {
        let from = (self.inside)(from);
        self.add(&[OsStr::new(how), from.as_os_str(), to.as_os_str()]);
    }

    fn add<T: AsRef<OsStr>>(&mut self, more: &[T]) {
        self.words.extend(words(more));
    }
}
