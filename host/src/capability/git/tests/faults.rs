//! Servers that fail, and branches that change while somebody looks.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::support::*;
use crate::capability::git::GitError;

/// Accepts connections, and does this with them.
fn server(answer: fn(&mut std::net::TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || answer(&mut stream));
        }
    });
    port
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn never(_: &mut std::net::TcpStream) {
    std::thread::sleep(Duration::from_secs(3600));
}

fn byte_by_byte(stream: &mut std::net::TcpStream) {
    // Each read makes progress, so that a timeout for reads would never go off.
    let endless = b"HTTP/1.1 200 OK\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'0'));
    for byte in endless {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn byte_by_byte_of_a_packet(stream: &mut std::net::TcpStream) {
    for byte in b"ffff".iter().chain(std::iter::repeat(&b'0')) {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_times_out() {
    let short = Duration::from_millis(700);
    let service = service_with(|config| (config.refs_timeout, config.checkout_timeout) = (short, short));
    let (silent, slow_web, slow_git) = (server(never), server(byte_by_byte), server(byte_by_byte_of_a_packet));
    for url in [
        format!("http://127.0.0.1:{silent}/x"),
        format!("git://127.0.0.1:{silent}/x"),
        format!("http://127.0.0.1:{slow_web}/x"),
        format!("git://127.0.0.1:{slow_git}/x"),
    ] {
        let start = Instant::now();
        let error = service.refs(&url).await.unwrap_err();
        assert!(matches!(error, GitError::TimedOut { .. }), "{url}: {error:?}");
        let error = service.file(&url, "master", &"a".repeat(40)).await.unwrap_err();
        assert!(matches!(error, GitError::TimedOut { .. }), "{url}: {error:?}");
        assert!(start.elapsed() < Duration::from_secs(4), "{url}: {:?}", start.elapsed());
    }
}

#[test]
fn a_hanging_server_leaves_no_threads_behind() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_keep_alive(Duration::from_millis(1))
        .enable_all()
        .build()
        .unwrap();
    let service = service_with(|config| {
        config.refs_timeout = Duration::from_millis(500);
        config.parallel_per_server = 20;
    });
    let port = server(never);
    let url = format!("git://127.0.0.1:{port}/x");
    let before = threads();
    runtime.block_on(async {
        let urls = vec![url; 20];
        // Given up before the deadline: the threads must notice.
        let _ = tokio::time::timeout(Duration::from_millis(100), service.refs_of(&urls)).await;
        assert!(threads() >= before + 20);
        let start = Instant::now();
        // The server keeps one thread for each connection.
        while threads() > before + 20 {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{} threads, {before} before",
                threads()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[tokio::test]
async fn a_hanging_server_holds_up_nobody_for_longer_than_two_time_limits() {
    let service = service_with(|config| config.refs_timeout = Duration::from_millis(1500));
    let upstream = Upstream::new();
    let port = server(never);
    // More than may talk to one server at the same time: the rest never gets its turn.
    let mut urls = vec![format!("http://127.0.0.1:{port}/x"); 100];
    urls.insert(7, upstream.bare().display().to_string());
    let start = Instant::now();
    let answers = service.refs_of(&urls).await;
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let timed_out = answers
        .iter()
        .filter(|answer| matches!(answer, Err(GitError::TimedOut { .. })));
    assert_eq!(timed_out.count(), 100);
    assert_eq!(answers[7].as_ref().unwrap().len(), 1);
}

#[tokio::test]
async fn servers_that_hang_do_so_at_the_same_time() {
    let service = service_with(|config| config.refs_timeout = Duration::from_millis(1500));
    let urls: Vec<String> = (0..30)
        .map(|_| format!("http://127.0.0.1:{}/x", server(never)))
        .collect();
    let start = Instant::now();
    let answers = service.refs_of(&urls).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Err(GitError::TimedOut { .. })))
    );
}

#[tokio::test]
async fn a_server_that_takes_few_connections_is_not_asked_for_more() {
    let (service, upstream) = (service(), Upstream::new());
    // git daemon drops connections beyond 32.
    let daemon = git_daemon(upstream.root());
    let urls = vec![format!("git://127.0.0.1:{}/x.git", daemon.port); 200];
    let answers = service.refs_of(&urls).await;
    let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_not_git_is_told_apart() {
    let service = service();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [
        format!("http://127.0.0.1:{closed}/x"),
        format!("git://127.0.0.1:{closed}/x"),
        "http://host.invalid/x".into(),
    ] {
        let error = service.refs(&url).await.unwrap_err();
        assert!(matches!(error, GitError::Unavailable { .. }), "{url}: {error:?}");
    }
    let web = server(|stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html",
        );
    });
    let error = service.refs(&format!("http://127.0.0.1:{web}/x")).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
    let broken = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let error = service.refs(&format!("http://127.0.0.1:{broken}/x")).await.unwrap_err();
    assert!(matches!(error, GitError::Unavailable { .. }), "{error:?}");
    let cut = server(|stream| {
        let text = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n001e# serv";
        let _ = stream.write_all(text);
    });
    let error = service.refs(&format!("http://127.0.0.1:{cut}/x")).await.unwrap_err();
    assert!(matches!(error, GitError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_branch_that_vanished_is_no_such_ref() {
    let (service, upstream) = (service(), Upstream::new());
    let server = SmartServer::start(upstream.root(), Manners::default());
    let dumb = file_server(upstream.root());
    upstream.git(&["checkout", "-q", "-b", "topic"]);
    let commit = upstream.commit("topic");
    let urls = [
        upstream.bare().display().to_string(),
        format!("http://127.0.0.1:{}/x.git", server.port),
        format!("http://127.0.0.1:{}/x.git", dumb.port),
    ];
    for url in &urls {
        assert_eq!(service.file(url, "topic", &commit).await.unwrap(), "topic");
    }
    upstream.git(&["checkout", "-q", "master"]);
    upstream.git(&["branch", "-D", "topic"]);
    upstream.push();
    for url in &urls {
        assert_eq!(service.refs(url).await.unwrap().len(), 1);
        // Even though the cache still has it.
        let error = service.file(url, "topic", &commit).await.unwrap_err();
        assert!(matches!(error, GitError::NoSuchRef { .. }), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn a_commit_that_a_force_push_removed_is_refused() {
    let (service, upstream) = (service(), Upstream::new());
    let server = SmartServer::start(upstream.root(), Manners::default());
    let dumb = file_server(upstream.root());
    let daemon = git_daemon(upstream.root());
    let urls = [
        upstream.bare().display().to_string(),
        format!("http://127.0.0.1:{}/x.git", server.port),
        format!("http://127.0.0.1:{}/x.git", dumb.port),
        format!("git://127.0.0.1:{}/x.git", daemon.port),
    ];
    let removed = upstream.commit("removed");
    for url in &urls[..2] {
        assert_eq!(service.file(url, "master", &removed).await.unwrap(), "removed");
    }
    upstream.git(&["reset", "-q", "--hard", "HEAD^"]);
    let kept = upstream.commit("kept");
    for url in &urls {
        let error = service.file(url, "master", &removed).await.unwrap_err();
        assert!(matches!(error, GitError::NoSuchRef { .. }), "{url}: {error:?}");
        assert_eq!(service.file(url, "master", &kept).await.unwrap(), "kept", "{url}");
    }
}

#[tokio::test]
async fn a_commit_of_another_branch_is_refused() {
    let (service, upstream) = (service(), Upstream::new());
    let server = SmartServer::start(upstream.root(), Manners::default());
    upstream.git(&["checkout", "-q", "-b", "other"]);
    let other = upstream.commit("other");
    for url in [
        upstream.bare().display().to_string(),
        format!("http://127.0.0.1:{}/x.git", server.port),
    ] {
        assert_eq!(service.file(&url, "other", &other).await.unwrap(), "other");
        let error = service.file(&url, "master", &other).await.unwrap_err();
        assert!(matches!(error, GitError::NoSuchRef { .. }), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_before_anything_runs() {
    let service = service();
    let commit = "a".repeat(40);
    for (url, branch, commit) in [
        ("ext::sh -c id", "master", commit.as_str()),
        ("/srv/../etc", "master", &commit),
        ("/srv/x", "../../etc", &commit),
        ("/srv/x", "--upload-pack=id", &commit),
        ("/srv/x", "master", "HEAD"),
        ("/srv/x", "master", "--all"),
    ] {
        let error = service.checkout(url, branch, commit).await.unwrap_err();
        assert!(
            matches!(error, GitError::BadRequest { .. }),
            "{url} {branch} {commit}: {error:?}"
        );
    }
}
