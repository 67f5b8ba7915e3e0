//! The doors: plain TCP, TLS, and WebSocket over either.
//!
//! Whatever comes in by any of them is one byte stream and one [`Peer`] to the rest of the broker.

mod descriptors;
mod tls;
mod websocket;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsAcceptor;

pub use tls::{Certificates, TlsError};

use crate::config::{Config, WebSocket};
use crate::connection::{self, Context};
use crate::error::Error;

/// A connection that cannot be accepted (too many files) is tried again, not at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// File in the data directory with the port that was taken instead of one in use.
const PORT: &str = "port";

/// TCP probes of connections on which nothing moves.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// What is known of a client before it says anything in MQTT.
#[derive(Debug, Clone)]
pub struct Peer {
    /// It is on this machine.
    pub local: bool,
    /// The name in its certificate, which a trusted authority signed.
    pub certificate: Option<String>,
}

/// What a listener does with a TCP stream.
#[derive(Clone)]
pub(crate) struct Door {
    tls: Option<watch::Receiver<TlsAcceptor>>,
    websocket: Option<Arc<WebSocket>>,
}

/// The listeners, bound and not yet serving.
pub struct Listeners {
    bound: Vec<(TcpListener, Door)>,
    /// What is shown with TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// Where the plain one listens.
    pub plain: SocketAddr,
    /// Where it would have listened if that were not in use.
    pub displaced: Option<SocketAddr>,
    /// Where the one with TLS listens.
    pub tls: Option<SocketAddr>,
    /// Where the one for WebSockets listens.
    pub websocket: Option<SocketAddr>,
}

impl Listeners {
    /// Binds everything that the configuration names.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        let certificates = config.tls.as_ref().map(Certificates::read).transpose()?.map(Arc::new);
        let acceptor = certificates.as_ref().map(|certificates| certificates.acceptor());
        let mut bound = Vec::new();
        let ((plain, listener), displaced) = bind_plain(config).await?;
        bound.push((
            listener,
            Door {
                tls: None,
                websocket: None,
            },
        ));
        let mut tls_address = None;
        if let Some(tls) = &config.tls {
            let (address, listener) = bind(tls.listen, "broker.tls.listen").await?;
            tls_address = Some(address);
            bound.push((
                listener,
                Door {
                    tls: acceptor.clone(),
                    websocket: None,
                },
            ));
        }
        let mut websocket_address = None;
        if let Some(websocket) = &config.websocket {
            let (address, listener) = bind(websocket.listen, "broker.websocket.listen").await?;
            websocket_address = Some(address);
            if websocket.tls && acceptor.is_none() {
                return Err(Error::WebSocketWithoutTls);
            }
            let tls = acceptor.filter(|_| websocket.tls);
            bound.push((
                listener,
                Door {
                    tls,
                    websocket: Some(Arc::new(websocket.clone())),
                },
            ));
        }
        Ok(Self {
            bound,
            certificates,
            plain,
            displaced,
            tls: tls_address,
            websocket: websocket_address,
        })
    }

    /// One future for each listener, to be spawned.
    pub fn serve(self, context: &Arc<Context>) -> Vec<impl Future<Output = ()> + Send + use<>> {
        let room = Arc::new(Semaphore::new(descriptors::room(context.limits.connections)));
        self.bound
            .into_iter()
            .map(|(listener, door)| accept(listener, door, Arc::clone(&room), Arc::clone(context)))
            .collect()
    }
}

/// The plain listener, and the address that it could not have.
async fn bind_plain(config: &Config) -> Result<((SocketAddr, TcpListener), Option<SocketAddr>), Error> {
    const SETTING: &str = "broker.listen";
    match bind(config.listen, SETTING).await {
        Err(Error::AddressInUse { address, .. }) if config.any_port => {
            // Whoever found it there finds it again after a restart, if that port is free still.
            let remembered = config.data_dir.join(PORT);
            let before = std::fs::read_to_string(&remembered).ok();
            let before = before.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            let bound = match bind(SocketAddr::new(address.ip(), before), SETTING).await {
                Err(_) if before != 0 => bind(SocketAddr::new(address.ip(), 0), SETTING).await?,
                bound => bound?,
            };
            if let Err(error) = std::fs::write(&remembered, format!("{}\n", bound.0.port())) {
                tracing::warn!(%error, path = %remembered.display(), "the port may be another after a restart");
            }
            tracing::warn!(taken = %address, instead = %bound.0, "another program listens where the broker would; it listens elsewhere");
            Ok((bound, Some(address)))
        }
        bound => Ok((bound?, None)),
    }
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<(SocketAddr, TcpListener), Error> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::AddressInUse { address, setting },
        _ => Error::Listen {
            address,
            setting,
            source,
        },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}

async fn accept(listener: TcpListener, door: Door, room: Arc<Semaphore>, context: Arc<Context>) {
    loop {
        // With no room left, clients wait in the system's backlog.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, address)) => {
                if let Err(error) = prepare(&stream) {
                    tracing::debug!(%error, %address, "cannot set options of a connection");
                }
                let (door, context) = (door.clone(), Arc::clone(&context));
                tokio::spawn(async move {
                    door.admit(stream, address, context).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// No waiting for more to send; and a machine that vanished is noticed even if its clients have no keep alive,
/// since what they hold of groups must come back.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

impl Door {
    /// Brings a client in, through TLS and WebSocket as the door has them, within the time for connecting.
    async fn admit(self, stream: TcpStream, address: SocketAddr, context: Arc<Context>) {
        let mut peer = Peer {
            local: address.ip().to_canonical().is_loopback(),
            certificate: None,
        };
        let wait = context.limits.connect_timeout();
        let Some(acceptor) = &self.tls else {
            return self.converse(stream, peer, context).await;
        };
        let acceptor = acceptor.borrow().clone();
        match timeout(wait, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                peer.certificate = tls::name_of(stream.get_ref().1);
                self.converse(stream, peer, context).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, %address, "TLS handshake failed"),
            Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
        }
    }

    /// A door as the fuzzer goes through it.
    #[cfg(fuzzing)]
    pub(crate) fn of_websockets() -> Self {
        let settings = WebSocket {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: false,
            origins: vec!["https://foundry.example".to_owned()],
        };
        Self {
            tls: None,
            websocket: Some(Arc::new(settings)),
        }
    }

    pub(crate) async fn converse<S>(&self, stream: S, peer: Peer, context: Arc<Context>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(settings) = &self.websocket else {
            return connection::serve(stream, peer, context).await;
        };
        let wait = context.limits.connect_timeout();
        let limit = context.limits.packet_bytes as usize;
        match timeout(wait, websocket::accept(stream, settings, limit)).await {
            Ok(Ok(stream)) => connection::serve(stream, peer, context).await,
            Ok(Err(error)) => tracing::debug!(%error, "WebSocket handshake failed"),
            Err(_) => tracing::debug!("WebSocket handshake took too long"),
        }
    }
}
