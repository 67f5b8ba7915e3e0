//! The cache of fetched repositories: shared, damaged, left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::*;
use crate::capability::git::{Git, GitConfig};

fn repositories(service: &Service) -> PathBuf {
    service.directory.path().join("repositories")
}

fn cached(service: &Service) -> PathBuf {
    let entries = fs::read_dir(repositories(service))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.is_dir()).unwrap()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test]
async fn a_warm_cache_fetches_only_what_is_new() {
    let (service, upstream) = (service(), Upstream::new());
    let server = SmartServer::start(upstream.root(), Manners::default());
    let url = format!("http://127.0.0.1:{}/x.git", server.port);
    fs::write(upstream.work().join("large"), noise(100_000)).unwrap();
    let first = upstream.commit("first one");
    service.file(&url, "master", &first).await.unwrap();
    let packs = || {
        files(&cached(&service))
            .into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == "pack"))
    };
    let before: u64 = packs().map(|path| path.metadata().unwrap().len()).sum();
    let second = upstream.commit("second one");
    service.file(&url, "master", &second).await.unwrap();
    let after: u64 = packs().map(|path| path.metadata().unwrap().len()).sum();
    assert!(before > 50_000 && after - before < 2_000, "{before} {after}");
    // The same commit again brings no pack at all.
    let count = packs().count();
    service.file(&url, "master", &second).await.unwrap();
    assert_eq!(packs().count(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_checkouts_of_one_repository_are_safe() {
    let (service, upstream) = (service_with(|config| config.parallel_checkouts = 16), Upstream::new());
    let server = SmartServer::start(upstream.root(), Manners::default());
    let url = format!("http://127.0.0.1:{}/x.git", server.port);
    let mut commits = vec![];
    for i in 0..8 {
        commits.push((format!("content {i}"), upstream.commit(&format!("content {i}"))));
    }
    // Another process's service on the same directory.
    let other = Service {
        git: Git::new(service.directory.path(), GitConfig::default()).unwrap(),
        directory: tempfile::tempdir().unwrap(),
    };
    let one = futures::future::join_all(commits.iter().map(|(_, commit)| service.file(&url, "master", commit)));
    let two = futures::future::join_all(commits.iter().map(|(_, commit)| other.file(&url, "master", commit)));
    let (one, two) = tokio::join!(one, two);
    for answers in [one, two] {
        for ((content, _), answer) in commits.iter().zip(answers) {
            assert_eq!(&answer.unwrap(), content);
        }
    }
}

#[tokio::test]
async fn cache_is_rebuilt_when_its_files_are_damaged() {
    let upstream = Upstream::new();
    let server = SmartServer::start(upstream.root(), Manners::default());
    let url = format!("http://127.0.0.1:{}/x.git", server.port);
    upstream.commit("older");
    let commit = upstream.commit("newer");
    let damages: [fn(&Path); 6] = [
        |cache| {
            files(&cache.join("objects"))
                .iter()
                .for_each(|file| fs::remove_file(file).unwrap())
        },
        |cache| files(&cache.join("objects")).iter().for_each(|file| truncate(file)),
        |cache| {
            files(&cache.join("objects"))
                .iter()
                .filter(|f| f.extension().is_some_and(|e| e == "pack"))
                .for_each(|f| flip(f))
        },
        |cache| fs::write(cache.join("config"), "[core\nnonsense").unwrap(),
        |cache| fs::remove_file(cache.join("HEAD")).unwrap(),
        |cache| {
            files(&cache.join("refs"))
                .iter()
                .for_each(|file| fs::write(file, "junk").unwrap())
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        let service = service();
        assert_eq!(service.file(&url, "master", &commit).await.unwrap(), "newer");
        damage(&cached(&service));
        assert_eq!(
            service.file(&url, "master", &commit).await.unwrap(),
            "newer",
            "damage {number}"
        );
    }
}

fn truncate(file: &Path) {
    make_writable(file);
    let length = file.metadata().unwrap().len();
    fs::File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
}

fn flip(file: &Path) {
    make_writable(file);
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[12..middle].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(file, bytes).unwrap();
}

fn make_writable(file: &Path) {
    assert!(Command::new("chmod").arg("u+w").arg(file).status().unwrap().success());
}

#[tokio::test]
async fn what_a_process_killed_while_fetching_leaves_does_no_harm() {
    let (service, upstream) = (service(), Upstream::new());
    let server = SmartServer::start(upstream.root(), Manners::default());
    let url = format!("http://127.0.0.1:{}/x.git", server.port);
    let first = upstream.commit("first one");
    service.file(&url, "master", &first).await.unwrap();
    let cache = cached(&service);
    let reference = files(&cache.join("refs/foundry")).pop().unwrap();
    fs::write(reference.with_extension("lock"), "").unwrap();
    fs::write(cache.join("config.lock"), "").unwrap();
    fs::write(cache.join("shallow.lock"), "").unwrap();
    fs::write(cache.join("objects/pack/pack_git2_1234"), "half a pack").unwrap();
    let second = upstream.commit("second one");
    assert_eq!(service.file(&url, "master", &second).await.unwrap(), "second one");
    assert!(
        files(&cache)
            .iter()
            .all(|file| file.extension().is_none_or(|e| e != "lock"))
    );
    assert!(!cache.join("objects/pack/pack_git2_1234").exists());
}

#[tokio::test]
async fn a_checkout_is_removed_when_dropped_and_swept_after_a_kill() {
    let (service, upstream) = (service(), Upstream::new());
    let checkouts = service.directory.path().join("checkouts");
    let commit = upstream.commit("content");
    let source = service
        .checkout(upstream.bare().to_str().unwrap(), "master", &commit)
        .await
        .unwrap();
    assert!(source.path().starts_with(&checkouts));
    // A process that was killed has no lock on its checkout any more.
    let dead = checkouts.join("checkout-dead");
    fs::create_dir_all(dead.join("source/sub")).unwrap();
    fs::write(dead.join("lock"), "").unwrap();
    Git::new(service.directory.path(), GitConfig::default()).unwrap();
    assert!(!dead.exists());
    assert!(source.path().join("file").exists(), "a checkout in use was swept");
    let path = source.path().to_owned();
    tokio::task::spawn_blocking(move || drop(source)).await.unwrap();
    for _ in 0..500 {
        if !path.exists() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the checkout is still there");
}

#[tokio::test]
async fn an_unchanged_dumb_repository_is_not_sent_again() {
    // Python's server knows no entity tags: this one has them of the content.
    let upstream = Upstream::new();
    let (port, full) = tagging_server(upstream.bare());
    let service = service();
    let url = format!("http://127.0.0.1:{port}/x.git");
    let first = service.refs(&url).await.unwrap();
    assert_eq!(service.refs(&url).await.unwrap(), first);
    assert_eq!(full.load(std::sync::atomic::Ordering::SeqCst), 1);
    let commit = upstream.commit("changed");
    assert_eq!(service.refs(&url).await.unwrap()[0].commit, commit);
    assert_eq!(full.load(std::sync::atomic::Ordering::SeqCst), 2);
}

/// Serves `info/refs` with an entity tag; counts the answers with a body.
fn tagging_server(repository: PathBuf) -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::io::{BufRead, BufReader, Write};
    use std::sync::atomic::{AtomicUsize, Ordering};
    let full = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&full);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let body = fs::read_to_string(repository.join("info/refs")).unwrap();
            let tag = format!("\"{}\"", &body[..40]);
            let known = request
                .iter()
                .any(|line| line.to_ascii_lowercase().starts_with("if-none-match:") && line.contains(&tag));
            let answer = match known {
                true => format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nConnection: close\r\n\r\n"),
                false => {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let length = body.len();
                    format!(
                        "HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    )
                }
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (port, full)
}
