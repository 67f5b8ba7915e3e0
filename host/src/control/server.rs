//! The host's end of the control socket. A client that hangs, lies or leaves costs a connection, and nothing else.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::protocol::{Ask, Failure, FailureKind, HEARTBEAT, MAX_REQUEST, Reply, Request, VERSION};

/// Connections at the same time; more wait.
const CONNECTIONS: usize = 64;

/// How long a client may take to say what it wants, and to read what it gets.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on the control socket.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    desk: Arc<Desk>,
}

impl Server {
    /// Listen in a state directory that is locked for this host. A socket that a dead host left is replaced.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn bind(state: &Path, desk: Arc<Desk>) -> std::io::Result<Self> {
        let path = super::socket(state);
        // It appears under its name when its mode is right, and in place of a stale one, in one step.
        let fresh = path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, &path)?;
        Ok(Self { listener, path, desk })
    }

    /// Answer until the host has stopped. While it stops, what is asked of it is told so.
    pub(super) async fn run(self, end: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = end.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection on the control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            let desk = Arc::clone(&self.desk);
            let (reader, writer) = stream.into_split();
            tokio::spawn(async move {
                let client = Client { writer };
                if let Err(error) = attend(&desk, reader, client).await {
                    tracing::debug!(%error, "a client of the control socket left");
                }
                drop(place);
            });
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The client's reading end.
pub(super) struct Client {
    writer: OwnedWriteHalf,
}

impl Client {
    /// Send a reply. A client that doesn't read what it gets is given up.
    pub(super) async fn send(&mut self, reply: &Reply) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        tokio::time::timeout(PATIENCE, self.writer.write_all(&line)).await?
    }
}

/// Serve one connection: one request.
async fn attend(desk: &Desk, reader: OwnedReadHalf, mut client: Client) -> std::io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let mut limited = (&mut reader).take(MAX_REQUEST as u64);
    tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    let request = match serde_json::from_slice::<Ask>(&line) {
        Ok(ask) if ask.version == VERSION => ask.request,
        Ok(ask) => {
            let message = format!(
                "this host speaks version {VERSION} of the control protocol, not {} (restart the host, or use the same foundry-host)",
                ask.version
            );
            return client
                .send(&Reply::Failed(Failure::new(FailureKind::Failed, message)))
                .await;
        }
        Err(error) => {
            let message = format!("this is not a request: {error}");
            return client
                .send(&Reply::Failed(Failure::new(FailureKind::Usage, message)))
                .await;
        }
    };
    let reply = match request {
        // What streams ends when the client does.
        Request::Logs { of, lines, follow } => {
            let work = desk.logs(&mut client, of.as_deref(), lines, follow);
            tokio::select! {
                result = work => result?,
                () = left(reader) => return Ok(()),
            }
        }
        Request::Watch { filter } => tokio::select! {
            result = desk.watch(&mut client, &filter) => result?,
            () = left(reader) => return Ok(()),
        },
        // What changes something is done to its end, whether the client waits for it or not.
        other => at_work(desk.answer(other), &mut client).await,
    };
    let reply = match reply {
        Ok(answer) => Reply::Last(answer),
        Err(failure) => Reply::Failed(failure),
    };
    client.send(&reply).await
}

/// Do work to its end, and say at each heartbeat that it goes on.
async fn at_work<T>(work: impl Future<Output = T>, client: &mut Client) -> T {
    let mut work = std::pin::pin!(work);
    let mut client = Some(client);
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = heartbeat.tick() => {}
        }
        // The work must not wait for a client that left, or doesn't read.
        if let Some(listener) = client.take() {
            let sent = {
                let mut sent = std::pin::pin!(listener.send(&Reply::Working));
                tokio::select! {
                    done = &mut work => {
                        // Half a line would spoil the answer that follows it. Sending has its own time limit.
                        let _ = sent.await;
                        return done;
                    }
                    sent = &mut sent => sent,
                }
            };
            client = sent.is_ok().then_some(listener);
        }
    }
}

/// Wait until the client closes the connection. What else it says is ignored.
async fn left(mut reader: BufReader<OwnedReadHalf>) {
    let mut ignored = [0; 256];
    while matches!(reader.read(&mut ignored).await, Ok(read) if read > 0) {}
}
