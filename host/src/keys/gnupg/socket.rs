//! Where gpg-agent listens, and starting it.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use super::assuan::{AssuanError, Connection};
use super::command::{complaint, run};
use super::error::GnupgError;
use super::ring::Ring;

/// How long the agent may take for what needs no person.
pub(super) const ANSWER: Duration = Duration::from_secs(15);

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// The kernel has 108 bytes for a socket's path, with the zero at its end.
const LONGEST_SOCKET_PATH: usize = 107;

impl Ring {
    /// A connection to the agent, which is started if it is not there.
    pub(super) fn agent(&self) -> Result<Connection, GnupgError> {
        let known = self.socket.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known.map(|socket| Connection::open(&socket, ANSWER)) {
            Some(Ok(connection)) => return Ok(connection),
            Some(Err(error)) if error.is_timeout() => return Err(self.broken(&error, ANSWER)),
            // It ended, or moved: /run/user/UID comes and goes with sessions.
            Some(Err(_)) | None => {}
        }
        let socket = self.agent_socket()?;
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            let (home, limit) = (self.home(), LONGEST_SOCKET_PATH);
            return Err(GnupgError::SocketPath { home, socket, limit });
        }
        let connection = match Connection::open(&socket, ANSWER) {
            Err(AssuanError::Io(error)) if is_gone(&error) => self.launch(&socket)?,
            opened => opened.map_err(|error| self.broken(&error, ANSWER))?,
        };
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        Ok(connection)
    }

    fn launch(&self, socket: &Path) -> Result<Connection, GnupgError> {
        let ran = run(self.program("gpgconf").args(["--launch", "gpg-agent"]), b"", START)?;
        Connection::open(socket, ANSWER).map_err(|error| match error {
            AssuanError::Io(_) if !ran.status.success() => GnupgError::NoAgent {
                home: self.home(),
                reason: complaint(&ran.stderr),
            },
            error => self.broken(&error, ANSWER),
        })
    }

    fn agent_socket(&self) -> Result<PathBuf, GnupgError> {
        let ran = run(
            self.program("gpgconf").args(["--list-dirs", "agent-socket"]),
            b"",
            START,
        )?;
        let socket = String::from_utf8_lossy(ran.stdout.expose()).trim_end().to_owned();
        if !ran.status.success() || socket.is_empty() {
            return Err(GnupgError::NoAgent {
                home: self.home(),
                reason: format!("gpgconf does not name its socket: {}", complaint(&ran.stderr)),
            });
        }
        Ok(redirected(PathBuf::from(socket)))
    }

    /// What a connection that broke means.
    pub(super) fn broken(&self, error: &AssuanError, limit: Duration) -> GnupgError {
        if error.is_timeout() {
            return GnupgError::TimedOut {
                what: "gpg-agent".to_owned(),
                limit,
            };
        }
        let reason = match error {
            AssuanError::Io(error) => error.to_string(),
            AssuanError::Refused(refusal) => refusal.text.clone(),
        };
        GnupgError::NoAgent {
            home: self.home(),
            reason,
        }
    }
}

/// There is no agent, or it is just ending.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | UnexpectedEof | ConnectionReset | BrokenPipe
    )
}

/// Where a socket really is: libassuan lets a file in its place name another one, for homes on file systems without sockets.
fn redirected(socket: PathBuf) -> PathBuf {
    let is_file = std::fs::metadata(&socket).is_ok_and(|metadata| metadata.is_file());
    let mut text = String::new();
    let read = is_file.then(|| std::fs::File::open(&socket).and_then(|file| file.take(4096).read_to_string(&mut text)));
    if !matches!(read, Some(Ok(_))) {
        return socket;
    }
    let mut lines = text.lines();
    let target = (lines.next() == Some("%Assuan%"))
        .then(|| lines.find_map(|line| line.strip_prefix("socket=")))
        .flatten();
    target.map_or(socket, PathBuf::from)
}
