//! Asking a repository for its refs, wherever it is.

use std::path::Path;

use git2::{ObjectType, Repository, RepositoryOpenFlags};

use super::GitConfig;
use super::advertisement::{BadAdvertisement, Ref, read_smart};
use super::deadline::Deadline;
use super::duplex::Duplex;
use super::error::GitError;
use super::granted::Granted;
use super::http::{Advertised, Web};
use super::location::Location;
use crate::reach::{Host, Rule};

/// The branches and tags of a repository. `known` is the entity tag of an earlier answer of an HTTP server.
pub(super) fn refs(
    granted: &Granted,
    config: &GitConfig,
    web: &Web,
    deadline: &Deadline,
    known: Option<&str>,
) -> Result<Advertised, GitError> {
    let location = &granted.location;
    match location {
        Location::Local(path) => Ok(Advertised::Refs {
            refs: local_refs(location, path)?,
            etag: None,
        }),
        Location::Http(http) => web.session(http, granted, deadline.clone())?.advertise(known),
        Location::Ssh(_) | Location::Daemon { .. } => {
            let rule = web.client().rule(granted.addresses);
            let mut duplex = connect(location, &rule, config, deadline)?;
            let refs = read_smart(&mut duplex, false).map_err(|error| match error {
                BadAdvertisement::Io(error) => duplex.explain(location, &error),
                BadAdvertisement::Refused(why) => GitError::not_found(location, format!("the server says: {why}")),
                BadAdvertisement::Malformed(why) => GitError::not_found(location, why),
                BadAdvertisement::TooLarge(why) => GitError::bad(location.to_string(), why),
            })?;
            Ok(Advertised::Refs { refs, etag: None })
        }
    }
}

/// Connect to a repository's `git-upload-pack` by ssh or git's own protocol, at an address that the rule allows.
pub(super) fn connect(
    location: &Location,
    rule: &Rule,
    config: &GitConfig,
    deadline: &Deadline,
) -> Result<Duplex, GitError> {
    match location {
        Location::Ssh(server) => {
            // Where a name leads is up to the user's configuration of ssh, and the server has to have the key that the user's known
            // hosts have for that name.
            rule.check_written(&Host::parse(&server.host))
                .map_err(|refused| GitError::unavailable(location, refused))?;
            Duplex::ssh(location, server, &config.ssh, config.connect_timeout, deadline.clone())
        }
        Location::Daemon { host, port, path } => Duplex::daemon(
            location,
            (host, *port, path),
            rule,
            config.connect_timeout,
            deadline.clone(),
        ),
        Location::Local(_) | Location::Http(_) => {
            Err(GitError::bad(location.to_string(), "it has no connection to open"))
        }
    }
}

/// Open a repository of this machine, bare or not.
pub(super) fn open_local(location: &Location, path: &Path) -> Result<Repository, GitError> {
    let no_ceilings: [&str; 0] = [];
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, no_ceilings).map_err(|error| match error.code() {
        git2::ErrorCode::NotFound => GitError::not_found(location, "there is no repository"),
        git2::ErrorCode::Owner => GitError::not_found(
            location,
            "it belongs to another user (`git config --global --add safe.directory PATH` as the host's user trusts it)",
        ),
        _ => GitError::not_found(location, error.message()),
    })
}

fn local_refs(location: &Location, path: &Path) -> Result<Vec<Ref>, GitError> {
    let repository = open_local(location, path)?;
    let failed = |error: git2::Error| GitError::unavailable(location, error.message());
    let mut refs = Vec::new();
    for reference in repository.references().map_err(failed)? {
        // A ref that vanishes while the others are read, or that is damaged, is none.
        let Ok(reference) = reference else { continue };
        let Ok(name) = reference.name() else { continue };
        if !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
            continue;
        }
        if let Ok(object) = reference.peel(ObjectType::Commit) {
            refs.push(Ref {
                name: name.to_owned(),
                commit: object.id().to_string(),
            });
        }
    }
    refs.sort();
    Ok(refs)
}
