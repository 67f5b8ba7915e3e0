//! TLS, client certificates and WebSockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use foundry_broker::{Access, Tls, User, WebSocket};
use futures::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use support::v5::V5;
use support::{TestBroker, eventually};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

/// An authority, a certificate of the broker, and certificates of clients.
struct Certificates {
    directory: TempDir,
    authority: rcgen::Certificate,
    key: KeyPair,
}

impl Certificates {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let authority = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("authority.pem"), authority.pem()).unwrap();
        let certificates = Self {
            directory,
            authority,
            key,
        };
        certificates.issue("localhost");
        certificates
    }

    /// Writes NAME.pem and NAME.key.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.authority, &self.key).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn secured(certificates: &Certificates) -> TestBroker {
    TestBroker::with(|config| {
        config.tls = Some(Tls {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: certificates.path("localhost.pem"),
            key: certificates.path("localhost.key"),
            client_ca: Some(certificates.path("authority.pem")),
        });
        let user = |role: &str| User {
            password: None,
            role: role.to_owned(),
        };
        config.access = Access {
            anonymous: Some("watcher".to_owned()),
            users: [("builder".to_owned(), user("host"))].into(),
            ..Access::default()
        };
    })
}

fn publish(broker: &TestBroker, authority: &Path, more: &[&str]) -> Output {
    let port = broker.broker().tls_address().unwrap().port().to_string();
    Command::new("mosquitto_pub")
        .args([
            "-h",
            "localhost",
            "-p",
            &port,
            "-V",
            "5",
            "-q",
            "1",
            "-t",
            "t",
            "-m",
            "x",
            "--cafile",
        ])
        .arg(authority)
        .args(more)
        .output()
        .expect("mosquitto_pub (package mosquitto-clients) runs")
}

#[test]
fn certificate_of_a_client_is_its_name_and_password() {
    let certificates = Certificates::new();
    certificates.issue("builder");
    certificates.issue("stranger");
    let broker = secured(&certificates);
    let mut member = support::v5::V5::new(broker.address, "watcher");
    member.subscribe("t", rumqttc::v5::mqttbytes::QoS::AtLeastOnce);
    let authority = certificates.path("authority.pem");
    let with = |name: &str| {
        let (certificate, key) = (
            certificates.path(&format!("{name}.pem")),
            certificates.path(&format!("{name}.key")),
        );
        publish(
            &broker,
            &authority,
            &["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()],
        )
    };
    let published = with("builder");
    assert!(published.status.success(), "{published:?}");
    assert_eq!(member.take().payload, "x");
    // Signed by the authority, but no user.
    assert!(!with("stranger").status.success());
    // Without a certificate it is an anonymous watcher, who may not publish.
    let anonymous = publish(&broker, &authority, &[]);
    assert!(
        String::from_utf8_lossy(&anonymous.stderr).contains("Not authorized"),
        "{anonymous:?}"
    );
    member.expect_silence();
}

#[test]
fn certificate_of_another_authority_is_refused() {
    let certificates = Certificates::new();
    let broker = secured(&certificates);
    let other = Certificates::new();
    other.issue("builder");
    let (certificate, key) = (other.path("builder.pem"), other.path("builder.key"));
    let arguments = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let refused = publish(&broker, &certificates.path("authority.pem"), &arguments);
    assert!(!refused.status.success(), "{refused:?}");
    // And a client that trusts the other authority does not talk to this broker.
    assert!(!publish(&broker, &other.path("authority.pem"), &[]).status.success());
}

#[test]
fn missing_certificate_is_named() {
    let certificates = Certificates::new();
    let directory = tempfile::tempdir().unwrap();
    let config = foundry_broker::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: directory.path().to_owned(),
        tls: Some(Tls {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: certificates.path("nothing.pem"),
            key: certificates.path("localhost.key"),
            client_ca: None,
        }),
        ..foundry_broker::Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime
        .block_on(foundry_broker::Broker::start(config))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot read the certificate from /"), "{error}");
    assert!(error.contains("nothing.pem"), "{error}");
}

fn with_websocket(origins: &[&str]) -> TestBroker {
    TestBroker::with(|config| {
        config.websocket = Some(WebSocket {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: false,
            origins: origins.iter().map(ToString::to_string).collect(),
        });
    })
}

#[test]
fn websocket_carries_mqtt_whatever_the_message_borders() {
    let broker = with_websocket(&[]);
    let mut watcher = support::v5::V5::new(broker.address, "watcher");
    watcher.subscribe("a", rumqttc::v5::mqttbytes::QoS::AtMostOnce);
    let address = broker.broker().websocket_address().unwrap();
    broker.wait(async {
        let mut request = format!("ws://{address}/mqtt").into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
        let packets = b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x02ws\x30\x05\0\x01axx";
        for part in packets.chunks(7) {
            socket.send(Message::Binary(part.to_vec().into())).await.unwrap();
        }
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::Binary(b"\x20\x02\0\0".to_vec().into()));
        socket.send(Message::Binary(b"\xc0\0".to_vec().into())).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::Binary(b"\xd0\0".to_vec().into()));
    });
    assert_eq!(watcher.take().payload, "xx");
}

