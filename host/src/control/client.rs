//! The command line's end of the control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Answer, Ask, Failure, PATIENCE, Reply, Request, VERSION};

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
    /// It says nothing, not even that it is at work.
    #[error("the foundry-host at {} has said nothing for {} s (see its log; what was asked for may still be done)", path.display(), .patience.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it may say nothing.
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
    /// How long the host may say nothing.
    patience: Duration,
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
            patience: PATIENCE,
        }
    }

    /// The same, with another patience than [`PATIENCE`].
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Ask for something that has one answer. Takes as long as the host says that it is at work.
    ///
    /// # Errors
    /// [`ClientError`]; `Silent` if the host says nothing for too long.
    pub async fn ask(&self, request: Request) -> Result<Answer, ClientError> {
        let mut answers = self.within(self.stream(request)).await?;
        loop {
            match self.within(answers.reply()).await? {
                Reply::Working => {}
                Reply::Part(answer) | Reply::Last(answer) => return Ok(answer),
                Reply::Failed(failure) => return Err(failure.into()),
            }
        }
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        tokio::time::timeout(self.patience, work)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(ClientError::Silent {
                    path: super::socket(&self.state),
                    patience: self.patience,
                })
            })
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
        while !self.ended {
            match self.reply().await? {
                Reply::Working => {}
                Reply::Part(answer) => return Ok(Some(answer)),
                Reply::Last(answer) => {
                    self.ended = true;
                    return Ok(Some(answer));
                }
                Reply::Failed(failure) => {
                    self.ended = true;
                    return Err(failure.into());
                }
            }
        }
        Ok(None)
    }

    async fn reply(&mut self) -> Result<Reply, ClientError> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).await;
        if read.map_err(|source| ClientError::Socket {
            path: self.socket.clone(),
            source,
        })? == 0
        {
            return Err(ClientError::Gone(self.socket.clone()));
        }
        serde_json::from_str(&line).map_err(|error| ClientError::Garbled {
            path: self.socket.clone(),
            why: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::UnixListener;

    use super::*;

    /// A host that says these lines, each after a pause, and then nothing more.
    fn host(state: &Path, lines: Vec<(Duration, Reply)>) -> Client {
        let listener = UnixListener::bind(crate::control::socket(state)).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for (pause, reply) in lines {
                tokio::time::sleep(pause).await;
                let line = serde_json::to_string(&reply).unwrap() + "\n";
                stream.write_all(line.as_bytes()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(stream);
        });
        Client::new(state).with_patience(Duration::from_millis(600))
    }

    #[tokio::test]
    async fn a_host_that_is_at_work_is_waited_for_however_long_it_takes() {
        let state = tempfile::tempdir().unwrap();
        let pause = Duration::from_millis(150);
        let mut lines = vec![(pause, Reply::Working); 8];
        lines.push((pause, Reply::Last(Answer::Done)));
        let client = host(state.path(), lines);
        let begun = Instant::now();
        assert_eq!(client.ask(Request::List).await.unwrap(), Answer::Done);
        assert!(begun.elapsed() > 2 * client.patience, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_host_that_says_nothing_is_given_up() {
        let state = tempfile::tempdir().unwrap();
        let client = host(state.path(), vec![(Duration::ZERO, Reply::Working)]);
        let error = client.ask(Request::List).await.unwrap_err();
        assert!(matches!(error, ClientError::Silent { .. }), "{error}");
    }
}
