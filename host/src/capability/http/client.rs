//! The client: one request and its redirects, each checked, within limits.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Method;
use ureq::http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};
use url::Url;

use crate::reach::{Addresses, Client, Network, Permits, PrivateAddress, Scheme, Server, Target, redirect};

/// Largest body, of a request or of an answer.
pub(super) const MAX_BODY: u64 = 8 * 1024 * 1024;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;

/// How long a request may take unless it says otherwise, and at most.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// Header fields that belong to the connection, or to whoever made it.
const OURS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "proxy-authorization",
];

/// A request of a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// URL.
    pub url: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Time that it may take.
    pub timeout: Option<Duration>,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not granted, or a private address.
    #[error("{0}")]
    NotGranted(String),
    /// Malformed.
    #[error("{0}")]
    BadRequest(String),
    /// Too slow.
    #[error("no answer in time")]
    TimedOut,
    /// Too large.
    #[error("larger than {MAX_BODY} bytes")]
    TooLarge,
    /// The network or the server.
    #[error("{0}")]
    Unavailable(String),
}

/// Makes requests of bots.
pub struct Http(Client);

impl Http {
    /// With the operator's exceptions for this host's network.
    #[must_use]
    pub fn new(network: Arc<Network>) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Config::builder()
            .user_agent(concat!("foundry/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .http_status_as_error(false)
            // Each is checked here first.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy would resolve names where we can't see to which addresses.
            .proxy(None)
            .build();
        Self(Client::new(&config, network))
    }

    /// Make a request that is granted, and follow its redirects as far as they are. Blocks.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn send(&self, request: &Request, granted: &Permits) -> Result<Response, HttpError> {
        let deadline = Instant::now() + request.timeout.unwrap_or(TIMEOUT.0).min(TIMEOUT.1);
        let method = METHODS
            .into_iter()
            .find(|method| method.as_str() == request.method)
            .ok_or_else(|| HttpError::BadRequest(format!("{:?} is no method that bots have", request.method)))?;
        if request.body.len() as u64 > MAX_BODY {
            return Err(HttpError::TooLarge);
        }
        let headers = headers(&request.headers)?;
        let mut url = parse(request)?;
        let (first, mut addresses) = admit(&url, granted)?;
        self.check_secrets(&first, &headers)?;
        let mut server = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let agent = self.0.agent(&server, addresses).map_err(|error| private(&error))?;
            // What is for one server, such as a token, is not for the next.
            let headers = if server == first { headers.as_slice() } else { &[] };
            let answer = ask(agent, &method, &url, headers, &request.body, deadline)?;
            let is_safe = method == Method::GET || method == Method::HEAD;
            match redirect(&answer, &url).map_err(|error| HttpError::Unavailable(error.to_string()))? {
                Some(next) if is_safe => {
                    (server, addresses) = admit(&next, granted)?;
                    url = next;
                }
                _ => return read(answer),
            }
        }
        Err(HttpError::Unavailable("the server redirects in circles".to_owned()))
    }

    /// Check a request as far as that goes without the network.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn check(request: &Request, granted: &Permits) -> Result<(), HttpError> {
        admit(&parse(request)?, granted).map(drop)
    }

    /// Header fields that are passwords by their nature don't cross a network in clear.
    fn check_secrets(&self, server: &Server, headers: &[(HeaderName, HeaderValue)]) -> Result<(), HttpError> {
        let has_secret = headers.iter().any(|(name, _)| name == AUTHORIZATION || name == COOKIE);
        if server.scheme == Scheme::Https || !has_secret {
            return Ok(());
        }
        let clear = self.0.network().clear_text(&server.host);
        clear.map_err(|error| HttpError::NotGranted(error.to_string()))
    }
}

fn parse(request: &Request) -> Result<Url, HttpError> {
    Url::parse(&request.url).map_err(|error| HttpError::BadRequest(format!("{}: {error}", request.url)))
}

/// The server of a URL that is granted, and where it may be.
fn admit(url: &Url, granted: &Permits) -> Result<(Server, Addresses), HttpError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HttpError::BadRequest(
            "a URL must not hold a name or password".to_owned(),
        ));
    }
    let target = Target::of(url);
    let addresses = target.as_ref().and_then(|target| granted.admit(target));
    match (target, addresses) {
        (Some(Target::Remote { server, .. }), Some(addresses)) => Ok((server, addresses)),
        _ => Err(HttpError::NotGranted(shown(url))),
    }
}

fn private(error: &PrivateAddress) -> HttpError {
    HttpError::NotGranted(error.to_string())
}

/// A URL for messages: queries may hold secrets.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

fn headers(given: &[(String, String)]) -> Result<Vec<(HeaderName, HeaderValue)>, HttpError> {
    given
        .iter()
        .map(|(name, value)| {
            let bad = || HttpError::BadRequest(format!("{name:?} is no header field that bots write"));
            let parsed = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
            if OURS.contains(&parsed.as_str()) {
                return Err(bad());
            }
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| bad())?;
            Ok((parsed, value))
        })
        .collect()
}

type Answer = ureq::http::Response<Body>;

fn ask(
    agent: &Agent,
    method: &Method,
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
    body: &[u8],
    deadline: Instant,
) -> Result<Answer, HttpError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(HttpError::TimedOut);
    }
    let mut request = ureq::http::Request::builder().method(method).uri(url.as_str());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let bad = |error: ureq::http::Error| HttpError::BadRequest(error.to_string());
    let answer = if body.is_empty() {
        let request = request.body(()).map_err(bad)?;
        let request = agent.configure_request(request).timeout_global(Some(left)).build();
        agent.run(request)
    } else {
        let request = request.body(body).map_err(bad)?;
        let request = agent.configure_request(request).timeout_global(Some(left)).build();
        agent.run(request)
    };
    answer.map_err(|error| explain(error, url))
}

fn explain(error: ureq::Error, url: &Url) -> HttpError {
    match error {
        ureq::Error::Timeout(_) => HttpError::TimedOut,
        ureq::Error::Io(error) => match PrivateAddress::within(&error) {
            Some(refused) => private(refused),
            None => HttpError::Unavailable(format!("{}: io: {error}", shown(url))),
        },
        other => HttpError::Unavailable(format!("{}: {other}", shown(url))),
    }
}

fn read(answer: Answer) -> Result<Response, HttpError> {
    let (parts, mut body) = answer.into_parts();
    let headers = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let mut bytes = Vec::new();
    let mut reader = body.as_reader().take(MAX_BODY + 1);
    reader.read_to_end(&mut bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => HttpError::TimedOut,
        _ => HttpError::Unavailable(error.to_string()),
    })?;
    if bytes.len() as u64 > MAX_BODY {
        return Err(HttpError::TooLarge);
    }
    Ok(Response {
        status: parts.status.as_u16(),
        headers,
        body: bytes,
    })
}
