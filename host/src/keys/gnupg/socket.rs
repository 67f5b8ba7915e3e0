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

/// Before each attempt to start it.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1)];

/// The kernel has 108 bytes for a socket's path, with the zero at its end.
const LONGEST_SOCKET_PATH: usize = 107;

impl Ring {
    /// Has a conversation with the agent, which is started if it is not there. Also the connection, to ask it what its answer
    /// means.
    pub(super) fn talk<T>(
        &self,
        conversation: impl Fn(&mut Connection) -> Result<T, AssuanError>,
    ) -> Result<(Connection, Result<T, AssuanError>), GnupgError> {
        let mut connection = self.agent()?;
        let answer = conversation(&mut connection);
        if !matches!(&answer, Err(AssuanError::Io(error)) if is_gone(error)) {
            return Ok((connection, answer));
        }
        // It was just ending; one more attempt meets its successor.
        let mut connection = self.agent()?;
        let answer = conversation(&mut connection);
        Ok((connection, answer))
    }

    fn agent(&self) -> Result<Connection, GnupgError> {
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
        let mut opened = Connection::open(&socket, ANSWER);
        for pause in PAUSES {
            if !matches!(&opened, Err(AssuanError::Io(error)) if is_gone(error)) {
                break;
            }
            // An agent that is ending answers gpgconf still, and then nobody is there.
            std::thread::sleep(pause);
            opened = self.launch(&socket)?;
        }
        let connection = opened.map_err(|error| self.broken(&error, ANSWER))?;
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        Ok(connection)
    }

    fn launch(&self, socket: &Path) -> Result<Result<Connection, AssuanError>, GnupgError> {
        let ran = run(self.program("gpgconf").args(["--launch", "gpg-agent"]), b"", START)?;
        match Connection::open(socket, ANSWER) {
            Err(AssuanError::Io(_)) if !ran.status.success() => Err(GnupgError::NoAgent {
                home: self.home(),
                reason: complaint(&ran.stderr),
            }),
            opened => Ok(opened),
        }
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
