//! Getting exactly one commit, and proof that it belongs to its branch.

use std::sync::Arc;

use git2::{AutotagOption, Direction, ErrorClass, ErrorCode, FetchOptions, Oid, RemoteCallbacks, Repository};

use super::GitConfig;
use super::advertisement::printable;
use super::cache::tracking_ref;
use super::deadline::Deadline;
use super::dumb;
use super::error::GitError;
use super::http::{Kind, Web};
use super::location::Location;
use super::names::Branch;
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
    pub(super) location: &'a Location,
    pub(super) branch: &'a Branch,
    pub(super) commit: Oid,
}

impl Wanted<'_> {
    fn no_branch(&self) -> GitError {
        GitError::no_such_ref(
            self.location,
            format!("no branch or tag {:?} (any more)", self.branch.to_string()),
        )
    }

    fn not_reachable(&self) -> GitError {
        let what = format!("no commit {} on {:?} (any more)", self.commit, self.branch.to_string());
        GitError::no_such_ref(self.location, what)
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
    let wire = match wanted.location {
        Location::Http(http) => {
            let session = web.session(http, deadline.clone());
            if session.kind()? == Kind::Dumb {
                let reference = dumb::fetch(wanted.location, &session, wanted.branch, cache.path(), config, deadline)?;
                return prove(wanted, cache, &reference.ok_or_else(|| wanted.no_branch())?);
            }
            Wire::Http(Box::new(session))
        }
        _ => {
            let (location, config, deadline) = (wanted.location.clone(), config.clone(), deadline.clone());
            Wire::Pipe(
                location.clone(),
                Box::new(move || connect(&location, &config, &deadline)),
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
    register().map_err(|why| GitError::unavailable(wanted.location, why))?;
    let explain = |error: git2::Error| explain(wanted.location, conversation, deadline, &error);
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
    match prove(wanted, cache, &tracking) {
        Err(Failure::Git(GitError::NoSuchRef { .. })) if cache.is_shallow() => {
            fetch(Some(WHOLE))?;
            prove(wanted, cache, &tracking)
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
fn prove(wanted: Wanted<'_>, repository: &Repository, reference: &str) -> Result<(), Failure> {
    let tip = repository.find_reference(reference)?.peel_to_commit()?.id();
    match reachable(repository, tip, wanted.commit)? {
        true => Ok(()),
        false => Err(wanted.not_reachable().into()),
    }
}

/// Prove the same in a repository of this machine, which needs no fetch.
pub(super) fn prove_local(wanted: Wanted<'_>, repository: &Repository) -> Result<(), GitError> {
    let tip = wanted
        .branch
        .full_names()
        .into_iter()
        .find_map(|name| repository.find_reference(&name).ok());
    let tip = tip
        .and_then(|reference| reference.peel_to_commit().ok())
        .ok_or_else(|| wanted.no_branch())?
        .id();
    match reachable(repository, tip, wanted.commit) {
        Ok(true) => Ok(()),
        Ok(false) => Err(wanted.not_reachable()),
        Err(error) => Err(GitError::unavailable(wanted.location, error.message())),
    }
}

fn reachable(repository: &Repository, tip: Oid, commit: Oid) -> Result<bool, git2::Error> {
    if tip == commit {
        return repository.find_commit(commit).map(|_| true);
    }
    match repository.find_commit(commit) {
        Ok(_) => repository.graph_descendant_of(tip, commit),
        // It was never fetched, as it isn't on the branch. Or it is, and was lost: then the way to it is broken.
        Err(error) if error.code() == ErrorCode::NotFound => {
            let mut walk = repository.revwalk()?;
            walk.push(tip)?;
            walk.try_fold(false, |found, id| Ok(found || id? == commit))
        }
        Err(error) => Err(error),
    }
}

/// What an error of libgit2's means. Our own words for what went wrong on the wire are better than its own.
fn explain(location: &Location, conversation: &Conversation, deadline: &Deadline, error: &git2::Error) -> Failure {
    if let Some(failure) = conversation.failure() {
        return failure.into();
    }
    if deadline.passed() {
        return GitError::timed_out(location, deadline.limit()).into();
    }
    let said = printable(error.message());
    match (error.class(), error.code()) {
        (_, ErrorCode::User) => GitError::bad(location.to_string(), "it sends more than a fetch may bring").into(),
        (_, _) if said.starts_with("remote error: ") => {
            GitError::not_found(location, format!("the server says: {said}")).into()
        }
        (ErrorClass::Net | ErrorClass::Http | ErrorClass::Callback, _) => GitError::unavailable(location, said).into(),
        _ => Failure::Cache(said),
    }
}
