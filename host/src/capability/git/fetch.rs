//! The host's part of a fetch: how the server is reached, and by whom its bytes are read.

use super::GitConfig;
use super::error::GitError;
use super::granted::Granted;
use super::http::{HttpSession, Kind, Web};
use super::location::Location;
use super::names::Branch;
use super::reader::protocol::Origin;
use super::remote::connect;
use super::wire::{Allowance, Wire};
use super::{Failure, dumb};
use crate::capability::git::cache::Held;
use crate::capability::git::deadline::Deadline;

/// What is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) granted: &'a Granted,
    pub(super) branch: &'a Branch,
    pub(super) commit: git2::Oid,
}

impl<'a> Wanted<'a> {
    pub(super) fn location(&self) -> &'a Location {
        &self.granted.location
    }
}

/// How the bytes come.
pub(super) enum Way {
    /// Over a wire, to a reader.
    Wire(Wire),
    /// As files, to the program git.
    Files(Box<HttpSession>),
}

/// Find out how a server is reached. Connects, if it is by HTTP.
pub(super) fn way(wanted: Wanted<'_>, config: &GitConfig, web: &Web, deadline: &Deadline) -> Result<Way, GitError> {
    let allowance = Allowance::new(wanted.location(), config.limits.transfer);
    let Location::Http(http) = wanted.location() else {
        let (location, config, deadline) = (wanted.location().clone(), config.clone(), deadline.clone());
        let rule = web.client().rule(wanted.granted.addresses);
        let connect = Box::new(move || connect(&location, &rule, &config, &deadline));
        return Ok(Way::Wire(Wire::pipe(connect, allowance)));
    };
    let session = web.session(http, wanted.granted, deadline.clone())?;
    Ok(match session.kind()? {
        Kind::Dumb => Way::Files(Box::new(session)),
        Kind::Smart => Way::Wire(Wire::http(session, allowance)),
    })
}

/// Fetch a branch from a server of files, with the program git. Returns where the branch is now.
pub(super) fn files(
    wanted: Wanted<'_>,
    session: &HttpSession,
    held: &Held,
    config: &GitConfig,
    deadline: &Deadline,
) -> Result<Origin, Failure> {
    let location = wanted.location();
    held.make().map_err(|error| GitError::unavailable(location, error))?;
    let fetched = dumb::fetch(location, session, wanted.branch, held.path(), config, deadline);
    let reference = fetched.map_err(|error| match error {
        // What it has brought until then stays otherwise.
        GitError::BadRequest { .. } => Failure::Costly(error),
        error => Failure::Git(error),
    })?;
    let reference = reference.ok_or_else(|| GitError::no_branch(location, wanted.branch))?;
    Ok(Origin::Files { reference })
}
