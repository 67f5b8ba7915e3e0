//! Conversations with HTTP servers: smart ones (gitprotocol-http), and dumb ones that only serve files.

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, ResponseExt};
use url::Url;

use super::advertisement::{BadAdvertisement, MAX_BYTES, Ref, parse_dumb, printable, read_smart};
use super::credentials::{CredentialSources, Credentials};
use super::deadline::Deadline;
use super::error::GitError;
use super::freshness::trustworthy_etag;
use super::location::{HttpLocation, Location};

/// Some servers tell git from browsers by the beginning of this.
const USER_AGENT: &str = concat!("git/2.0 (foundry ", env!("CARGO_PKG_VERSION"), ")");

/// How many redirections are followed.
const MAX_REDIRECTS: u32 = 5;

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

/// What all conversations share: connections that are kept for a while, and the certificates that the machine trusts.
pub(super) struct Web {
    agent: Agent,
    sources: CredentialSources,
}

impl Web {
    pub(super) fn new(connect_timeout: Duration, sources: CredentialSources) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Config::builder()
            .user_agent(USER_AGENT)
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .max_idle_connections(MAX_IDLE)
            .max_idle_age(IDLE)
            .timeout_connect(Some(connect_timeout))
            .build();
        Self {
            agent: config.new_agent(),
            sources,
        }
    }

    /// Begin a conversation with a repository's server.
    pub(super) fn session(&self, location: &HttpLocation, deadline: Deadline) -> HttpSession {
        HttpSession {
            shown: Location::Http(location.clone()),
            location: location.clone(),
            sources: self.sources.clone(),
            agent: self.agent.clone(),
            deadline,
            learned: Mutex::new(Learned {
                base: location.url.clone(),
                credentials: None,
                advertisement: None,
            }),
        }
    }
}

/// A conversation with one repository's server.
pub(super) struct HttpSession {
    shown: Location,
    location: HttpLocation,
    sources: CredentialSources,
    agent: Agent,
    deadline: Deadline,
    learned: Mutex<Learned>,
}

/// What the first answers taught.
struct Learned {
    /// Where the repository is, after redirections.
    base: Url,
    credentials: Option<Credentials>,
    /// An answer that was not read yet.
    advertisement: Option<Box<dyn Read + Send>>,
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
            Kind::Dumb => self.read_all(response).and_then(|text| parse_dumb(&text)),
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

    /// Where the repository is after redirections, and the header that gives access.
    pub(super) fn access(&self) -> (Url, Option<String>) {
        let learned = self.learned();
        (
            learned.base.clone(),
            learned.credentials.as_ref().map(Credentials::header),
        )
    }

    /// The raw advertisement, for libgit2.
    pub(super) fn advertisement(&self) -> Result<Box<dyn Read + Send>, GitError> {
        if let Some(kept) = self.learned().advertisement.take() {
            return Ok(kept);
        }
        Ok(Box::new(self.get_refs(None)?.into_body().into_reader()))
    }

    /// One request of the negotiation, and its answer.
    pub(super) fn upload_pack(&self, request: &[u8]) -> Result<Box<dyn Read + Send>, GitError> {
        let (base, authorization) = self.access();
        let mut post = self
            .agent
            .post(format!("{base}/git-upload-pack"))
            .header("Content-Type", "application/x-git-upload-pack-request")
            .header("Accept", "application/x-git-upload-pack-result");
        if let Some(authorization) = authorization {
            post = post.header("Authorization", authorization);
        }
        // A POST that is redirected would lose its body.
        let remaining = self.remaining()?;
        let post = post.config().timeout_global(Some(remaining)).max_redirects(0).build();
        let response = post.send(request).map_err(|error| self.explain(error))?;
        match response.status() {
            StatusCode::OK => Ok(Box::new(response.into_body().into_reader())),
            status => Err(self.refused(status)),
        }
    }

