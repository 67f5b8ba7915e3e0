//! Each transport of the contract, in the good case and without a repository at its end.

use super::support::*;
use crate::capability::git::{GitError, SshProgram};

/// Refs, the first commit, and the next one out of a warm cache.
async fn works(service: &Service, upstream: &Upstream, url: &str) {
    upstream.git(&["tag", "-f", "-m", "annotated", "v1"]);
    upstream.push();
    let first = upstream.git(&["rev-parse", "HEAD"]);
    let refs = service.refs(url).await.unwrap();
    let found: Vec<_> = refs.iter().map(|r| (r.name.as_str(), r.commit.as_str())).collect();
    assert_eq!(
        found,
        [("refs/heads/master", first.as_str()), ("refs/tags/v1", first.as_str())],
        "{url}"
    );
    let content = upstream.git(&["show", "HEAD:file"]);
    assert_eq!(service.file(url, "master", &first).await.unwrap(), content, "{url}");
    assert_eq!(
        service.file(url, "refs/tags/v1", &first).await.unwrap(),
        content,
        "{url}"
    );

    let second = upstream.commit("second");
    let third = upstream.commit("third");
    assert_eq!(service.refs(url).await.unwrap()[0].commit, third, "{url}");
    assert_eq!(service.file(url, "master", &third).await.unwrap(), "third", "{url}");
    assert_eq!(
        service.file(url, "master", &second).await.unwrap(),
        "second",
        "{url}: an ancestor"
    );
    assert_eq!(
        service.file(url, "master", &first).await.unwrap(),
        content,
        "{url}: the oldest"
    );
}

