//! Fetching from a web server that only serves a repository's files. libgit2 can't; the program git can.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::GitConfig;
use super::advertisement::printable;
use super::cache::tracking_ref;
use super::deadline::Deadline;
use super::error::GitError;
use super::http::{Access, Advertised, HttpSession};
use super::location::Location;
use super::names::Branch;
use super::program::{Bounds, run_within, unattended};

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
        proxy,
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
        .env("GIT_ALLOW_PROTOCOL", "http:https")
        // Whether there is a proxy was decided by the rules that the host's own requests keep; git's and curl's are others.
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    tell(&mut command, &secret_settings(authorization, proxy));
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

/// Settings that may hold a password. An empty proxy is none, whatever the environment says.
fn secret_settings(authorization: Option<String>, proxy: Option<String>) -> Vec<(&'static str, String)> {
    let header = authorization.map(|authorization| ("http.extraHeader", format!("Authorization: {authorization}")));
    std::iter::once(("http.proxy", proxy.unwrap_or_default()))
        .chain(header)
        .collect()
}

/// Have git take settings from its environment: everybody on the machine can read arguments.
fn tell(command: &mut Command, settings: &[(&str, String)]) {
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (at, (key, value)) in settings.iter().enumerate() {
        command
            .env(format!("GIT_CONFIG_KEY_{at}"), key)
            .env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
}

/// The settings that have curl connect to addresses that were checked, instead of resolving the name once more (git 2.37; earlier
/// ones don't know it).
fn pinned(resolved: Option<(String, u16, Vec<SocketAddr>)>) -> Vec<String> {
    let Some((host, port, addresses)) = resolved else {
        return Vec::new();
    };
    let addresses: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let setting = format!("http.curloptResolve={host}:{port}:{}", addresses.join(","));
    vec!["-c".to_owned(), setting]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capability::git::program::run;

    #[test]
    fn curl_is_told_all_checked_addresses_of_a_name() {
        let addresses: Vec<SocketAddr> = ["10.0.0.1:80", "[::1]:80"].map(|text| text.parse().unwrap()).into();
        // The dot at the end as well: curl would take the name without it for another.
        for name in ["git.example.org", "git.example.org."] {
            assert_eq!(
                pinned(Some((name.to_owned(), 80, addresses.clone()))),
                ["-c", &format!("http.curloptResolve={name}:80:10.0.0.1,::1")]
            );
        }
        assert!(pinned(None).is_empty());
    }

    #[test]
    fn git_is_told_the_hosts_proxy_or_that_there_is_none() {
        let said = |proxy: Option<&str>| {
            let mut command = unattended("git");
            command
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_GLOBAL", "/dev/null");
            tell(
                &mut command,
                &secret_settings(Some("Basic x".to_owned()), proxy.map(ToOwned::to_owned)),
            );
            command.args(["config", "--get-regexp", "^http\\.(proxy|extraheader)$"]);
            run(command, b"", &Deadline::after(Duration::from_secs(120)))
                .unwrap()
                .output
        };
        let header = "http.extraheader Authorization: Basic x";
        let proxy = "http://me:secret@proxy.example:3128/";
        assert_eq!(said(Some(proxy)), format!("http.proxy {proxy}\n{header}\n"));
        assert_eq!(said(None), format!("http.proxy \n{header}\n"));
    }
}
