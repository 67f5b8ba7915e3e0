//! Small disks: file systems that the test makes, fills and takes away, and that end with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in the process that has file systems of its own.
const INSIDE: &str = "FOUNDRY_TEST_INSIDE";

/// Run a test of this program, called as the runner calls it, in a mount namespace, where it may mount small disks, which end with its last process.
/// In there this returns true.
pub fn has_disks_of_its_own(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // A small disk takes the right to mount one, which everybody has in a namespace of their own.
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let inside = run(unshare
        .arg("--mount")
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .args(["--exact", "--nocapture", test]));
    assert!(inside.contains("1 passed"), "{inside}");
    print!("{inside}");
    false
}

/// Run a program that has to succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}");
    said
}

/// A file system that goes away before the directory that it is mounted on.
pub struct Mounted(PathBuf);

impl Mounted {
    /// A disk of some MiB in memory, on a directory that is made.
    pub fn small(directory: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=700"), "tmpfs"])
            .arg(directory));
        Self(directory.to_owned())
    }

    /// What is in a file, on a directory that is made. A journal that was not finished is replayed.
    ///
    /// # Errors
    /// What mount said: not everybody may, and not every machine can.
    pub fn image(image: &Path, directory: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(directory).unwrap();
        let mut mount = Command::new("mount");
        let output = mount.args(["-o", "loop"]).args([image, directory]).output();
        let output = output.map_err(|error| format!("mount: {error}"))?;
        match output.status.success() {
            true => Ok(Self(directory.to_owned())),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Fill a disk but for some KiB; the file that does it.
pub fn fill(disk: &Path, free: u64) -> PathBuf {
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(free * 1024)).unwrap();
    filler
}
