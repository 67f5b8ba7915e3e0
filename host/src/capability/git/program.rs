//! Programs that the host runs for git: they get no terminal, end with their deadline, and take their children along.

use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit};

use super::advertisement::printable;
use super::deadline::Deadline;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How often what a running program has written is counted.
const COUNT: Duration = Duration::from_millis(500);

/// What is kept of a program's output.
const MAX_OUTPUT: u64 = 64 * 1024;

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) output: String,
    pub(super) errors: String,
}

/// Variables that could make ssh ask somebody.
const ASKING: [&str; 3] = ["SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY"];

/// What the host's environment may tell git: where its configuration, its parts and its certificates are.
const TOLD: [&str; 6] = [
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_EXEC_PATH",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// Whether a variable of the host's environment is kept from programs: all others of git's lead to other repositories,
/// programs or settings.
fn is_foreign(name: &str) -> bool {
    ASKING.contains(&name) || (name.starts_with("GIT_") && !TOLD.contains(&name))
}

/// A command that never asks anybody anything.
pub(super) fn unattended(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_foreign) {
            command.env_remove(name);
        }
    }
    command
        // Empty means that there is none, not even a configured one.
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        // Its own group, so that all of it can be ended.
        .process_group(0);
    command
}

/// What a program that fetches may use.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// Where it writes.
    pub(super) directory: PathBuf,
    /// Bytes of files that it may add there.
    pub(super) bytes: u64,
    /// Files that it may add there.
    pub(super) files: u64,
    /// Bytes of memory that each of its processes may ask for.
    pub(super) memory: u64,
}

impl Bounds {
    /// Limit a process that was just started, and all that it will start.
    fn hold(&self, child: &Child) -> io::Result<()> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        for (resource, most) in [
            (Resource::Data, self.memory),
            (Resource::Fsize, self.bytes.saturating_add(1)),
        ] {
            // A child has its parent's limits, and only root can raise them.
            let most = getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            match prlimit(pid, resource, limit) {
                // It has ended already: then it has nothing left to use.
                Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Compare what is in the directory with what was there before.
    ///
    /// # Errors
    /// Of the kind `FileTooLarge`, with the limit that is exceeded.
    fn check(&self, before: Written) -> io::Result<()> {
        let now = Written::in_directory(&self.directory);
        let too_much = |what: String| Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        if now.bytes.saturating_sub(before.bytes) > self.bytes {
            return too_much(format!(
                "it sends more than the {} bytes that a fetch may bring",
                self.bytes
            ));
        }
        if now.files.saturating_sub(before.files) > self.files {
            return too_much(format!(
                "it sends more than the {} files that a fetch may bring",
                self.files
            ));
        }
        Ok(())
    }
}

/// Files in a directory and below it.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    files: u64,
    bytes: u64,
}

impl Written {
    /// What vanishes meanwhile is not counted.
    fn in_directory(directory: &Path) -> Self {
        let mut written = Self::default();
        let mut directories = vec![directory.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                    Ok(metadata) => {
                        written.files = written.files.saturating_add(1);
                        written.bytes = written.bytes.saturating_add(metadata.len());
                    }
                    Err(_) => {}
                }
            }
        }
        written
    }
}

/// Run a command to its end, or to the deadline.
pub(super) fn run(command: Command, input: &[u8], deadline: &Deadline) -> io::Result<Finished> {
    run_and(command, input, deadline, None)
}

/// The same, within bounds.
///
/// # Errors
/// Of the kind `FileTooLarge` if what it writes exceeds them.
pub(super) fn run_within(command: Command, input: &[u8], deadline: &Deadline, bounds: &Bounds) -> io::Result<Finished> {
    let before = Written::in_directory(&bounds.directory);
    let finished = run_and(command, input, deadline, Some((bounds, before)))?;
    // It may have ended because a file became too large, or just before it was looked at.
    bounds.check(before)?;
    Ok(finished)
}

