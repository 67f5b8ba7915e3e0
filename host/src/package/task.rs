//! What the helper does: it reads one package, which it was granted as an open file.

use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{control, names};
use crate::confine::{ChannelError, Inside, Limits, Task};

/// Reads packages.
///
/// Its memory is for the 128 MiB of a zstd window or the 65 MiB of xz, and the list of names with its written form. The packages of
/// Debian that take longest, of some gigabytes, are unpacked in half a minute.
pub static TASK: Task = Task {
    name: "package",
    limits: Limits {
        memory: 512 << 20,
        processor: 240,
        time: Duration::from_secs(600),
        // Each character of a name may be written as two.
        message: 72 << 20,
        file: 0,
        descriptors: 4,
    },
    work,
};

/// What is asked of a package.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Question {
    Files,
    Control,
}

/// What it says, or why it is none.
pub(super) type Answer<T> = Result<T, String>;

fn work(inside: &mut Inside) -> Result<(), ChannelError> {
    let package = inside.granted().next().map(File::from);
    let mut package = package.ok_or(ChannelError::Closed)?;
    loop {
        match inside.receive()? {
            Question::Files => inside.send(&files(&mut package))?,
            Question::Control => inside.send(&control::read(&mut package))?,
        }
    }
}

fn files(package: &mut File) -> Answer<Vec<String>> {
    package.rewind().map_err(|error| error.to_string())?;
    names::list(BufReader::with_capacity(128 << 10, package)).map_err(|error| error.to_string())
}
