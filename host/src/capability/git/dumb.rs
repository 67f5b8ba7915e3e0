//! Fetching from a web server that only serves a repository's files. libgit2 can't; the program git can.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::GitConfig;
use super::advertisement::printable;
use super::cache::tracking_ref;
use super::deadline::Deadline;
use super::error::GitError;
use super::http::{Access, Advertised, HttpSession};
use super::location::Location;
use super::names::Branch;
use super::program::{Bounds, run_within, unattended};
use crate::reach::Host;

/// Files of the cached repository while such a fetch runs: each loose object is one.
const MAX_FILES: u64 = 1_000_000;

/// Memory of each of git's processes, in bytes. It inflates commits as a whole.
const MAX_MEMORY: u64 = 2 << 30;

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
    let Access {
        base,
        authorization,
        resolved,
    } = session.access()?;
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
        .args(pinned(resolved))
        .args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--",
        ])
        .args([base.as_str(), &format!("+{name}:{tracking}")])
        // curl would look for ~/.netrc by itself, and for any server: the credentials come from us.
        .env("HOME", repository)
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
    let bounds = Bounds {
        directory: repository.to_owned(),
        bytes: config.limits.transfer,
        files: MAX_FILES,
        memory: MAX_MEMORY,
    };
    let finished = run_within(command, b"", deadline, &bounds).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => GitError::timed_out(location, deadline.limit()),
        io::ErrorKind::FileTooLarge => GitError::bad(location.to_string(), error.to_string()),
        io::ErrorKind::NotFound => GitError::unavailable(
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

/// The settings that have curl connect to addresses that were checked, instead of resolving the name once more (git 2.37; earlier
/// ones don't know it).
fn pinned(resolved: Option<(Host, u16, Vec<SocketAddr>)>) -> Vec<String> {
    let Some((host, port, addresses)) = resolved else {
        return Vec::new();
    };
    let addresses: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let setting = format!("http.curloptResolve={host}:{port}:{}", addresses.join(","));
    vec!["-c".to_owned(), setting]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curl_is_told_all_checked_addresses_of_a_name() {
        let addresses = ["10.0.0.1:80", "[::1]:80"].map(|text| text.parse().unwrap()).into();
        assert_eq!(
            pinned(Some((Host::parse("git.example.org"), 80, addresses))),
            ["-c", "http.curloptResolve=git.example.org:80:10.0.0.1,::1"]
        );
        assert!(pinned(None).is_empty());
    }
}
