//! Repositories and servers that would take the host's memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::support::*;
use crate::capability::git::GitError;

/// Write a commit with this message, larger than `git commit` is comfortable with; returns its id.
fn commit_with(upstream: &Upstream, message: &str) -> String {
    let tree = upstream.git(&["rev-parse", "HEAD^{tree}"]);
    let parent = upstream.git(&["rev-parse", "HEAD"]);
    let person = "A U Thor <author@example.org> 1767323045 +0000";
    let text = format!("tree {tree}\nparent {parent}\nauthor {person}\ncommitter {person}\n\n{message}\n");
    write_object(upstream, "commit", text.as_bytes())
}

fn write_object(upstream: &Upstream, kind: &str, bytes: &[u8]) -> String {
    let file = upstream.root().join("object");
    std::fs::write(&file, bytes).unwrap();
    upstream.git(&["hash-object", "-t", kind, "-w", file.to_str().unwrap()])
}

fn megabytes(count: usize) -> String {
    "x".repeat(count << 20)
}

fn caches(service: &Service) -> usize {
    let entries = std::fs::read_dir(service.directory.path().join("repositories")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
}

#[tokio::test]
async fn a_commit_too_large_to_be_read_is_refused_and_not_kept() {
    let upstream = Upstream::new();
    let huge = commit_with(&upstream, &megabytes(8));
    upstream.git(&["reset", "-q", "--hard", &huge]);
    let small = upstream.commit("on top of it");
    let smart = SmartServer::start(upstream.root(), Manners::default());
    let (dumb, daemon) = (file_server(upstream.root()), git_daemon(upstream.root()));
    let first = upstream.git(&["rev-list", "--max-parents=0", "HEAD"]);
    for url in [
        upstream.bare().display().to_string(),
        format!("http://127.0.0.1:{}/x.git", smart.port),
        format!("http://127.0.0.1:{}/x.git", dumb.port),
        format!("git://127.0.0.1:{}/x.git", daemon.port),
    ] {
        // Itself, and what is only found by reading it.
        for commit in [&huge, &first] {
            let service = service();
            let error = service.file(&url, "master", commit).await.unwrap_err();
            assert!(matches!(error, GitError::BadRequest { .. }), "{url}: {error}");
            assert!(
                error.to_string().contains("a commit larger than 4 MiB"),
                "{url}: {error}"
            );
            assert_eq!(caches(&service), 0, "{url}");
        }
        // What need not read it goes on.
        assert_eq!(
            service().file(&url, "master", &small).await.unwrap(),
            "on top of it",
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_tag_too_large_to_be_read_is_refused() {
    let (service, upstream) = (service(), Upstream::new());
    let commit = upstream.git(&["rev-parse", "HEAD"]);
    let person = "A U Thor <author@example.org> 1767323045 +0000";
    let text = format!(
        "object {commit}\ntype commit\ntag v1\ntagger {person}\n\n{}\n",
        megabytes(8)
    );
    let tag = write_object(&upstream, "tag", text.as_bytes());
    upstream.git(&["update-ref", "refs/tags/v1", &tag]);
    upstream.push();
    let server = SmartServer::start(upstream.root(), Manners::default());
    for url in [
        upstream.bare().display().to_string(),
        format!("http://127.0.0.1:{}/x.git", server.port),
    ] {
        let error = service.file(&url, "refs/tags/v1", &commit).await.unwrap_err();
        assert!(error.to_string().contains("a tag larger than 4 MiB"), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_directory_too_large_to_be_read_is_refused() {
    let (service, upstream) = (service(), Upstream::new());
    let blob = hex::decode(upstream.git(&["rev-parse", "HEAD:file"])).unwrap();
    let mut tree = Vec::new();
    for at in 0..300_000 {
        tree.extend(format!("100644 {at:06}{}\0", "x".repeat(220)).bytes());
        tree.extend(&blob);
    }
    assert!(tree.len() > 64 << 20);
    let tree = write_object(&upstream, "tree", &tree);
    let commit = upstream.git(&["commit-tree", "-m", "many", "-p", "HEAD", &tree]);
    upstream.git(&["update-ref", "refs/heads/master", &commit]);
    let url = upstream.work().display().to_string();
    let error = service.file(&url, "master", &commit).await.unwrap_err();
    assert!(error.to_string().contains("a tree larger than 64 MiB"), "{error}");
}

/// Accepts connections, reads a request, and writes this head and then the same packet for ever.
fn endless(head: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || repeat(&mut stream.unwrap(), head));
        }
    });
    port
}

fn repeat(stream: &mut TcpStream, head: &str) {
    let _ = stream.read(&mut [0; 4096]);
    let line = format!("{} refs/pull/{}\n", "a".repeat(40), "x".repeat(60_000));
    let packet = format!("{:04x}{line}", line.len() + 4);
    let mut written = stream.write_all(head.as_bytes());
    while written.is_ok() {
        written = stream.write_all(packet.as_bytes());
    }
}

#[tokio::test]
async fn an_endless_list_of_refs_is_refused_by_the_name_of_the_limit() {
    let service = service();
    let web = endless(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n\
         001e# service=git-upload-pack\n0000",
    );
    let files = endless("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n");
    let daemon = endless("");
    for url in [
        format!("http://127.0.0.1:{web}/x"),
        format!("http://127.0.0.1:{files}/x"),
        format!("git://127.0.0.1:{daemon}/x"),
    ] {
        for error in [
            service.refs(&url).await.unwrap_err(),
            service.file(&url, "master", &"a".repeat(40)).await.unwrap_err(),
        ] {
            assert!(matches!(error, GitError::BadRequest { .. }), "{url}: {error}");
            assert!(error.to_string().contains("longer than 64 MiB"), "{url}: {error}");
        }
    }
}

#[tokio::test]
async fn a_dumb_server_that_sends_too_much_is_left_and_nothing_of_it_is_kept() {
    let upstream = Upstream::new();
    std::fs::write(upstream.work().join("large"), noise(3 << 20)).unwrap();
    let commit = upstream.commit("large");
    let service = service_with(|config| config.limits.transfer = 1 << 20);
    let server = file_server(upstream.root());
    let url = format!("http://127.0.0.1:{}/x.git", server.port);
    let error = service.file(&url, "master", &commit).await.unwrap_err();
    assert!(matches!(error, GitError::BadRequest { .. }), "{error}");
    assert!(error.to_string().contains("1048576 bytes"), "{error}");
    assert_eq!(caches(&service), 0);
}
