//! Conversations with HTTP servers: smart ones (gitprotocol-http), and dumb ones that only serve files.

mod errors;
mod redirects;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};
use url::Url;

use super::advertisement::{BadAdvertisement, Bounded, Ref, parse_dumb, read_smart};
use super::credentials::{CredentialSources, Credentials};
use super::deadline::Deadline;
use super::error::GitError;
use super::freshness::trustworthy_etag;
use super::granted::Granted;
use super::location::{HttpLocation, Location};
use crate::reach::{Addresses, Client, Host, Network, Permits, Scheme, Server, redirect};

/// Some servers tell git from browsers by the beginning of this.
const USER_AGENT: &str = concat!("git/2.0 (foundry ", env!("CARGO_PKG_VERSION"), ")");

/// How many redirections are followed.
const MAX_REDIRECTS: usize = 5;

/// How many connections are kept for the next request.
const MAX_IDLE: usize = 64;

/// How long they are kept: for the requests of one fetch. Most servers keep them for longer, and don't close one just
/// when it is used again.
const IDLE: Duration = Duration::from_secs(4);

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Smart,
    Dumb,
}

/// A server's answer to the question for its refs.
#[derive(Debug)]
pub(super) enum Advertised {
    /// They are as they were when it gave this entity tag.
    Unchanged,
    /// Its refs, and an entity tag to ask with the next time.
    Refs { refs: Vec<Ref>, etag: Option<String> },
}

/// The file that a conversation begins with.
const INFO_REFS: &str = "/info/refs";

/// What all conversations share: connections that are kept for a while, and the certificates that the machine trusts.
pub(super) struct Web {
    client: Client,
    sources: CredentialSources,
}

impl Web {
    pub(super) fn new(connect_timeout: Duration, sources: CredentialSources, network: Arc<Network>) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Config::builder()
            .user_agent(USER_AGENT)
            .tls_config(tls)
            .http_status_as_error(false)
            // Each is compared with the grants first.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(MAX_IDLE)
            .max_idle_age(IDLE)
            .timeout_connect(Some(connect_timeout))
            .build();
        Self {
            client: Client::new(&config, network),
            sources,
        }
    }

    /// The client, whose rules hold for other connections too.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Begin a conversation with a repository's server.
    ///
    /// # Errors
    /// [`GitError::BadRequest`] if the URL has no server.
    pub(super) fn session(
        &self,
        location: &HttpLocation,
        granted: &Granted,
        deadline: Deadline,
    ) -> Result<HttpSession, GitError> {
        let shown = Location::Http(location.clone());
        let server =
            Server::of(&location.url).ok_or_else(|| GitError::bad(shown.to_string(), "it names no HTTP server"))?;
        let own = Place {
            base: location.url.clone(),
            server,
            addresses: granted.addresses,
            trusted: true,
        };
        Ok(HttpSession {
            shown,
            location: location.clone(),
            permits: granted.permits.clone(),
            sources: self.sources.clone(),
            client: self.client.clone(),
            deadline,
            learned: Mutex::new(Learned {
                place: own.clone(),
                credentials: None,
                advertisement: None,
            }),
            own,
        })
    }
}

/// Where a repository is.
#[derive(Debug, Clone)]
struct Place {
    base: Url,
    server: Server,
    addresses: Addresses,
    /// Whether it hears the location's credentials.
    trusted: bool,
}

/// A conversation with one repository's server.
pub(super) struct HttpSession {
    shown: Location,
    location: HttpLocation,
    /// The place that the location names: no other server gets its credentials.
    own: Place,
    permits: Permits,
    sources: CredentialSources,
    client: Client,
    deadline: Deadline,
    learned: Mutex<Learned>,
}

/// What the first answers taught.
struct Learned {
    /// Where the repository is, after redirections.
    place: Place,
    credentials: Option<Credentials>,
    /// An answer that was not read yet.
    advertisement: Option<Box<dyn Read + Send>>,
}

/// How another program may reach the repository.
pub(super) struct Access {
    /// Where it is, after redirections.
    pub(super) base: Url,
    /// The header `Authorization`, if the server wants one.
    pub(super) authorization: Option<String>,
    /// Host as the URL writes it, port, and the addresses that the host's name led to when it was checked: the program is not to
    /// resolve it again. `None` where no name is resolved: an address, or a proxy does it.
    pub(super) resolved: Option<(String, u16, Vec<SocketAddr>)>,
    /// The proxy's URL, with its login; `None` if it is to be reached without one.
    pub(super) proxy: Option<String>,
}

