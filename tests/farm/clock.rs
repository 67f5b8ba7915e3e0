//! A machine's clock, which can be set while its host runs: Debian's libfaketime between the host and the kernel.

use std::fs;
use std::path::PathBuf;

use crate::machine::Machine;

/// The clock of one machine.
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Gives a machine a clock of its own, which is right as yet; its host has it from its next start on.
    pub fn of(machine: &mut Machine) -> Self {
        let clock = Self {
            file: machine.file("clock"),
        };
        clock.set_ahead(0);
        let variables = [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", clock.file.clone()),
            // Seconds after which it looks at the file again.
            ("FAKETIME_CACHE_DURATION", "1".into()),
            // How much time has passed is another clock, which nobody sets.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        machine.with(variables.map(|(name, value)| (name.to_owned(), text(value))).into());
        clock
    }

    /// Sets it so many seconds ahead of all the others.
    pub fn set_ahead(&self, seconds: u32) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("+{seconds}\n")).unwrap();
        fs::rename(new, &self.file).unwrap();
    }
}

/// In a directory of the machine's architecture.
fn library() -> PathBuf {
    let directories = fs::read_dir("/usr/lib").unwrap();
    let files = directories.map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    files
        .into_iter()
        .find(|file| file.exists())
        .expect("Debian's package libfaketime is installed")
}
