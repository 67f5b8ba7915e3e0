//! The machine's own root as builds without a layer see it: its programs, and a copy of its data.

use std::fs;
use std::path::Path;

use super::error::{Attempt as _, BuildError};
use super::job::Job;
use super::layer::{public_dir, public_file};
use super::lease::{Lock, lock_path};
use super::sandbox::{self, Purpose, Root};

impl Job<'_> {
    /// The machine's own root with a copy of its data for builds, and the lock that keeps the copy in place. It serves
    /// all builds until the data change.
    pub fn machine_root(&mut self) -> Result<(Root, Lock), BuildError> {
        let data = self
            .state("data")
            .join(hex::encode(sandbox::data_digest(Purpose::Build)));
        let root = Root::over(Path::new("/")).with_data(&data);
        loop {
            let lock = self.wait(&lock_path(&data), false)?;
            if data.is_dir() {
                lock.touch();
                return Ok((root, lock));
            }
            drop(lock);
            let _making = self.wait(&lock_path(&data), true)?;
            if !data.is_dir() {
                let made = self.scratch.path().join("data");
                copy_for_builds(&made)?;
                fs::rename(&made, &data).attempt("rename", &made)?;
            }
        }
    }
}

/// Copies the machine's data for builds, with places for what is mounted over them.
fn copy_for_builds(to: &Path) -> Result<(), BuildError> {
    for name in ["etc", "var-lib/dpkg"] {
        public_dir(&to.join(name))?;
    }
    sandbox::copy_data(Purpose::Build, to)?;
    for name in ["passwd", "group", "hosts"] {
        public_file(&to.join("etc").join(name), b"", 0o644)?;
    }
    Ok(())
}
