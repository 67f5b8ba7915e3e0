//! Fetching from a web server that only serves a repository's files. libgit2 can't; the program git can.

use std::path::Path;

use super::GitConfig;
use super::advertisement::printable;
use super::cache::tracking_ref;
use super::deadline::Deadline;
use super::error::GitError;
use super::http::{Advertised, HttpSession};
use super::location::Location;
use super::names::Branch;
use super::program::{run, unattended};

/// Fetch a branch into a bare repository. Returns the ref that follows it there; none if the server doesn't have it.
pub(super) fn fetch(
    location: &Location,
    session: &HttpSession,
    branch: &Branch,
    repository: &Path,
    config: &GitConfig,
    deadline: &Deadline,
) -> Result<Option<String>, GitError> {
    let Advertised::Refs { refs, .. } = session.advertise(None)? else {
        return Err(GitError::unavailable(
            location,
            "the server says that nothing changed, but wasn't asked",
        ));
    };
    let full_names = branch.full_names();
    let Some(name) = full_names.iter().find(|name| refs.iter().any(|r| r.name == **name)) else {
        return Ok(None);
    };
    let (url, authorization) = session.access();
    let tracking = tracking_ref(name);
    let mut command = unattended(&config.git);
    command
        .arg("--git-dir")
        .arg(repository)
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "credential.helper=",
        ])
        .args([
            "-c",
            "gc.auto=0",
            "-c",
            "maintenance.auto=false",
            "-c",
            "http.followRedirects=false",
        ])
        .args([
            "-c",
            "fetch.fsckObjects=false",
            "-c",
            "http.lowSpeedLimit=1",
            "-c",
            "http.lowSpeedTime=60",
        ])
        .args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--",
        ])
        .args([url.as_str(), &format!("+{name}:{tracking}")])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ALLOW_PROTOCOL", "http:https");
    if let Some(authorization) = authorization {
        // Not as an argument: everybody on the machine can read those.
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: {authorization}"));
    }
    let finished = run(command, b"", deadline).map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => GitError::timed_out(location, deadline.limit()),
        std::io::ErrorKind::NotFound => GitError::unavailable(
            location,
            format!(
                "its server only serves files, and fetching from those needs the program {} (install git)",
                config.git
            ),
        ),
        _ => GitError::unavailable(location, format!("cannot run {}: {error}", config.git)),
    })?;
    match finished.status.success() {
        true => Ok(Some(tracking)),
        false => Err(GitError::unavailable(
            location,
            format!("git fetch: {}", printable(&finished.errors)),
        )),
    }
}
