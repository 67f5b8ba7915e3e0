//! `git`: repositories, read by the host for bots that were granted their URLs.
//!
//! Refs are read straight off the wire. What they lead to, packs, objects, trees, is a stranger's: it is read by a process of its own
//! ([`reader`]), which has libgit2, two directories, and no network; the connection stays in this process ([`wire`]), with the rules for
//! addresses, redirects and credentials. From dumb HTTP servers the program git fetches. Repositories of this machine are read in place.

mod advertisement;
mod binding;
mod cache;
mod checking_out;
mod checkout;
mod conversation;
mod credentials;
mod deadline;
mod dumb;
mod duplex;
mod error;
mod failure;
mod fetch;
mod freshness;
mod granted;
mod http;
mod local;
mod location;
mod names;
mod program;
mod reader;
mod remembered;
mod remote;
mod room;
mod source;
mod turns;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use advertisement::Ref;
pub use checkout::Checkout;
pub use credentials::CredentialSources;
pub use duplex::SshProgram;
pub use error::GitError;
pub use granted::{Granted, Refused};
pub use location::Location;
pub(crate) use room::READER;
pub use source::{CommitInfo, RawSignature, Source};

use crate::reach::Network;

use cache::Cache;
use deadline::Deadline;
use failure::Failure;
use fetch::Wanted;
use http::{Advertised, Web};
use names::Branch;
use remembered::Remembered;
use source::Workspace;
use turns::Turns;

use crate::retention::{Report, Sweep};

/// How much longer than its deadline a conversation is waited for, should it not keep it.
const GRACE: Duration = Duration::from_secs(2);

/// How the host reads repositories.
#[derive(Debug, Clone)]
pub struct GitConfig {
    /// How long connecting to a server may take.
    pub connect_timeout: Duration,
    /// How long reading the refs of one repository may take.
    pub refs_timeout: Duration,
    /// How long checking out one commit may take.
    pub checkout_timeout: Duration,
    /// How many repositories are asked for their refs at the same time.
    pub parallel_refs: usize,
    /// How many commits are checked out at the same time.
    pub parallel_checkouts: usize,
    /// How many of either have to do with one server at the same time.
    pub parallel_per_server: usize,
    /// How large what is checked out may be.
    pub limits: Limits,
    /// How ssh servers are reached.
    pub ssh: SshProgram,
    /// The program git, for dumb HTTP servers.
    pub git: String,
    /// Where users and passwords for HTTP servers come from.
    pub credentials: CredentialSources,
    /// The operator's exceptions for this host's network.
    pub network: Arc<Network>,
    /// Where what was fetched is read.
    pub readers: Readers,
    /// Whether what killed processes have left of checkouts stays: somebody only looks at what there is.
    pub looks_only: bool,
}

/// Where what a stranger made is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Readers {
    /// In a process for each repository, without network, credentials, or files but the repository's.
    #[default]
    Apart,
    /// On a thread of this process, which keeps nothing from a stranger: to measure what the process costs.
    Here,
}

/// How large what is checked out may be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limits {
    /// Files, directories and links of a tree.
    pub files: u64,
    /// Bytes of a tree's files.
    pub bytes: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes that one fetch may bring.
    pub transfer: u64,
    /// Bytes of memory that reading one repository may take. A file, or a delta's base and its result, are in memory as a whole.
    pub memory: u64,
}

impl Default for GitConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            refs_timeout: Duration::from_secs(30),
            checkout_timeout: Duration::from_secs(600),
            parallel_refs: 64,
            parallel_checkouts: 4,
            parallel_per_server: 8,
            limits: Limits::default(),
            ssh: SshProgram::default(),
            git: "git".to_owned(),
            credentials: CredentialSources::default(),
            network: Arc::default(),
            readers: Readers::default(),
            looks_only: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: 500_000,
            bytes: 8 << 30,
            file: 1 << 30,
            transfer: 8 << 30,
            memory: 2 << 30,
        }
    }
}

/// The service behind the interface `git`: cheap to clone, shared by all bots of a host.
#[derive(Clone)]
pub struct Git(Arc<Inner>);

struct Inner {
    config: GitConfig,
    web: Web,
    cache: Cache,
    checkouts: PathBuf,
    asking: Turns,
    checking_out: Turns,
    /// For the refs of repositories of this machine, each of which is a reader's work.
    listing: Turns,
    remembered: Mutex<Remembered>,
}