fn run_and(
    mut command: Command,
    input: &[u8],
    deadline: &Deadline,
    bounds: Option<(&Bounds, Written)>,
) -> io::Result<Finished> {
    deadline.remaining()?;
    let mut stdin = tempfile::tempfile()?;
    stdin.write_all(input)?;
    stdin.rewind()?;
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let child = command
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout.try_clone()?))
        .stderr(Stdio::from(stderr.try_clone()?));
    let mut child = Group(child.spawn()?);
    if let Some((bounds, _)) = bounds {
        bounds.hold(&child.0)?;
    }
    let mut looked = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if let Some((bounds, before)) = bounds.filter(|_| looked.elapsed() >= COUNT) {
            bounds.check(before)?;
            looked = Instant::now();
        }
        std::thread::sleep(deadline.remaining()?.min(LOOK));
    };
    Ok(Finished {
        status,
        output: text(stdout)?,
        errors: printable(&text(stderr)?),
    })
}

/// What a program wrote into a file, from its beginning.
pub(super) fn text(mut file: std::fs::File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_OUTPUT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A child that leads a process group; dropped, the whole group ends.
#[derive(Debug)]
pub(super) struct Group(pub(super) Child);

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                // The group has this child at least, as nobody has waited for it yet.
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_ends_with_its_deadline_and_so_do_its_children() {
        let marker = format!("{}.5", 60_000 + std::process::id());
        let mut command = unattended("sh");
        command.args(["-c", &format!("sleep {marker} & wait")]);
        let start = Instant::now();
        let error = run(command, b"", &Deadline::after(Duration::from_millis(200))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(5));
        let alive = || {
            Command::new("pgrep")
                .args(["-f", &format!("^sleep {marker}$")])
                .output()
                .unwrap()
                .status
                .success()
        };
        while alive() {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "the child outlived its parent"
            );
        }
    }

    #[test]
    fn a_program_that_writes_beyond_its_bounds_ends_and_the_limit_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("before"), vec![0; 5000]).unwrap();
        let bounds = |bytes, files| Bounds {
            directory: directory.path().to_owned(),
            bytes,
            files,
            memory: 1 << 30,
        };
        let run = |script: &str, bounds: &Bounds| {
            let mut command = unattended("sh");
            command.args(["-c", &format!("cd {}; {script}", directory.path().display())]);
            run_within(command, b"", &Deadline::after(Duration::from_secs(120)), bounds)
        };
        let endless_file = "yes > large; echo goes on >> large";
        let error = run(endless_file, &bounds(4000, 10)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it sends more than the 4000 bytes that a fetch may bring"
        );
        std::fs::remove_file(directory.path().join("large")).unwrap();
        let endless_files = "i=0; while :; do i=$((i+1)); : > $i; done";
        let error = run(endless_files, &bounds(4000, 100)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it sends more than the 100 files that a fetch may bring"
        );
        assert!(run("echo little > x", &bounds(4000, 10)).unwrap().status.success());
    }

    #[test]
    fn the_hosts_own_git_settings_stay_with_the_host() {
        for name in [
            "GIT_DIR",
            "GIT_CONFIG_COUNT",
            "GIT_SSH_COMMAND",
            "GIT_TRACE_CURL",
            "SSH_ASKPASS",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        for name in [
            "GIT_CONFIG_GLOBAL",
            "SSH_AUTH_SOCK",
            "HOME",
            "https_proxy",
            "SSL_CERT_FILE",
        ] {
            assert!(!is_foreign(name), "{name}");
        }
    }

    #[test]
    fn input_output_and_errors_go_their_ways() {
        let mut command = unattended("sh");
        command.args(["-c", "cat; echo oops >&2; exit 3"]);
        let finished = run(command, b"hello", &Deadline::after(Duration::from_secs(10))).unwrap();
        assert_eq!((finished.output.as_str(), finished.errors.as_str()), ("hello", "oops"));
        assert_eq!(finished.status.code(), Some(3));
    }
}
