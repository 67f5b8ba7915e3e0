//! Servers that redirect, names that lead to private addresses, and who hears a password.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::support::*;
use crate::capability::git::{GitError, Granted};
use crate::reach::Network;

/// `me:secret`.
const LOGIN: &str = "bWU6c2VjcmV0";

/// A server that redirects what is below `/old` to this prefix.
fn redirecting(directory: &Path, to: String) -> SmartServer {
    SmartServer::start(
        directory,
        Manners {
            redirect: Some(to),
            ..Manners::default()
        },
    )
}

fn private(directory: &Path) -> SmartServer {
    SmartServer::start(
        directory,
        Manners {
            login: Some(LOGIN),
            ..Manners::default()
        },
    )
}

/// A service whose user has that password for every server of this machine.
fn with_password(upstream: &Upstream) -> Service {
    let netrc = upstream.root().join("netrc");
    let text = "machine 127.0.0.1 login me password secret\nmachine localhost login me password secret\n";
    std::fs::write(&netrc, text).unwrap();
    service_with(|config| config.credentials.netrc = Some(netrc))
}

fn requests(server: &SmartServer) -> Vec<String> {
    server.requests.lock().unwrap().clone()
}

/// What both ways to read a repository fail with.
async fn errors(service: &Service, granted: &Granted) -> [GitError; 2] {
    [
        service.git.refs(granted).await.unwrap_err(),
        service
            .git
            .checkout(granted, "master", &"a".repeat(40))
            .await
            .unwrap_err(),
    ]
}

#[tokio::test]
async fn a_redirect_to_a_server_that_is_not_granted_is_refused_and_hears_no_password() {
    let upstream = Upstream::new();
    let service = with_password(&upstream);
    let other = private(upstream.root());
    let server = redirecting(upstream.root(), format!("http://localhost:{}", other.port));
    let url = format!("http://127.0.0.1:{}/old/x.git", server.port);
    for error in errors(&service, &granted(&url)).await {
        let said = error.to_string();
        assert!(matches!(error, GitError::NotFound { .. }), "{said}");
        assert!(said.contains(&url), "{said}");
        assert!(
            said.contains(&format!("redirects to http://localhost:{}/x.git", other.port)),
            "{said}"
        );
    }
    assert_eq!(requests(&other), [""; 0]);
    // Whom signed events may name is not whom a server may name.
    for error in errors(
        &service,
        &granted_by(&url, &["*", &format!("http://127.0.0.1:{}", server.port)]),
    )
    .await
    {
        assert!(error.to_string().contains("not granted"), "{error}");
    }
    assert_eq!(requests(&other), [""; 0]);
}

