//! Getting exactly one commit, and proof that it belongs to its branch.

use std::sync::Arc;

use git2::{AutotagOption, Direction, ErrorClass, ErrorCode, FetchOptions, Oid, RemoteCallbacks, Repository};

use super::GitConfig;
use super::advertisement::printable;
use super::cache::tracking_ref;
use super::deadline::Deadline;
use super::dumb;
use super::error::GitError;
use super::granted::Granted;
use super::http::{Kind, Web};
use super::location::Location;
use super::names::Branch;
use super::objects::Objects;
use super::remote::connect;
use super::transport::{Conversation, Wire, register};

/// git's way to say: all of the history.
const WHOLE: i32 = i32::MAX;

/// Why a commit was not fetched.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt with another cache would end the same way.
    Git(GitError),
    /// The cache may be damaged; what libgit2 says.
    Cache(String),
    /// What was fetched costs too much to be read, now and with each fetch that begins where it is: it must not be kept.
    Costly(GitError),
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        Self::Cache(error.message().to_owned())
    }
}

/// What is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) granted: &'a Granted,
    pub(super) branch: &'a Branch,
    pub(super) commit: Oid,
}

impl<'a> Wanted<'a> {
    pub(super) fn location(&self) -> &'a Location {
        &self.granted.location
    }

    fn no_branch(&self) -> GitError {
        GitError::no_such_ref(
            self.location(),
            format!("no branch or tag {:?} (any more)", self.branch.to_string()),
        )
    }

    fn not_reachable(&self) -> GitError {
        let what = format!("no commit {} on {:?} (any more)", self.commit, self.branch.to_string());
        GitError::no_such_ref(self.location(), what)
    }
}

/// Fetch a commit into a cached repository.
pub(super) fn fetch(
    wanted: Wanted<'_>,
    cache: &Repository,
    config: &GitConfig,
    web: &Web,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let wire = match wanted.location() {
        Location::Http(http) => {
            let session = web.session(http, wanted.granted, deadline.clone())?;
            if session.kind()? == Kind::Dumb {
                let fetched = dumb::fetch(
                    wanted.location(),
                    &session,
                    wanted.branch,
                    cache.path(),
                    config,
                    deadline,
                );
                let reference = fetched.map_err(|error| match error {
                    // What it has brought until then stays otherwise.
                    GitError::BadRequest { .. } => Failure::Costly(error),
                    error => Failure::Git(error),
                })?;
                return prove(wanted, cache, &reference.ok_or_else(|| wanted.no_branch())?, deadline);
            }
            Wire::Http(Box::new(session))
        }
        _ => {
            let (location, config, deadline) = (wanted.location().clone(), config.clone(), deadline.clone());
            let rule = web.client().rule(wanted.granted.addresses);
            Wire::Pipe(
                location.clone(),
                Box::new(move || connect(&location, &rule, &config, &deadline)),
            )
        }
    };
    smart(wanted, cache, &Conversation::new(wire), config, deadline)
}

/// Fetch over one of our transports.
fn smart(
    wanted: Wanted<'_>,
    cache: &Repository,
    conversation: &Arc<Conversation>,
    config: &GitConfig,
    deadline: &Deadline,
) -> Result<(), Failure> {
    register().map_err(|why| GitError::unavailable(wanted.location(), why))?;
    let explain = |error: git2::Error| explain(wanted.location(), conversation, (config, deadline), &error);
    let fetch = |depth: Option<i32>| -> Result<Tip, Failure> {
        conversation.run(|| {
            let mut remote = cache.remote_anonymous(conversation.url())?;
            let mut connection = remote.connect_auth(Direction::Fetch, None, None).map_err(explain)?;
            let tip = tip(wanted, connection.list().map_err(explain)?)?;
            let depth = depth.unwrap_or(if cache.is_empty()? && tip.commit == wanted.commit {
                1
            } else {
                0
            });
            download(connection.remote(), &tip, depth, config, deadline).map_err(explain)?;
            Ok(tip)
        })
    };
    let tracking = tracking_ref(&fetch(None)?.name);
    match prove(wanted, cache, &tracking, deadline) {
        Err(Failure::Git(GitError::NoSuchRef { .. })) if cache.is_shallow() => {
            fetch(Some(WHOLE))?;
            prove(wanted, cache, &tracking, deadline)
        }
        proof => proof,
    }
}

/// A branch or tag as the server has it.
struct Tip {
    name: String,
    commit: Oid,
}

fn tip(wanted: Wanted<'_>, heads: &[git2::RemoteHead<'_>]) -> Result<Tip, GitError> {
    let find = |name: &str| heads.iter().find(|head| head.name() == name).map(git2::RemoteHead::oid);
    wanted
        .branch
        .full_names()
        .into_iter()
        .find_map(|name| {
            let commit = find(&format!("{name}^{{}}")).or_else(|| find(&name))?;
            Some(Tip { name, commit })
        })
        .ok_or_else(|| wanted.no_branch())
}

fn download(
    remote: &mut git2::Remote<'_>,
    tip: &Tip,
    depth: i32,
    config: &GitConfig,
    deadline: &Deadline,
) -> Result<(), git2::Error> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|progress| {
        !deadline.passed()
            && u64::try_from(progress.received_bytes()).is_ok_and(|bytes| bytes <= config.limits.transfer)
    });
    callbacks.sideband_progress(|_| !deadline.passed());
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks)
        .download_tags(AutotagOption::None)
        .depth(depth);
    options.update_fetchhead(false);
    let refspec = format!("+{}:{}", tip.name, tracking_ref(&tip.name));
    remote.fetch(&[refspec], Some(&mut options), None)
}

/// The commit has to be reachable from the branch.
fn prove(wanted: Wanted<'_>, repository: &Repository, reference: &str, deadline: &Deadline) -> Result<(), Failure> {
    let objects = Objects::new(repository, wanted.location(), deadline);
    let tip = repository.find_reference(reference)?;
    match objects.reaches(objects.tip(&tip)?, wanted.commit)? {
        true => Ok(()),
        false => Err(wanted.not_reachable().into()),
    }
}

/// Prove the same in a repository of this machine, which needs no fetch.
pub(super) fn prove_local(wanted: Wanted<'_>, repository: &Repository, deadline: &Deadline) -> Result<(), Failure> {
    let mut names = wanted.branch.full_names().into_iter();
    let name = names.find(|name| repository.find_reference(name).is_ok());
    prove(wanted, repository, &name.ok_or_else(|| wanted.no_branch())?, deadline)
}

/// What an error of libgit2's means. Our own words for what went wrong on the wire are better than its own.
fn explain(
    location: &Location,
    conversation: &Conversation,
    (config, deadline): (&GitConfig, &Deadline),
    error: &git2::Error,
) -> Failure {
    if let Some(failure) = conversation.failure() {
        return failure.into();
    }
    if deadline.passed() {
        return GitError::timed_out(location, deadline.limit()).into();
    }
    let said = printable(error.message());
    match (error.class(), error.code()) {
        (_, ErrorCode::User) => {
            let why = format!(
                "it sends more than the {} bytes that a fetch may bring",
                config.limits.transfer
            );
            GitError::bad(location.to_string(), why).into()
        }
        (_, _) if said.starts_with("remote error: ") => {
            GitError::not_found(location, format!("the server says: {said}")).into()
        }
        (ErrorClass::Net | ErrorClass::Http | ErrorClass::Callback, _) => GitError::unavailable(location, said).into(),
        _ => Failure::Cache(said),
    }
}
