//! Getting exactly one commit, and proof that it belongs to its branch.

use std::sync::Arc;

use git2::{AutotagOption, Direction, ErrorClass, FetchOptions, Oid, RemoteCallbacks, Repository};

use super::objects::Objects;
use super::protocol::{Line, Origin};
use super::transport;
use crate::capability::git::advertisement::printable;
use crate::capability::git::cache::tracking_ref;
use crate::capability::git::deadline::Deadline;
use crate::capability::git::names::Branch;
use crate::capability::git::{Failure, GitError};

/// git's way to say: all of the history.
const WHOLE: i32 = i32::MAX;

/// What is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The repository as messages name it.
    pub(super) shown: &'a str,
    pub(super) branch: &'a Branch,
    pub(super) commit: Oid,
}

impl Wanted<'_> {
    fn no_branch(&self) -> GitError {
        GitError::no_branch(self.shown, self.branch)
    }

    fn not_reachable(&self) -> GitError {
        let what = format!("no commit {} on {:?} (any more)", self.commit, self.branch.to_string());
        GitError::no_such_ref(self.shown, what)
    }
}

/// Fetch a commit into a cached repository, over the host's connection.
pub(super) fn fetch(
    wanted: Wanted<'_>,
    cache: &Repository,
    line: &Arc<Line>,
    origin: &Origin,
    deadline: &Deadline,
) -> Result<(), Failure> {
    transport::register().map_err(|why| GitError::unavailable(wanted.shown, why))?;
    let explain = |error: git2::Error| explain(wanted.shown, deadline, error);
    let fetch = |depth: Option<i32>| -> Result<Tip, Failure> {
        transport::over(line, || {
            let mut remote = cache.remote_anonymous(transport::url(origin))?;
            let mut connection = remote.connect_auth(Direction::Fetch, None, None).map_err(explain)?;
            let tip = tip(wanted, connection.list().map_err(explain)?)?;
            let depth = depth.unwrap_or(if cache.is_empty()? && tip.commit == wanted.commit {
                1
            } else {
                0
            });
            download(connection.remote(), &tip, depth, deadline).map_err(explain)?;
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

/// How much may come is the host's to count.
fn download(remote: &mut git2::Remote<'_>, tip: &Tip, depth: i32, deadline: &Deadline) -> Result<(), git2::Error> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|_| !deadline.passed());
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
pub(super) fn prove(
    wanted: Wanted<'_>,
    repository: &Repository,
    reference: &str,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let objects = Objects::new(repository, wanted.shown, deadline);
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

/// What an error of libgit2's means. For what went wrong on the wire the host has better words.
fn explain(shown: &str, deadline: &Deadline, error: git2::Error) -> Failure {
    if deadline.passed() {
        return GitError::timed_out(shown, deadline.limit()).into();
    }
    let said = printable(error.message());
    match error.class() {
        _ if said.starts_with("remote error: ") => {
            GitError::not_found(shown, format!("the server says: {said}")).into()
        }
        ErrorClass::Net | ErrorClass::Http | ErrorClass::Callback => GitError::unavailable(shown, said).into(),
        _ => error.into(),
    }
}
