//! A bucket of an S3 service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use tokio_rustls::rustls::ClientConfig;
use url::Url;

use super::{Credentials, Location, OpenError};
use crate::reach::{ClearText, Exposed, Host, Network};
use crate::tls::ClientTls;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a request is repeated while the service is away. A bot's message is retried after that, with longer pauses.
const PATIENCE: Duration = Duration::from_secs(20);

/// A bucket of an S3 service. What is `None` here comes from the environment by its usual name (`AWS_ENDPOINT_URL`,
/// `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the names of all objects begin with; may be empty.
    pub prefix: String,
    /// The service, if it isn't Amazon's.
    pub endpoint: Option<Url>,
    /// The region; `us-east-1` if nobody says otherwise, which most other services ignore.
    pub region: Option<String>,
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// Certificates of the authorities to believe, in PEM form; none for those that the machine trusts.
    pub ca: Option<PathBuf>,
}

/// Read what an operator wrote for the service: `https://HOST[:PORT]`, or the same with `http`.
///
/// # Errors
/// What to write instead.
pub fn parse_endpoint(text: &str) -> Result<Url, String> {
    let plain = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
    Url::parse(text)
        .ok()
        .filter(plain)
        .ok_or_else(|| "write https://HOST[:PORT], or http:// for a service on this machine".to_owned())
}

impl Bucket {
    /// Refuse a service on another machine that is asked without TLS, unless the operator names it. The secret key signs requests and
    /// is never sent, but files are, and so is a session token. An endpoint of the environment is not looked at here: without TLS it is
    /// refused as well, unless `AWS_ALLOW_HTTP` says otherwise there.
    ///
    /// # Errors
    /// [`ClearText`], which names the setting.
    pub fn check_clear_text(&self, network: &Network) -> Result<(), ClearText> {
        let Some(endpoint) = self.endpoint.as_ref().filter(|endpoint| endpoint.scheme() == "http") else {
            return Ok(());
        };
        let token = self.credentials.as_ref().and_then(|own| own.session_token.as_ref());
        let exposed = token.map_or(Exposed::Objects, |_| Exposed::Password);
        network.in_clear(exposed, &Host::parse(endpoint.host_str().unwrap_or_default()))
    }

    pub(super) fn open(&self) -> Result<Arc<dyn ObjectStore>, OpenError> {
        let mut builder = self.at_endpoint(AmazonS3Builder::from_env());
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(credentials) = &self.credentials {
            builder = builder
                .with_access_key_id(&credentials.access_key_id)
                .with_secret_access_key(&credentials.secret_access_key);
            if let Some(token) = &credentials.session_token {
                builder = builder.with_token(token);
            }
        }
        let tls = ClientTls {
            ca: self.ca.clone(),
            identity: None,
        };
        let store = builder
            .with_bucket_name(&self.name)
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 10,
                retry_timeout: PATIENCE,
            })
            .with_http_connector(Connector { tls: tls.load()? })
            .build()
            .map_err(|source| OpenError::Bucket {
                url: Location::Bucket(Box::new(self.clone())).to_string(),
                source,
            })?;
        Ok(Arc::new(PrefixStore::new(store, self.prefix.as_str())))
    }

    /// With the own endpoint, if there is one, in the place of any that the environment names: `AWS_ENDPOINT_URL_S3` would come before it,
    /// and only the own one was checked.
    fn at_endpoint(&self, builder: AmazonS3Builder) -> AmazonS3Builder {
        let Some(endpoint) = &self.endpoint else { return builder };
        builder
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint.as_str().trim_end_matches('/'))
            .with_allow_http(endpoint.scheme() == "http")
    }
}

/// Connects with the TLS that the rest of the host uses.
#[derive(Debug)]
struct Connector {
    tls: Arc<ClientConfig>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = reqwest::Client::builder()
            .https_only(allows_http.as_deref() != Some("true"))
            .tls_backend_preconfigured(ClientConfig::clone(&self.tls))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        match client {
            Ok(client) => Ok(HttpClient::new(client)),
            Err(source) => Err(object_store::Error::Generic {
                store: "S3",
                source: Box::new(source),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpListener;

    use object_store::ObjectStoreExt as _;

    use super::*;

    #[test]
    fn an_endpoint_of_the_environment_does_not_come_before_the_own_one() {
        let environment = AmazonS3Builder::new()
            .with_endpoint("http://192.0.2.1")
            .with_config(AmazonS3ConfigKey::S3Endpoint, "http://192.0.2.2")
            .with_allow_http(true);
        let own = Bucket {
            endpoint: Some(parse_endpoint("https://s3.example.org/").unwrap()),
            ..Bucket::default()
        };
        let builder = own.at_endpoint(environment);
        let value = |key| builder.get_config_value(&key);
        assert_eq!(
            value(AmazonS3ConfigKey::S3Endpoint).as_deref(),
            Some("https://s3.example.org")
        );
        assert_eq!(
            value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).as_deref(),
            Some("false")
        );
    }

    #[tokio::test]
    async fn a_service_is_asked_in_clear_only_where_that_is_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tls = ClientTls {
            ca: None,
            identity: None,
        };
        let connector = Connector {
            tls: tls.load().unwrap(),
        };
        let store = |allowed: bool| {
            AmazonS3Builder::new()
                .with_bucket_name("b")
                .with_region("r")
                .with_access_key_id("id")
                .with_secret_access_key("hush")
                .with_endpoint(format!("http://{}", listener.local_addr().unwrap()))
                .with_allow_http(allowed)
                .with_retry(RetryConfig {
                    max_retries: 0,
                    ..RetryConfig::default()
                })
                .with_http_connector(Connector {
                    tls: Arc::clone(&connector.tls),
                })
                .build()
                .unwrap()
        };
        assert!(store(false).get(&"x".into()).await.is_err());
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let allowed = store(true);
        let asked = tokio::spawn(async move { allowed.get(&"x".into()).await.is_err() });
        while listener.accept().is_err() {
            assert!(!asked.is_finished(), "it was not asked");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        asked.abort();
    }

    #[tokio::test]
    async fn a_service_that_redirects_is_not_followed() {
        let [here, other] = ["127.0.0.1:0"; 2].map(|any| TcpListener::bind(any).unwrap());
        let location = format!("http://{}/bucket/x", other.local_addr().unwrap());
        let endpoint = format!("http://{}", here.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = here.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 307 Temporary Redirect\r\nConnection: close\r\nContent-Length: 0";
            stream
                .write_all(format!("{head}\r\nLocation: {location}\r\n\r\n").as_bytes())
                .unwrap();
        });
        let bucket = Bucket {
            name: "bucket".to_owned(),
            endpoint: Some(parse_endpoint(&endpoint).unwrap()),
            credentials: Some(Credentials {
                access_key_id: "id".to_owned(),
                secret_access_key: "hush".to_owned(),
                session_token: Some("hush".to_owned()),
            }),
            ..Bucket::default()
        };
        let store = bucket.open().unwrap();
        assert!(store.get(&"x".into()).await.is_err());
        asked.join().unwrap();
        other.set_nonblocking(true).unwrap();
        assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
