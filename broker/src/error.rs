//! Why a broker does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::database::StoreError;
use crate::listen::TlsError;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: the address is in use (stop the other program, or set `{setting}` in foundry.toml)"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
        /// The setting that named it.
        setting: &'static str,
    },
    /// The system does not let it listen there.
    #[error("cannot listen on {address}: {source} (set `{setting}` in foundry.toml)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that named it.
        setting: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// `broker.access` says something impossible.
    #[error("cannot use `broker.access` in foundry.toml: {0}")]
    Access(String),
    /// A topic of the backlog cannot be one.
    #[error(
        "cannot keep a backlog of {topic:?}: it {why} (name topics without wildcards with `messages.backlog-topics` in foundry.toml)"
    )]
    BacklogTopic {
        /// The topic.
        topic: String,
        /// Why not.
        why: String,
    },
    /// Everybody could connect.
    #[error(
        "refuse to listen on {address} without users: nobody there could connect safely (set `broker.listen` to a loopback address, or add `broker.access.users` in foundry.toml)"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// `broker.websocket.tls` without `broker.tls`.
    #[error(
        "cannot use TLS for WebSockets: `broker.tls` names no certificate (add it, or unset `broker.websocket.tls` in foundry.toml)"
    )]
    WebSocketWithoutTls,
    /// The TLS listener cannot be set up.
    #[error("cannot {0} (see `broker.tls` in foundry.toml)")]
    Tls(#[from] TlsError),
    /// The data directory cannot be made or used.
    #[error("cannot use data directory {}: {source}", path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another broker works on the data directory.
    #[error("data directory {} is in use by another broker (stop it, or set another `broker.data_dir` in foundry.toml)", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// What is kept on disk cannot be used.
    #[error("cannot {0}")]
    Store(#[from] StoreError),
}
