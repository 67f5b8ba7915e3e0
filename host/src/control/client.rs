//! The command line's end of the control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Answer, Ask, Failure, Reply, Request, VERSION};

/// How long a host may take for an answer that it only has to look up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to load a bot, whose compilation may take a while.
const PATIENCE_FOR_LOADING: Duration = Duration::from_secs(300);

/// Why a host could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no foundry-host is running with the state directory {} (start one with `foundry-host run`, or name the state directory of yours with --state)", .0.display())]
    NotRunning(PathBuf),
    /// Somebody listens, but not to us.
    #[error("cannot talk to the foundry-host at {}: {source}{}", path.display(), hint(source))]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It said something else than a reply.
    #[error("the foundry-host at {} says something unexpected: {why} (is it another version? restart it)", path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It closed the connection.
    #[error("the foundry-host at {} ended the connection (see its log)", .0.display())]
    Gone(PathBuf),
    /// It doesn't answer.
    #[error("the foundry-host at {} does not answer within {} s (see its log)", path.display(), .patience.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long we waited.
        patience: Duration,
    },
    /// It answered, that it won't.
    #[error(transparent)]
    Failed(#[from] Failure),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => " (it belongs to another user: run this as that user, or as root)",
        _ => "",
    }
}

/// Asks a host.
#[derive(Debug, Clone)]
pub struct Client {
    state: PathBuf,
}

/// Answers as they come.
pub struct Answers {
    socket: PathBuf,
    reader: BufReader<UnixStream>,
    ended: bool,
}

impl Client {
    /// For the host with this state directory.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    /// Ask for something that has one answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&self, request: Request) -> Result<Answer, ClientError> {
        let patience = match request {
            Request::Load(_) => PATIENCE_FOR_LOADING,
            _ => PATIENCE,
        };
        let answer = async {
            let mut answers = self.stream(request).await?;
            let answer = answers.next().await?;
            answer.ok_or_else(|| ClientError::Gone(answers.socket.clone()))
        };
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ClientError::Silent {
                path: super::socket(&self.state),
                patience,
            }),
        }
    }

    /// Ask for something that has any number of answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stream(&self, request: Request) -> Result<Answers, ClientError> {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        let socket = super::socket(&self.state);
        let mut stream = match UnixStream::connect(&socket).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => {
                return Err(ClientError::NotRunning(self.state.clone()));
            }
            Err(source) => return Err(ClientError::Socket { path: socket, source }),
        };
        let ask = Ask {
            version: VERSION,
            request,
        };
        let failed = |source: std::io::Error| ClientError::Socket {
            path: socket.clone(),
            source,
        };
        let mut line = serde_json::to_vec(&ask).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        stream.write_all(&line).await.map_err(failed)?;
        Ok(Answers {
            socket,
            reader: BufReader::new(stream),
            ended: false,
        })
    }
}

impl Answers {
    /// The next answer; none after the last.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn next(&mut self) -> Result<Option<Answer>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).await;
        if read.map_err(|source| ClientError::Socket {
            path: self.socket.clone(),
            source,
        })? == 0
        {
            return Err(ClientError::Gone(self.socket.clone()));
        }
        let reply = serde_json::from_str(&line).map_err(|error| ClientError::Garbled {
            path: self.socket.clone(),
            why: error.to_string(),
        })?;
        match reply {
            Reply::Part(answer) => Ok(Some(answer)),
            Reply::Last(answer) => {
                self.ended = true;
                Ok(Some(answer))
            }
            Reply::Failed(failure) => {
                self.ended = true;
                Err(failure.into())
            }
        }
    }
}
