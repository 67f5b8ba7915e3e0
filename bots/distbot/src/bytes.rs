//! Files that are too large to be read whole, read through a window: a package's headers are close to each other.

use apt_repository::deb;
use apt_repository::failure::Failure;
use foundry_sdk::{Artifact, artifacts};

/// Least bytes to read at once: most packages' control files are in the first ones.
const WINDOW: u64 = 64 * 1024;

/// Most bytes that the host gives at once.
const MAX_READ: u64 = 16 * 1024 * 1024;

/// A file, and how a part of it is read: from an offset, so many bytes.
pub(crate) struct Windowed<R> {
    name: String,
    size: u64,
    read: R,
    start: u64,
    window: Vec<u8>,
}

impl<R: Fn(u64, u32) -> Result<Vec<u8>, Failure>> Windowed<R> {
    /// A file of so many bytes. Its name is for errors.
    pub(crate) fn new(name: &str, size: u64, read: R) -> Self {
        Self {
            name: name.to_owned(),
            size,
            read,
            start: 0,
            window: Vec::new(),
        }
    }
}

/// An artifact's bytes.
pub(crate) fn of_artifact(artifact: &Artifact) -> Windowed<impl Fn(u64, u32) -> Result<Vec<u8>, Failure>> {
    Windowed::new(&artifact.name, artifact.size, |offset, length| {
        artifacts::read(artifact, offset, length).map_err(|error| unreadable(&artifact.name, error))
    })
}

impl<R> Windowed<R> {
    fn in_window(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.window.get(from..from.checked_add(usize::try_from(length).ok()?)?)
    }
}

impl<R: Fn(u64, u32) -> Result<Vec<u8>, Failure>> deb::Bytes for Windowed<R> {
    type Error = Failure;

    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        let cut_off = || Failure::bad_file(&self.name, "it is cut off");
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= self.size)
            .ok_or_else(cut_off)?;
        if self.in_window(offset, length).is_none() {
            let want = length.max(WINDOW).min(self.size - offset);
            let want = u32::try_from(want)
                .ok()
                .filter(|_| length <= MAX_READ)
                .ok_or_else(cut_off)?;
            self.window = (self.read)(offset, want)?;
            self.start = offset;
        }
        debug_assert!(end >= offset);
        self.in_window(offset, length)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Failure::bad_file(&self.name, "it is cut off"))
    }
}

/// An artifact could not be read.
fn unreadable(file: &str, error: artifacts::Error) -> Failure {
    let why = match error {
        artifacts::Error::NotFound(digest) => format!("no artifact has the digest {digest}"),
        artifacts::Error::Corrupt(digest) => format!("the stored bytes are not those of {digest}"),
        artifacts::Error::BadName(name) => format!("{name:?} is not a file name"),
        artifacts::Error::BadRange => "it is shorter than its event says".to_owned(),
        artifacts::Error::Unavailable(why) => return Failure::Later(format!("{file}: {why}")),
    };
    Failure::bad_file(file, why)
}
