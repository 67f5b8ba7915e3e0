//! Connections to the broker.

use std::time::Duration;

use foundry_broker::{DURABLE_PROPERTY, PLACES_PROPERTY};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, LastWill};
use rumqttc::v5::{AsyncClient, ConnectionError, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use url::Url;

use super::concerns::Concerns;
use super::herald::Visit;
use super::polled::Polled;
use super::take_overs::TakeOvers;
use crate::tls::{ClientTls, ReadTls};

/// Requests that may wait for the connection.
const REQUESTS: usize = 256;

/// Largest packet that is read: more than brokers pass on, since what is larger than an event is refused with a reason
/// and not left lying in the broker.
const MAX_PACKET: u32 = 16 * 1024 * 1024;

/// How long the broker keeps a session whose connection ended, in seconds: a week.
const SESSION_EXPIRY: u32 = 7 * 24 * 3600;

/// First and longest pause between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// Pause before a session is taken back from another client.
const TAKEN_OVER: Duration = Duration::from_secs(2);

/// Where the broker is.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// How to connect with TLS; none for a connection that anybody on the way can read.
    pub tls: Option<ClientTls>,
}

impl std::fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// A broker's URL that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{url:?} is not a broker's URL: {why} (write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS)")]
pub struct BadBrokerUrl {
    url: String,
    why: String,
}

impl BrokerAddress {
    /// A broker on this machine.
    #[must_use]
    pub fn local(address: std::net::SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            login: None,
            tls: None,
        }
    }

    /// From `mqtt://[USER:PASSWORD@]HOST[:PORT]`, or `mqtts://…`.
    ///
    /// # Errors
    /// [`BadBrokerUrl`], without the password.
    pub fn parse(url: &str) -> Result<Self, BadBrokerUrl> {
        let bad = |why: &str| {
            let shown = match url.rsplit_once('@') {
                Some((_, rest)) => format!("mqtt://…@{rest}"),
                None => url.to_owned(),
            };
            BadBrokerUrl {
                url: shown,
                why: why.to_owned(),
            }
        };
        let parsed = Url::parse(url).map_err(|e| bad(&e.to_string()))?;
        let (tls, port) = match parsed.scheme() {
            "mqtt" => (None, 1883),
            "mqtts" => (Some(ClientTls::default()), 8883),
            _ => return Err(bad("its scheme is neither mqtt nor mqtts")),
        };
        let host = parsed.host_str().ok_or_else(|| bad("it names no host"))?;
        let login = match (parsed.username(), parsed.password()) {
            ("", None) => None,
            (user, password) => Some((user.to_owned(), password.unwrap_or_default().to_owned())),
        };
        Ok(Self {
            host: host.to_owned(),
            port: parsed.port().unwrap_or(port),
            login,
            tls,
        })
    }
}

/// How a session presents itself.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// Where to.
    pub broker: BrokerAddress,
    /// Client id, unique on the broker.
    pub client_id: String,
    /// Whether the broker keeps the session while the connection is away.
    pub persistent: bool,
    /// Messages that may be unacknowledged at the same time.
    pub receive_maximum: u16,
    /// TLS, ready to use, where the broker's address asks for it.
    pub tls: Option<ReadTls>,
    /// How long there may be silence before the broker is asked for a sign of life.
    pub keep_alive: Duration,
    /// What is found to be wrong with the broker.
    pub concerns: Concerns,
    /// Who else takes this session.
    pub take_overs: TakeOvers,
}

impl ConnectionOptions {
    /// For how many seconds the broker is asked to keep the session.
    pub(super) fn session_expiry(&self) -> Option<u32> {
        self.persistent.then_some(SESSION_EXPIRY)
    }

    /// Make a client, which connects at once, and what happens on its connection.
    pub(super) fn client(&self) -> (AsyncClient, Polled) {
        self.client_of(None, None)
    }

    /// The same, for one whose end the broker tells of (its will, retained), and for a member of groups that can hold so many
    /// messages by now.
    pub(super) fn client_of(&self, visit: Option<&Visit>, places: Option<u16>) -> (AsyncClient, Polled) {
        let mut options = self.mqtt();
        if let Some(places) = places {
            options.set_user_properties(vec![(PLACES_PROPERTY.to_owned(), places.to_string())]);
        }
        if let Some(visit) = visit {
            let (topic, will) = (&visit.topic, visit.will.clone());
            options.set_last_will(LastWill::new(topic, will, QoS::AtLeastOnce, true, None));
        }
        let (client, events) = AsyncClient::new(options, REQUESTS);
        (client, Polled::start(events))
    }

    fn mqtt(&self) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, &self.broker.host, self.broker.port);
        options
            .set_keep_alive(self.keep_alive)
            .set_manual_acks(true)
            .set_clean_start(!self.persistent)
            .set_session_expiry_interval(self.session_expiry())
            .set_receive_maximum(Some(self.receive_maximum))
            .set_max_packet_size(Some(MAX_PACKET))
            .set_connection_timeout(10);
        if let Some(tls) = &self.tls {
            let tls = TlsConfiguration::Rustls(tls.now());
            options.set_transport(Transport::tls_with_config(tls));
        }
        if let Some((user, password)) = &self.broker.login {
            options.set_credentials(user, password);
        }
        options
    }
}

/// Whether the broker is Foundry's own: it says that what it acknowledges is on its disk.
pub(super) fn is_of_ours(connack: &ConnAck) -> bool {
    let properties = connack.properties.iter().flat_map(|all| &all.user_properties);
    properties
        .into_iter()
        .any(|(name, value)| name == DURABLE_PROPERTY && value == "1")
}

/// Why a connection could not be made, or ended.
pub(super) fn why(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized) => {
            "the broker does not let this host in: not authorized (at the embedded broker the user that the host logs in as needs \
             a role with `host = true`, and has to be called like the host unless the role may do everything)"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// Pauses between attempts to connect, twice as long each time.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: BACKOFF.0 }
    }

    /// The connection works: begin again with the shortest pause.
    pub(super) fn reset(&mut self) {
        self.next = BACKOFF.0;
    }

    /// The session is somebody else's: take it back later, or two hosts do nothing but take it from each other.
    pub(super) fn taken_over(&mut self) {
        self.next = self.next.max(TAKEN_OVER);
    }

    /// Wait.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(BACKOFF.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_and_login() {
        let address = BrokerAddress::parse("mqtt://u:p@broker.example:1884").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("broker.example", 1884));
        assert_eq!(address.login, Some(("u".into(), "p".into())));
        assert_eq!(BrokerAddress::parse("mqtt://h").unwrap().port, 1883);
        let secure = BrokerAddress::parse("mqtts://h").unwrap();
        assert_eq!(format!("{secure:?}"), "mqtts://h:8883");
        assert!(secure.tls.is_some());
    }

    #[test]
    fn a_host_that_is_not_let_in_hears_what_its_role_needs() {
        let said = why(&ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized));
        assert!(said.contains("`host = true`"), "{said}");
        let other = ConnectionError::ConnectionRefused(ConnectReturnCode::QuotaExceeded);
        assert_eq!(why(&other), other.to_string());
    }

    #[test]
    fn a_bad_url_does_not_show_its_password() {
        let error = BrokerAddress::parse("http://user:secret@h").unwrap_err().to_string();
        assert!(error.contains("mqtt") && !error.contains("secret"), "{error}");
    }
}