impl Git {
    /// A service that keeps what it fetches in a directory, which several hosts of one user may share.
    ///
    /// # Errors
    /// The directory can't be made or swept.
    pub fn new(cache_directory: impl Into<PathBuf>, config: GitConfig) -> io::Result<Self> {
        let root = cache_directory.into();
        let cache = Cache::new(root.join("repositories"))?;
        let checkouts = root.join("checkouts");
        std::fs::create_dir_all(&checkouts)?;
        if !config.looks_only {
            Workspace::sweep(&checkouts)?;
        }
        Ok(Self(Arc::new(Inner {
            asking: Turns::new(config.parallel_refs, config.parallel_per_server),
            checking_out: Turns::new(config.parallel_checkouts, config.parallel_per_server),
            listing: Turns::new(config.parallel_checkouts, config.parallel_per_server),
            remembered: Mutex::default(),
            web: Web::new(
                config.connect_timeout,
                config.credentials.clone(),
                Arc::clone(&config.network),
            ),
            config,
            cache,
            checkouts,
        })))
    }

    /// Remove what was fetched of repositories that were not used for longest. Blocks.
    #[must_use]
    pub fn sweep(&self, limits: &crate::retention::Limits, sweep: &Sweep) -> Report {
        self.0.cache.sweep_unused(limits, sweep)
    }

    /// The branches and tags of a repository, sorted by name.
    ///
    /// # Errors
    /// Any but [`GitError::NoSuchRef`].
    pub async fn refs(&self, granted: &Granted) -> Result<Vec<Ref>, GitError> {
        let inner = Arc::clone(&self.0);
        let limit = inner.config.refs_timeout;
        let asked = granted.clone();
        let turns = match granted.location.local() {
            None => &self.0.asking,
            Some(_) => &self.0.listing,
        };
        blocking(turns, &granted.location, limit, move |deadline| {
            inner.refs(&asked, &deadline)
        })
        .await
    }

    /// Check out exactly `commit`, which has to be reachable from `branch`: a branch's or tag's name, or a full ref.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn checkout(&self, granted: &Granted, branch: &str, commit: &str) -> Result<Source, GitError> {
        let branch = Branch::parse(branch)?;
        let commit = names::commit_id(commit)?;
        let inner = Arc::clone(&self.0);
        let limit = inner.config.checkout_timeout;
        let wanted = granted.clone();
        let check_out = move |deadline: Deadline| {
            let wanted = Wanted {
                granted: &wanted,
                branch: &branch,
                commit,
            };
            inner.checkout(wanted, &deadline)
        };
        blocking(&self.0.checking_out, &granted.location, limit, check_out).await
    }
}

impl Inner {
    fn refs(&self, granted: &Granted, deadline: &Deadline) -> Result<Vec<Ref>, GitError> {
        let location = &granted.location;
        if let Some(path) = location.local() {
            return self.local_refs(location, path, deadline);
        }
        let key = location.to_string();
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = remembered().get(&key);
        match (
            remote::refs(
                granted,
                &self.config,
                &self.web,
                deadline,
                known.as_ref().map(|known| known.etag.as_str()),
            )?,
            known,
        ) {
            (Advertised::Unchanged, Some(known)) => Ok(known.refs),
            (Advertised::Unchanged, None) => Err(GitError::unavailable(
                location,
                "the server says that nothing changed, but wasn't asked",
            )),
            (Advertised::Refs { refs, etag }, _) => {
                remembered().put(key, etag, &refs);
                Ok(refs)
            }
        }
    }
}

/// Do blocking work when it is its turn, with a deadline that begins then. Dropping the future calls the work off.
async fn blocking<T: Send + 'static>(
    turns: &Turns,
    location: &Location,
    limit: Duration,
    work: impl FnOnce(Deadline) -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let turn = turns.take(location, limit).await?;
    let deadline = Deadline::after(limit);
    let _call_off = deadline.call_off_on_drop();
    let running = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(deadline)
    });
    match tokio::time::timeout(limit + GRACE, running).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(GitError::unavailable(location, error)),
        Err(_) => Err(GitError::timed_out(location, limit)),
    }
}