    fn get_refs(&self, known: Option<&str>) -> Result<Response<Body>, GitError> {
        const QUERY: &str = "/info/refs?service=git-upload-pack";
        let mut response = self.get(QUERY, known)?;
        let landed = Url::parse(&response.get_uri().to_string()).ok();
        if let Some(base) = landed.as_ref().and_then(|url| base_of(url, "/info/refs")) {
            self.learned().base = base;
        }
        if response.status() == StatusCode::UNAUTHORIZED && self.learned().credentials.is_none() {
            let base = self.learned().base.clone();
            self.learned().credentials = self.sources.find(&self.location, &base, &self.deadline);
            if self.learned().credentials.is_some() {
                response = self.get(QUERY, known)?;
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

    fn get(&self, path: &str, known: Option<&str>) -> Result<Response<Body>, GitError> {
        let (base, authorization) = self.access();
        let mut get = self.agent.get(format!("{base}{path}")).header("Pragma", "no-cache");
        if let Some(authorization) = authorization {
            get = get.header("Authorization", authorization);
        }
        if let Some(etag) = known {
            get = get.header("If-None-Match", etag);
        }
        let remaining = self.remaining()?;
        get.config()
            .timeout_global(Some(remaining))
            // What began encrypted stays encrypted.
            .https_only(self.location.url.scheme() == "https")
            .build()
            .call()
            .map_err(|error| self.explain(error))
    }

    /// Whether there is a `HEAD` as repositories have it.
    fn looks_like_git(&self) -> bool {
        let Ok(response) = self.get("/HEAD", None) else {
            return false;
        };
        response.status() == StatusCode::OK
            && self
                .read_all(response)
                .is_ok_and(|head| head.starts_with("ref: refs/") || super::names::is_commit_id(head.trim()))
    }

    fn read_all(&self, response: Response<Body>) -> Result<String, BadAdvertisement> {
        let mut bytes = Vec::new();
        response
            .into_body()
            .into_reader()
            .take(MAX_BYTES)
            .read_to_end(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| BadAdvertisement::Malformed("info/refs is not UTF-8"))
    }

    fn remaining(&self) -> Result<Duration, GitError> {
        self.deadline
            .remaining()
            .map_err(|_| GitError::timed_out(&self.shown, self.deadline.limit()))
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, status: StatusCode) -> GitError {
        let why = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "the server refuses access ({status}); put credentials into ~/.netrc or a git credential helper of the host's user"
            ),
            StatusCode::NOT_FOUND | StatusCode::GONE => format!("there is no repository ({status})"),
            status => return GitError::unavailable(&self.shown, format!("the server answers {status}")),
        };
        GitError::not_found(&self.shown, why)
    }

    /// What an error of the HTTP client means.
    fn explain(&self, error: ureq::Error) -> GitError {
        match error {
            ureq::Error::Timeout(_) => GitError::timed_out(&self.shown, self.deadline.limit()),
            ureq::Error::Io(error) => self.explain_io(&error),
            ureq::Error::RequireHttpsOnly(_) => GitError::not_found(
                &self.shown,
                "the server redirects from https to http; this is not followed",
            ),
            ureq::Error::TooManyRedirects => GitError::not_found(&self.shown, "the server redirects in circles"),
            // Other errors may quote headers or URLs, but ours have no credentials that they'd quote.
            other => GitError::unavailable(&self.shown, printable(&other.to_string())),
        }
    }

    /// What an error while reading or writing means.
    pub(super) fn explain_io(&self, error: &std::io::Error) -> GitError {
        let timeout = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
        match timeout {
            Some(ureq::Error::Timeout(_)) => GitError::timed_out(&self.shown, self.deadline.limit()),
            _ if error.kind() == std::io::ErrorKind::TimedOut => {
                GitError::timed_out(&self.shown, self.deadline.limit())
            }
            _ => GitError::unavailable(&self.shown, printable(&error.to_string())),
        }
    }

    fn explain_advertisement(&self, error: BadAdvertisement) -> GitError {
        match error {
            BadAdvertisement::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                GitError::unavailable(&self.shown, "the server's answer is cut off")
            }
            BadAdvertisement::Io(error) => self.explain_io(&error),
            BadAdvertisement::Refused(why) => GitError::not_found(&self.shown, format!("the server says: {why}")),
            BadAdvertisement::Malformed(why) => GitError::not_found(
                &self.shown,
                format!("there is a web server, but no git repository: {why}"),
            ),
        }
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

/// The repository's URL, from that of a file in it.
fn base_of(url: &Url, file: &str) -> Option<Url> {
    let path = url.path().strip_suffix(file)?.to_owned();
    let mut base = url.clone();
    base.set_query(None);
    base.set_fragment(None);
    base.set_path(&path);
    Some(base)
}