#[test]
fn websocket_from_a_web_page_that_is_not_allowed_is_refused() {
    let broker = with_websocket(&["https://foundry.example"]);
    let address = broker.broker().websocket_address().unwrap();
    let connect = |origin: &'static str, protocol: &'static str| {
        broker.wait(async move {
            let mut request = format!("ws://{address}/").into_client_request().unwrap();
            request.headers_mut().insert("Origin", HeaderValue::from_static(origin));
            request
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
            match tokio_tungstenite::connect_async(request).await {
                Ok(_) => 101,
                Err(WebSocketError::Http(response)) => response.status().as_u16(),
                Err(error) => panic!("{error}"),
            }
        })
    };
    assert_eq!(connect("https://foundry.example", "mqtt"), 101);
    assert_eq!(connect("https://evil.example", "mqtt"), 403);
    assert_eq!(connect("https://foundry.example", "chat"), 400);
    // As Eclipse Paho does.
    let own: &'static str = format!("http://{address}").leak();
    assert_eq!(connect(own, "mqtt"), 101);
    assert_eq!(connect("http://127.0.0.1:1", "mqtt"), 403);
    eventually("the broker still serves", || {
        std::net::TcpStream::connect(broker.address).is_ok()
    });
}

#[test]
fn a_port_that_mosquitto_has_is_given_up_only_if_nobody_named_it() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = free.port().to_string();
    let mut mosquitto = Command::new("mosquitto")
        .args(["-p", &port])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("Mosquitto listens", || std::net::TcpStream::connect(free).is_ok());
    let elsewhere = |config: &mut foundry_broker::Config| {
        config.listen = free;
        config.any_port = true;
    };
    let mut brokers = [TestBroker::with(elsewhere), TestBroker::with(elsewhere)];
    for broker in &brokers {
        assert!(broker.address.ip() == free.ip() && broker.address.port() != free.port());
        assert_eq!(broker.broker().displaced(), Some(free));
        V5::new(broker.address, "client").ping();
    }
    assert_ne!(brokers[0].address, brokers[1].address);
    let before = brokers[0].address;
    brokers[0].restart();
    assert_eq!(brokers[0].address, before, "clients find it where it was");
    brokers[0].stop();
    let other = std::net::TcpListener::bind(before).unwrap();
    brokers[0].restart();
    assert_ne!(brokers[0].address, before, "that one is in use as well now");
    drop(other);
    let directory = tempfile::tempdir().unwrap();
    let named = foundry_broker::Config {
        listen: free,
        data_dir: directory.path().to_owned(),
        ..foundry_broker::Config::default()
    };
    let refused = brokers[0]
        .wait(foundry_broker::Broker::start(named))
        .unwrap_err()
        .to_string();
    let expected = format!("cannot listen on {free}: the address is in use");
    assert!(
        refused.contains(&expected) && refused.contains("`broker.listen`"),
        "{refused}"
    );
    mosquitto.kill().unwrap();
    mosquitto.wait().unwrap();
    assert_eq!(
        TestBroker::with(|config| config.any_port = true).broker().displaced(),
        None
    );
}