impl HttpSession {
    /// Ask for the refs; `known` is the entity tag of an earlier answer.
    pub(super) fn advertise(&self, known: Option<&str>) -> Result<Advertised, GitError> {
        let response = self.get_refs(known)?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Advertised::Unchanged);
        }
        let etag = trustworthy_etag(|name| response.headers().get(name)?.to_str().ok());
        let refs = match kind_of(&response) {
            Kind::Smart => read_smart(&mut response.into_body().into_reader(), true),
            Kind::Dumb => read_all(response).and_then(|text| parse_dumb(&text)),
        };
        Ok(Advertised::Refs {
            refs: refs.map_err(|error| self.explain_advertisement(error))?,
            etag,
        })
    }

    /// Which kind of server it is. A smart one's advertisement is kept, for [`advertisement`](Self::advertisement).
    pub(super) fn kind(&self) -> Result<Kind, GitError> {
        let response = self.get_refs(None)?;
        let kind = kind_of(&response);
        if kind == Kind::Smart {
            self.learned().advertisement = Some(Box::new(response.into_body().into_reader()));
        }
        Ok(kind)
    }

    /// How another program may reach it, once this has: with the same credentials, at a checked address.
    ///
    /// # Errors
    /// The host's name leads nowhere, or where it must not.
    pub(super) fn access(&self) -> Result<Access, GitError> {
        let (place, authorization) = self.place();
        let Server { host, port, .. } = &place.server;
        let proxy = proxy_for(&place.base);
        let resolved = match host {
            Host::Name(_) if proxy.is_none() => {
                let found = self.client.rule(place.addresses).resolve(host, *port);
                let addresses = found.map_err(|error| self.explain_io(&error))?;
                // curl compares names letter by letter, also a dot at the end, which `Host` doesn't keep.
                let written = place.base.host_str().unwrap_or_default().to_owned();
                Some((written, *port, addresses))
            }
            Host::Name(_) | Host::Address(_) => None,
        };
        Ok(Access {
            base: place.base,
            authorization,
            resolved,
            proxy,
        })
    }

    /// The raw advertisement, for libgit2.
    pub(super) fn advertisement(&self) -> Result<Box<dyn Read + Send>, GitError> {
        let kept = self.learned().advertisement.take();
        let raw = match kept {
            Some(kept) => kept,
            None => Box::new(self.get_refs(None)?.into_body().into_reader()),
        };
        Ok(Box::new(Bounded::new(raw)))
    }

    /// One request of the negotiation, and its answer.
    pub(super) fn upload_pack(&self, request: &[u8]) -> Result<Box<dyn Read + Send>, GitError> {
        let (place, authorization) = self.place();
        let mut post = self
            .agent(&place)?
            .post(format!("{}/git-upload-pack", place.base))
            .header("Content-Type", "application/x-git-upload-pack-request")
            .header("Accept", "application/x-git-upload-pack-result");
        if let Some(authorization) = authorization {
            post = post.header("Authorization", authorization);
        }
        let remaining = self.remaining()?;
        let post = post.config().timeout_global(Some(remaining)).build();
        let response = post.send(request).map_err(|error| self.explain(error))?;
        match response.status() {
            StatusCode::OK => Ok(Box::new(response.into_body().into_reader())),
            // A POST that is redirected would lose its body.
            status => Err(self.refused(status)),
        }
    }

    fn get_refs(&self, known: Option<&str>) -> Result<Response<Body>, GitError> {
        const QUERY: &str = "?service=git-upload-pack";
        let mut response = self.get(INFO_REFS, QUERY, known)?;
        if response.status() == StatusCode::UNAUTHORIZED && self.may_log_in() {
            let found = self.sources.find(&self.location, &self.deadline);
            if let Some(found) = found {
                self.check_clear_text()?;
                self.learned().credentials = Some(found);
                response = self.get(INFO_REFS, QUERY, known)?;
            }
        }
        match response.status() {
            StatusCode::OK | StatusCode::NOT_MODIFIED => Ok(response),
            StatusCode::NOT_FOUND if self.looks_like_git() => Err(GitError::not_found(
                &self.shown,
                "the server only serves files, and there is no info/refs (run `git update-server-info` there, also after each push)",
            )),
            status => Err(self.refused(status)),
        }
    }

    /// Get a file of the repository, through redirects as far as they are granted, and remember where that led.
    fn get(&self, file: &str, query: &str, known: Option<&str>) -> Result<Response<Body>, GitError> {
        let mut place = self.learned().place.clone();
        let mut url = Url::parse(&format!("{}{file}{query}", place.base))
            .map_err(|error| GitError::bad(self.shown.to_string(), error.to_string()))?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask(&url, &place, known)?;
            let next =
                redirect(&response, &url).map_err(|error| GitError::not_found(&self.shown, error.to_string()))?;
            let Some(next) = next else {
                self.learned().place = place;
                return Ok(response);
            };
            place = self.follow(&place, &next, file)?;
            url = next;
        }
        Err(GitError::not_found(&self.shown, "the server redirects in circles"))
    }

    fn ask(&self, url: &Url, place: &Place, known: Option<&str>) -> Result<Response<Body>, GitError> {
        let mut get = self.agent(place)?.get(url.as_str()).header("Pragma", "no-cache");
        if let Some(authorization) = self.authorization(place) {
            get = get.header("Authorization", authorization);
        }
        if let Some(etag) = known {
            get = get.header("If-None-Match", etag);
        }
        let remaining = self.remaining()?;
        get.config()
            .timeout_global(Some(remaining))
            .build()
            .call()
            .map_err(|error| self.explain(error))
    }

    fn agent(&self, place: &Place) -> Result<&Agent, GitError> {
        self.client
            .agent(&place.server, place.addresses)
            .map_err(|refused| GitError::unavailable(&self.shown, refused))
    }

    /// Where the repository is, and the header that gives access there.
    fn place(&self) -> (Place, Option<String>) {
        let place = self.learned().place.clone();
        let authorization = self.authorization(&place);
        (place, authorization)
    }

    /// Credentials are for the server that the location names, and there for what is granted.
    fn authorization(&self, place: &Place) -> Option<String> {
        let learned = self.learned();
        let credentials = learned.credentials.as_ref();
        credentials.filter(|_| place.trusted).map(Credentials::header)
    }

    /// Whether the place that asks for credentials is one that they are for, and has not heard them yet.
    fn may_log_in(&self) -> bool {
        let learned = self.learned();
        learned.credentials.is_none() && learned.place.trusted
    }

    /// Whether the credentials are for where the repository is.
    fn is_trusted(&self) -> bool {
        self.learned().place.trusted
    }

    fn check_clear_text(&self) -> Result<(), GitError> {
        match self.own.server.scheme {
            Scheme::Https => Ok(()),
            _ => self
                .client
                .network()
                .clear_text(&self.own.server.host)
                // What this machine's configuration refuses says nothing of the repository.
                .map_err(|error| GitError::unavailable(&self.shown, error)),
        }
    }

    /// Whether there is a `HEAD` as repositories have it.
    fn looks_like_git(&self) -> bool {
        let Ok(response) = self.get("/HEAD", "", None) else {
            return false;
        };
        response.status() == StatusCode::OK
            && read_all(response)
                .is_ok_and(|head| head.starts_with("ref: refs/") || super::names::is_commit_id(head.trim()))
    }

    fn remaining(&self) -> Result<Duration, GitError> {
        self.deadline
            .remaining()
            .map_err(|_| GitError::timed_out(&self.shown, self.deadline.limit()))
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind_of(response: &Response<Body>) -> Kind {
    let media_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    match media_type {
        Some(media_type) if media_type.starts_with("application/x-git-upload-pack-advertisement") => Kind::Smart,
        _ => Kind::Dumb,
    }
}

/// All of a small file.
fn read_all(response: Response<Body>) -> Result<String, BadAdvertisement> {
    let mut bytes = Vec::new();
    Bounded::new(response.into_body().into_reader()).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| BadAdvertisement::Malformed("info/refs is not UTF-8"))
}

/// The proxy of the environment that is asked for a URL, and resolves its name: the one that the agents take.
fn proxy_for(url: &Url) -> Option<String> {
    let uri = url.as_str().parse::<Uri>().ok()?;
    Proxy::try_from_env()
        .filter(|proxy| !proxy.is_no_proxy(&uri))
        .map(|proxy| proxy.uri().to_string())
}
