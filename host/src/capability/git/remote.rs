//! Asking a server for a repository's refs. Its list is read here, by code without `unsafe` that bounds each part of it ([`advertisement`](super::advertisement)); what
//! the refs point at is not.

use super::GitConfig;
use super::advertisement::{BadAdvertisement, read_smart};
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
        Location::Local(_) => Err(GitError::bad(location.to_string(), "it has no server to ask")),
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