#[tokio::test]
async fn another_port_is_another_server() {
    let upstream = Upstream::new();
    let service = with_password(&upstream);
    let other = private(upstream.root());
    let server = redirecting(upstream.root(), format!("http://127.0.0.1:{}", other.port));
    let url = format!("http://127.0.0.1:{}/old/x.git", server.port);
    for error in errors(&service, &granted(&url)).await {
        assert!(error.to_string().contains("not granted"), "{error}");
    }
    // Granted, it is asked, and without the password, although that is for the same host by its name.
    let beside = granted_beside(&url, &[&format!("http://127.0.0.1:{}/*", other.port)]).unwrap();
    for error in errors(&service, &beside).await {
        let said = error.to_string();
        assert!(said.contains("401") && said.contains("name it by that one"), "{said}");
    }
    let asked = requests(&other);
    assert!(
        !asked.is_empty() && !asked.iter().any(|request| request.contains("Basic")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_redirect_to_a_server_that_is_granted_is_followed() {
    let (service, upstream) = (service(), Upstream::new());
    let commit = upstream.commit("content");
    let smart = SmartServer::start(upstream.root(), Manners::default());
    let dumb = file_server(upstream.root());
    for other in [format!("127.0.0.1:{}", smart.port), format!("localhost:{}", dumb.port)] {
        let server = redirecting(upstream.root(), format!("http://{other}"));
        let url = format!("http://127.0.0.1:{}/old/x.git", server.port);
        for error in errors(&service, &granted(&url)).await {
            assert!(error.to_string().contains("not granted"), "{error}");
        }
        let beside = granted_beside(&url, &[&format!("http://{other}/*.git")]).unwrap();
        assert_eq!(service.git.refs(&beside).await.unwrap()[0].commit, commit);
        let source = service.git.checkout(&beside, "master", &commit).await.unwrap();
        assert_eq!(source.read("file").unwrap().unwrap(), b"content");
        // Another path there is not granted.
        let elsewhere = granted_beside(&url, &[&format!("http://{other}/public/*")]).unwrap();
        for error in errors(&service, &elsewhere).await {
            assert!(error.to_string().contains("not granted"), "{error}");
        }
    }
}

/// A server that wants the password, and redirects what is below `/old` on it to this prefix.
fn private_and_redirecting(upstream: &Upstream, to: &str) -> SmartServer {
    let manners = Manners {
        login: Some(LOGIN),
        redirect: Some(to.to_owned()),
    };
    SmartServer::start(upstream.root(), manners)
}

#[tokio::test]
async fn a_repository_that_moved_on_its_own_server_to_what_is_granted_is_followed_with_the_password() {
    let upstream = Upstream::new();
    let service = with_password(&upstream);
    let commit = upstream.commit("content");
    let server = private_and_redirecting(&upstream, "");
    let home = format!("http://127.0.0.1:{}", server.port);
    let url = format!("{home}/old/x.git");
    for granted in ["/x.git", "/x.git/", "/*"] {
        let beside = granted_beside(&url, &[&format!("{home}{granted}")]).unwrap();
        assert_eq!(service.git.refs(&beside).await.unwrap()[0].commit, commit, "{granted}");
        let source = service.git.checkout(&beside, "master", &commit).await.unwrap();
        assert_eq!(source.read("file").unwrap().unwrap(), b"content");
    }
}

#[tokio::test]
async fn what_nobody_granted_on_the_same_server_hears_no_password() {
    let upstream = Upstream::new();
    let service = with_password(&upstream);
    let server = private_and_redirecting(&upstream, "");
    let home = format!("http://127.0.0.1:{}", server.port);
    let url = format!("{home}/old/x.git");
    for beside in [
        granted(&url),
        granted_beside(&url, &["*", &format!("{home}/public/*")]).unwrap(),
    ] {
        for error in errors(&service, &beside).await {
            let said = error.to_string();
            assert!(said.contains("401") && said.contains("name it by that one"), "{said}");
        }
    }
    let asked = requests(&server);
    assert!(
        !asked.is_empty() && !asked.iter().any(|request| request.contains("Basic")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_server_that_adds_the_suffix_of_repositories_is_followed_with_the_password() {
    let upstream = Upstream::new();
    let service = with_password(&upstream);
    let commit = upstream.commit("content");
    let moved = upstream.root().join("old.git");
    std::fs::rename(upstream.bare(), &moved).unwrap();
    // From /old to /old.git.
    let server = private_and_redirecting(&upstream, "/old.git");
    let url = format!("http://127.0.0.1:{}/old", server.port);
    assert_eq!(service.refs(&url).await.unwrap()[0].commit, commit);
    assert_eq!(service.file(&url, "master", &commit).await.unwrap(), "content");
}

#[tokio::test]
async fn a_server_that_redirects_in_circles_is_left() {
    let (service, upstream) = (service(), Upstream::new());
    let server = redirecting(upstream.root(), "/old/old".to_owned());
    let error = service
        .refs(&format!("http://127.0.0.1:{}/old/x.git", server.port))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("circles"), "{error}");
}

#[tokio::test]
async fn git_itself_finds_no_password_for_a_dumb_server() {
    let upstream = Upstream::new();
    let commit = upstream.commit("content");
    let (program, seen) = (upstream.root().join("git-that-tells"), upstream.root().join("home"));
    let script = format!("#!/bin/sh\nprintf %s \"$HOME\" > {}\nexec git \"$@\"\n", seen.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let service = service_with(|config| config.git = program.display().to_string());
    let server = file_server(upstream.root());
    let url = format!("http://localhost:{}/x.git", server.port);
    assert_eq!(service.file(&url, "master", &commit).await.unwrap(), "content");
    // curl reads $HOME/.netrc for whatever server it speaks to.
    let home = std::fs::read_to_string(seen).unwrap();
    assert!(home.starts_with(service.directory.path().to_str().unwrap()), "{home}");
}

#[tokio::test]
async fn a_star_leads_to_no_private_address() {
    let (service, upstream) = (service(), Upstream::new());
    let (smart, daemon) = (
        SmartServer::start(upstream.root(), Manners::default()),
        git_daemon(upstream.root()),
    );
    for (server, pattern) in [
        (
            format!("http://127.0.0.1:{}", smart.port),
            format!("http://*:{}/*", smart.port),
        ),
        (format!("http://127.0.0.1:{}", smart.port), "*".to_owned()),
        (
            format!("http://localhost:{}", smart.port),
            format!("http://*:{}/*", smart.port),
        ),
        (
            format!("git://127.0.0.1:{}", daemon.port),
            format!("git://*:{}/*", daemon.port),
        ),
        (format!("git://localhost:{}", daemon.port), "*".to_owned()),
        ("git://2130706433:1".to_owned(), "*".to_owned()),
        ("ssh://127.0.0.1:1".to_owned(), "*".to_owned()),
    ] {
        let url = format!("{server}/x.git");
        for error in errors(&service, &granted_by(&url, &[&pattern])).await {
            let said = error.to_string();
            assert!(matches!(error, GitError::Unavailable { .. }), "{said}");
            assert!(
                said.contains("private address") && said.contains("private-hosts"),
                "{said}"
            );
        }
    }
    assert_eq!(requests(&smart), [""; 0]);
}

#[tokio::test]
async fn the_operator_may_name_hosts_that_are_private() {
    let upstream = Upstream::new();
    let network = Network {
        private_hosts: vec!["localhost".parse().unwrap()],
        ..Network::default()
    };
    let service = service_with(|config| config.network = Arc::new(network));
    let server = SmartServer::start(upstream.root(), Manners::default());
    let url = format!("http://localhost:{}/x.git", server.port);
    let granted = granted_by(&url, &[&format!("http://*:{}/*", server.port)]);
    assert_eq!(service.git.refs(&granted).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_password_for_another_machine_goes_over_tls_or_where_the_operator_says_so() {
    let upstream = Upstream::new();
    let commit = upstream.commit("content");
    let server = private(upstream.root());
    // Connects to this machine, and is none of its loopback addresses.
    let url = format!("http://me:secret@0.0.0.0:{}/x.git", server.port);
    for error in errors(&service(), &granted(&url)).await {
        let said = error.to_string();
        assert!(matches!(error, GitError::Unavailable { .. }), "{said}");
        assert!(
            said.contains("clear-text-hosts = [\"0.0.0.0\"]") && !said.contains("secret"),
            "{said}"
        );
    }
    assert!(requests(&server).iter().all(|request| !request.contains("Basic")));
    let network = Network {
        clear_text_hosts: vec!["0.0.0.0".parse().unwrap()],
        ..Network::default()
    };
    let service = service_with(|config| config.network = Arc::new(network));
    assert_eq!(service.file(&url, "master", &commit).await.unwrap(), "content");
}
