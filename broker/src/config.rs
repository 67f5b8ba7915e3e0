//! What a broker is started with.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::access::Access;

/// A broker's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Where to listen, for MQTT 3.1.1 and 5 alike. Port 0 takes a free one: see [`crate::Broker::address`].
    pub listen: SocketAddr,
    /// Take another free port of the same address where that of `listen` is in use, instead of failing: see
    /// [`crate::Broker::displaced`].
    pub any_port: bool,
    /// A listener with TLS.
    pub tls: Option<Tls>,
    /// A listener for WebSockets.
    pub websocket: Option<WebSocket>,
    /// Where the groups' queues are kept.
    pub data_dir: PathBuf,
    /// Who may do what.
    pub access: Access,
    /// What is kept of some topics for groups that are created later.
    #[serde(skip)]
    pub backlog: Backlog,
    /// Bounds.
    pub limits: Limits,
}

/// What is kept of some topics for groups that are created later, over all of these topics together. Without topics, or
/// with a bound of 0, nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The topics, without wildcards.
    pub topics: Vec<String>,
    /// For how long a message is kept.
    pub age: Duration,
    /// How many are kept.
    pub messages: usize,
    /// Bytes of those that are kept: topics, payloads and properties.
    pub bytes: usize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            age: Duration::from_secs(3600),
            messages: 1000,
            bytes: 64 * 1024 * 1024,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            any_port: false,
            tls: None,
            websocket: None,
            data_dir: PathBuf::from("broker"),
            access: Access::default(),
            backlog: Backlog::default(),
            limits: Limits::default(),
        }
    }
}

/// A listener with TLS.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tls {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The broker's certificate and those between it and the authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authority that signs clients' certificates, PEM. A client with a certificate is the user of that name
    /// (its common name) and needs no password.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// A listener for WebSockets.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WebSocket {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Use TLS, with the certificate of `broker.tls`.
    #[serde(default)]
    pub tls: bool,
    /// Origins of web pages that may connect, such as `https://foundry.example`. Programs that are not browsers and
    /// send no origin always may, and those that send the address that they connect to, in numbers or `localhost`.
    #[serde(default)]
    pub origins: Vec<String>,
}

/// Bounds of everything that clients can make grow.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Connections at one time.
    pub connections: usize,
    /// Seconds within which a connection has to send its CONNECT.
    pub connect_seconds: u64,
    /// Seconds after which a client that takes nothing of what is sent to it is cut off.
    pub stall_seconds: u64,
    /// Longest keep alive of an MQTT 5 client in seconds, told to those that ask for more or for none; 0 is no limit.
    pub keep_alive_seconds: u16,
    /// Largest packet, in bytes.
    pub packet_bytes: u32,
    /// Unacknowledged QoS 1 and 2 publishes of an MQTT 5 client.
    pub receive_maximum: u16,
    /// Largest topic alias of an MQTT 5 client.
    pub topic_aliases: u16,
    /// Unacknowledged deliveries to a client, if it does not ask for fewer by its receive maximum.
    pub window: usize,
    /// Leases of a group member that names no receive maximum.
    pub default_leases: usize,
    /// Sessions, with those of clients that are away.
    pub sessions: usize,
    /// Longest time in seconds that a session outlives its connection.
    pub session_expiry: u32,
    /// Subscriptions of a session.
    pub subscriptions: usize,
    /// Ordinary messages that wait for a session.
    pub queued_messages: usize,
    /// Bytes of ordinary messages that wait for a session.
    pub queued_bytes: usize,
    /// Bytes of retained messages.
    pub retained_bytes: usize,
    /// Groups.
    pub groups: usize,
    /// Messages in a group.
    pub group_messages: usize,
    /// Bytes in a group.
    pub group_bytes: usize,
    /// Attempts to deliver a group's message before it becomes a dead letter.
    pub group_deliveries: u32,
    /// Seconds before a message that a member refused is tried again; doubled with every attempt.
    pub group_retry_seconds: u32,
    /// The longest of these delays.
    pub group_retry_most_seconds: u32,
    /// Seconds that a member may hold a message unacknowledged before it goes to another; 0 is as long as the
    /// member is connected.
    pub group_lease_seconds: u32,
    /// The same for single groups, by name.
    pub group_leases: BTreeMap<String, u32>,
    /// Seconds after which a group that nobody is a member of is removed with its messages; 0 is never.
    pub group_retention_seconds: u64,
    /// Dead letters are published on this topic, followed by `/` and the group's name.
    pub dead_letter_topic: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connect_seconds: 10,
            stall_seconds: 60,
            keep_alive_seconds: 300,
            packet_bytes: 8 * 1024 * 1024,
            receive_maximum: 1024,
            topic_aliases: 64,
            window: 1024,
            default_leases: 32,
            sessions: 100_000,
            session_expiry: 30 * 24 * 3600,
            subscriptions: 1000,
            queued_messages: 100_000,
            queued_bytes: 64 * 1024 * 1024,
            retained_bytes: 64 * 1024 * 1024,
            groups: 1000,
            group_messages: 1_000_000,
            group_bytes: 1024 * 1024 * 1024,
            group_deliveries: 20,
            group_retry_seconds: 1,
            group_retry_most_seconds: 300,
            group_lease_seconds: 0,
            group_leases: BTreeMap::new(),
            group_retention_seconds: 30 * 24 * 3600,
            dead_letter_topic: "$dead".to_owned(),
        }
    }
}

impl Limits {
    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_seconds)
    }

    pub(crate) fn stall_timeout(&self) -> Duration {
        Duration::from_secs(self.stall_seconds)
    }
}
