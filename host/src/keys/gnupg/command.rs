//! Running gpg with a time limit and bounded output.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::super::secret::SecretBytes;
use super::super::stored_key::LONGEST_IMPORT;
use super::error::GnupgError;

/// More than this of standard error is noise.
const LONGEST_COMPLAINT: u64 = 64 << 10;

/// How long output may come in after the program's end: an agent that it started may have inherited the pipes.
/// What is not read by then is lost, and would look like nothing: so it is long for a busy machine too.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Bytes that are read together.
const CHUNK: usize = 8 << 10;

/// What a program did.
pub(super) struct Ran {
    pub status: ExitStatus,
    /// Wiped when dropped: it may be a secret key.
    pub stdout: SecretBytes,
    pub stderr: String,
}

/// Runs the program with `input` on its standard input. It is killed when `limit` has passed.
pub(super) fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Ran, GnupgError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot_run = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => GnupgError::NotInstalled {
            program: program.clone(),
        },
        _ => GnupgError::Run {
            program: program.clone(),
            source,
        },
    };
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot_run)?;
    let stdout = child.stdout.take().map(|pipe| collect(pipe, LONGEST_IMPORT as u64));
    let stderr = child.stderr.take().map(|pipe| collect(pipe, LONGEST_COMPLAINT));
    if let Some(mut stdin) = child.stdin.take() {
        // The program may be gone before it has read anything, which its status says better. The inputs are shorter than
        // a pipe's buffer, so this does not block.
        let _ = stdin.write_all(input);
    }
    let status = wait(&mut child, limit)
        .map_err(cannot_run)?
        .ok_or(GnupgError::TimedOut {
            what: program.clone(),
            limit,
        })?;
    let output = |collected: Option<Collected>| collected.map(Collected::until_now).unwrap_or_default();
    Ok(Ran {
        status,
        stdout: SecretBytes::new(output(stdout)),
        stderr: String::from_utf8_lossy(&output(stderr)).into_owned(),
    })
}

/// What a pipe has given so far, and whether that is all.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    all: mpsc::Receiver<()>,
}

impl Collected {
    /// What came in. A program that has ended has written all; whoever keeps the pipe open adds nothing.
    fn until_now(self) -> Vec<u8> {
        let _ = self.all.recv_timeout(AFTERWARDS);
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads at most so many bytes in a thread of its own; what exceeds them is read and dropped.
fn collect(mut pipe: impl Read + Send + 'static, limit: u64) -> Collected {
    let (sender, all) = mpsc::sync_channel(1);
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&bytes);
    thread::spawn(move || {
        let mut chunk = Zeroizing::new(vec![0; CHUNK]);
        loop {
            let length = match pipe.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            };
            let mut bytes = collected.lock().unwrap_or_else(PoisonError::into_inner);
            let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(bytes.len());
            bytes.extend_from_slice(chunk.get(..length.min(room)).unwrap_or_default());
        }
        // Nobody waits any more after a time-out.
        let _ = sender.send(());
    });
    Collected { bytes, all }
}

/// The program's status; none if it was killed for taking longer than `limit`.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// What gpg said, on one line, without its noise.
pub(super) fn complaint(said: &str) -> String {
    let lines: Vec<_> = said
        .lines()
        .map(|line| line.strip_prefix("gpg: ").unwrap_or(line))
        .filter(|line| !line.starts_with("WARNING: unsafe "))
        .collect();
    match lines.as_slice() {
        [] => "it did not say why".to_owned(),
        lines => lines.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_at_the_limit() {
        let started = Instant::now();
        let refused = run(Command::new("sleep").arg("60"), b"", Duration::from_millis(200));
        assert!(matches!(refused, Err(GnupgError::TimedOut { .. })));
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_daemon_that_keeps_the_pipes_open_is_not_waited_for() {
        let started = Instant::now();
        let script = "echo said; sleep 60 & echo $!";
        let ran = run(Command::new("sh").args(["-c", script]), b"", Duration::from_secs(30))
            .ok()
            .unwrap();
        assert!(ran.status.success() && started.elapsed() < Duration::from_secs(20));
        // That it has not ended must not look like a program that found nothing.
        assert!(ran.stdout.expose().starts_with(b"said\n"));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let refused = run(&mut Command::new("/nowhere/gpg"), b"", Duration::from_secs(5))
            .err()
            .unwrap();
        assert!(refused.to_string().contains("apt install gnupg"), "{refused}");
    }
}