async fn has_no_repository(service: &Service, url: &str) {
    for error in [
        service.refs(url).await.unwrap_err(),
        service.file(url, "master", &"a".repeat(40)).await.unwrap_err(),
    ] {
        assert!(matches!(error, GitError::NotFound { .. }), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn a_path_to_a_bare_repository() {
    let (service, upstream) = (service(), Upstream::new());
    works(&service, &upstream, upstream.bare().to_str().unwrap()).await;
}

#[tokio::test]
async fn a_path_to_a_work_tree() {
    let (service, upstream) = (service(), Upstream::new());
    works(&service, &upstream, upstream.work().to_str().unwrap()).await;
}

#[tokio::test]
async fn a_file_url_with_packed_refs() {
    let (service, upstream) = (service(), Upstream::new());
    git(&upstream.bare(), &["pack-refs", "--all", "--prune"]);
    assert!(!upstream.bare().join("refs/heads/master").exists());
    works(&service, &upstream, &format!("file://{}", upstream.bare().display())).await;
}

#[tokio::test]
async fn a_path_without_a_repository() {
    let (service, directory) = (service(), tempfile::tempdir().unwrap());
    has_no_repository(&service, directory.path().to_str().unwrap()).await;
    has_no_repository(&service, "/nonexistent/x.git").await;
    // Inside of a repository, but none itself.
    let upstream = Upstream::new();
    std::fs::create_dir(upstream.work().join("sub")).unwrap();
    has_no_repository(&service, upstream.work().join("sub").to_str().unwrap()).await;
}

#[tokio::test]
async fn gits_own_protocol() {
    let (service, upstream) = (service(), Upstream::new());
    let server = git_daemon(upstream.root());
    works(&service, &upstream, &format!("git://127.0.0.1:{}/x.git", server.port)).await;
    has_no_repository(&service, &format!("git://127.0.0.1:{}/y.git", server.port)).await;
}

#[tokio::test]
async fn smart_http() {
    let (service, upstream) = (service(), Upstream::new());
    let server = SmartServer::start(upstream.root(), Manners::default());
    works(&service, &upstream, &format!("http://127.0.0.1:{}/x.git", server.port)).await;
    has_no_repository(&service, &format!("http://127.0.0.1:{}/y.git", server.port)).await;
    assert!(
        server
            .requests
            .lock()
            .unwrap()
            .iter()
            .any(|request| request.starts_with("POST /x.git/git-upload-pack "))
    );
}

#[tokio::test]
async fn a_checkout_asks_a_smart_server_only_once_for_its_refs() {
    let (service, upstream) = (service(), Upstream::new());
    let server = SmartServer::start(upstream.root(), Manners::default());
    let commit = upstream.commit("content");
    let url = format!("http://127.0.0.1:{}/x.git", server.port);
    assert_eq!(service.file(&url, "master", &commit).await.unwrap(), "content");
    let requests = server.requests.lock().unwrap().clone();
    let asked = requests.iter().filter(|request| request.starts_with("GET ")).count();
    assert_eq!(asked, 1, "{requests:?}");
}

/// Names the port of an HTTPS server whose certificate this process trusts, since it was started so.
const TRUSTED_PORT: &str = "FOUNDRY_TEST_TRUSTED_PORT";

#[tokio::test]
async fn https_with_a_certificate_that_the_machine_trusts_and_with_another() {
    let (service, upstream) = (service(), Upstream::new());
    if let Ok(port) = std::env::var(TRUSTED_PORT) {
        let root = std::env::var("FOUNDRY_TEST_ROOT").unwrap();
        let head = git(std::path::Path::new(&root), &["--git-dir=x.git", "rev-parse", "master"]);
        let url = format!("https://localhost:{port}/x.git");
        assert_eq!(service.refs(&url).await.unwrap()[0].commit, head);
        assert_eq!(service.file(&url, "master", &head).await.unwrap(), "first");
        let redirected = service
            .refs(&format!("https://localhost:{port}/old/x.git"))
            .await
            .unwrap_err();
        assert!(redirected.to_string().contains("from https to http"), "{redirected}");
        return;
    }
    let plain = SmartServer::start(upstream.root(), Manners::default());
    let redirect = Some(format!("http://127.0.0.1:{}", plain.port));
    let redirecting = SmartServer::start(
        upstream.root(),
        Manners {
            redirect,
            ..Manners::default()
        },
    );
    let tls = TlsServer::start(redirecting.port);
    let error = service
        .refs(&format!("https://localhost:{}/x.git", tls.server.port))
        .await
        .unwrap_err();
    assert!(matches!(error, GitError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    // The certificates are read once: another process, with another list of them.
    let name = std::thread::current().name().unwrap().to_owned();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name.as_str(), "--exact", "--nocapture"])
        .env(TRUSTED_PORT, tls.server.port.to_string())
        .env("FOUNDRY_TEST_ROOT", upstream.root())
        .env("SSL_CERT_FILE", &tls.certificate)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn smart_http_with_a_password() {
    let upstream = Upstream::new();
    let login = Some("bWU6c2VjcmV0"); // me:secret
    let server = SmartServer::start(
        upstream.root(),
        Manners {
            login,
            ..Manners::default()
        },
    );
    let address = format!("127.0.0.1:{}/x.git", server.port);
    works(&service(), &upstream, &format!("http://me:secret@{address}")).await;

    let netrc = upstream.root().join("netrc");
    std::fs::write(&netrc, "machine 127.0.0.1 login me password secret\n").unwrap();
    let with_netrc = service_with(|config| config.credentials.netrc = Some(netrc));
    works(&with_netrc, &upstream, &format!("http://{address}")).await;

    for url in [format!("http://{address}"), format!("http://me:wrong-secret@{address}")] {
        let error = service().refs(&url).await.unwrap_err();
        assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
        assert!(
            error.to_string().contains("401") && !error.to_string().contains("secret"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn dumb_http() {
    let (service, upstream) = (service(), Upstream::new());
    let server = file_server(upstream.root());
    works(&service, &upstream, &format!("http://127.0.0.1:{}/x.git", server.port)).await;
    has_no_repository(&service, &format!("http://127.0.0.1:{}/y.git", server.port)).await;
    // Python's server redirects a directory to itself with a slash, and lists it.
    has_no_repository(&service, &format!("http://127.0.0.1:{}/work", server.port)).await;
}

#[tokio::test]
async fn dumb_http_without_server_info_says_what_to_do() {
    let (service, upstream) = (service(), Upstream::new());
    std::fs::remove_file(upstream.bare().join("info/refs")).unwrap();
    let server = file_server(upstream.root());
    let error = service
        .refs(&format!("http://127.0.0.1:{}/x.git", server.port))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("update-server-info"), "{error}");
}

#[tokio::test]
async fn dumb_http_without_the_program_git_says_what_to_install() {
    let upstream = Upstream::new();
    let service = service_with(|config| config.git = "/nonexistent/git".to_owned());
    let server = file_server(upstream.root());
    let url = format!("http://127.0.0.1:{}/x.git", server.port);
    let head = service.refs(&url).await.unwrap()[0].commit.clone();
    let error = service.file(&url, "master", &head).await.unwrap_err();
    assert!(error.to_string().contains("install git"), "{error}");
}

#[tokio::test]
async fn ssh() {
    let Some(sshd) = SshServer::start() else {
        eprintln!("skipped: there is no sshd (apt-get install openssh-server)");
        return;
    };
    let upstream = Upstream::new();
    let ssh = SshProgram {
        arguments: sshd.arguments.clone(),
        ..SshProgram::default()
    };
    let service = service_with(|config| config.ssh = ssh);
    let server = format!("ssh://127.0.0.1:{}", sshd.server.port);
    let url = format!("{server}{}", upstream.bare().display());
    works(&service, &upstream, &url).await;
    has_no_repository(&service, &format!("{server}/nonexistent/x.git")).await;

    sshd.forget_user();
    let error = service.refs(&url).await.unwrap_err();
    assert!(
        matches!(error, GitError::NotFound { .. }) && error.to_string().contains("Permission denied"),
        "{error}"
    );
    sshd.forget_host();
    let error = service.refs(&url).await.unwrap_err();
    assert!(
        matches!(error, GitError::NotFound { .. }) && error.to_string().contains("known_hosts"),
        "{error}"
    );
}

#[tokio::test]
async fn an_empty_repository_has_no_refs() {
    let (service, upstream) = (service(), Upstream::new());
    git(upstream.root(), &["init", "-q", "--bare", "empty.git"]);
    let (smart, daemon) = (
        SmartServer::start(upstream.root(), Manners::default()),
        git_daemon(upstream.root()),
    );
    for url in [
        upstream.root().join("empty.git").display().to_string(),
        format!("http://127.0.0.1:{}/empty.git", smart.port),
        format!("git://127.0.0.1:{}/empty.git", daemon.port),
    ] {
        assert_eq!(service.refs(&url).await.unwrap(), [], "{url}");
        let error = service.file(&url, "master", &"a".repeat(40)).await.unwrap_err();
        assert!(matches!(error, GitError::NoSuchRef { .. }), "{url}: {error:?}");
    }
}
