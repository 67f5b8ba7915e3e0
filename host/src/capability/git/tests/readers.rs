//! What hostile repositories do to the process that reads them, and what that leaves undone.
//!
//! These tests look at processes and their memory, so that each runs in a process of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::support::*;
use crate::capability::git::GitError;
use crate::capability::git::cache::{Cache, Writer};
use crate::capability::git::deadline::Deadline;
use crate::capability::git::location::Location;

/// How long anything is waited for that takes a moment on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Set in the process that a test has for itself.
const ALONE: &str = "FOUNDRY_TEST_ALONE";

/// Whether this test has the process for itself. If not, this has run it in one that it has.
fn is_alone() -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = this_test()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// This program, about to run the calling test alone.
fn this_test() -> Command {
    let name = std::thread::current().name().unwrap().to_owned();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name.as_str(), "--exact", "--nocapture"]).env(ALONE, "1");
    command
}

/// Makes a pack: a blob of 64 KiB, a delta that makes 64 MiB of it, and one that makes 400 MiB of that. Prints the blobs' ids.
const BOMB: &str = r#"
import hashlib, struct, sys, zlib

def head(kind, size):
    out, byte = bytearray(), (kind << 4) | (size & 15)
    size >>= 4
    while size:
        out.append(byte | 128)
        byte, size = size & 127, size >> 7
    out.append(byte)
    return bytes(out)

def number(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)

def back(distance):
    out = [distance & 127]
    while distance := distance >> 7:
        distance -= 1
        out.insert(0, distance & 127 | 128)
    return bytes(out)

def name(size):
    digest = hashlib.sha1(b'blob %d\0' % size)
    for at in range(0, size, 1 << 20):
        digest.update(b'x' * min(1 << 20, size - at))
    return digest.hexdigest()

base, middle, most = 1 << 16, 1 << 26, 25 * 0xffffff
pack, places = b'PACK' + struct.pack('>II', 2, 3), []
places.append(len(pack))
pack += head(3, base) + zlib.compress(b'x' * base)
for source, size, copies in [(base, middle, b'\x80' * 1024), (middle, most, b'\xf0\xff\xff\xff' * 25)]:
    delta = number(source) + number(size) + copies
    at = len(pack)
    pack += head(6, len(delta)) + back(at - places[-1]) + zlib.compress(delta)
    places.append(at)
open(sys.argv[1], 'wb').write(pack + hashlib.sha1(pack).digest())
print(name(base), name(middle), name(most))
"#;

/// Puts a small file on `master` that is 400 MiB in memory, in a pack of some hundred bytes; returns the commit.
fn bomb(upstream: &Upstream) -> String {
    let pack = upstream.root().join("bomb.pack");
    let output = Command::new("python3").args(["-c", BOMB]).arg(&pack).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ids = String::from_utf8(output.stdout).unwrap();
    assert!(pack.metadata().unwrap().len() < 10_000);
    let bare = upstream.bare();
    let stored = bare.join("objects/pack").join("pack-b.pack");
    std::fs::copy(&pack, &stored).unwrap();
    git(&bare, &["index-pack", stored.to_str().unwrap()]);
    let entries: String = ids
        .split_whitespace()
        .enumerate()
        .map(|(at, id)| format!("100644 blob {id}\t{at}\n"))
        .collect();
    let list = upstream.root().join("tree");
    std::fs::write(&list, entries).unwrap();
    let tree = hermetic("git")
        .current_dir(&bare)
        .arg("mktree")
        .stdin(std::fs::File::open(&list).unwrap())
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let commit = git(&bare, &["commit-tree", "-m", "small", tree.trim()]);
    git(&bare, &["update-ref", "refs/heads/master", &commit]);
    commit
}

/// The most memory that this process has had, in MiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn deltas_that_make_a_huge_object_take_no_memory_of_the_host_and_the_limit_is_named() {
    if !is_alone() {
        return;
    }
    let upstream = Upstream::new();
    let commit = bomb(&upstream);
    let (daemon, smart) = (
        git_daemon(upstream.root()),
        SmartServer::start(upstream.root(), Manners::default()),
    );
    let before = most_memory();
    for url in [
        upstream.bare().display().to_string(),
        format!("git://127.0.0.1:{}/x.git", daemon.port),
        format!("http://127.0.0.1:{}/x.git", smart.port),
    ] {
        let service = service_with(|config| {
            config.limits.memory = 192 << 20;
            config.checkout_timeout = PATIENCE;
        });
        let error = service.checkout(&url, "master", &commit).await.unwrap_err();
        assert!(matches!(error, GitError::BadRequest { .. }), "{url}: {error:?}");
        let said = error.to_string();
        assert!(
            said.contains(&url) && said.contains("more than 192 MiB of memory"),
            "{said}"
        );
        let repositories = std::fs::read_dir(service.directory.path().join("repositories")).unwrap();
        let kept = repositories
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count();
        assert_eq!(kept, 0, "{url}: what costs too much is kept");
    }
    let more = most_memory() - before;
    assert!(more < 150, "{more} MiB more for an object of 400 MiB");
}

/// Processes that read for this one, or for another.
fn readers(host: u32) -> Vec<Pid> {
    let numbers = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<i32>().ok()
    });
    let is_reader = |number: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        // The name before it may hold anything, also a bracket.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1));
        let line = std::fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
        parent == Some(host.to_string().as_str()) && line.contains("as_helper")
    };
    numbers.filter(is_reader).filter_map(Pid::from_raw).collect()
}

/// Waits until a condition gives something.
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Passes connections on to a port; the first of them gets what comes back in drops.
fn slow_relay(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let is_first = Arc::new(AtomicBool::new(true));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let slow = is_first.swap(false, Ordering::SeqCst);
            let client = client.unwrap();
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            std::thread::spawn(move || relay(server, client, slow));
        }
    });
    own
}

fn relay(mut from: TcpStream, mut to: TcpStream, slow: bool) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if slow {
            std::thread::sleep(Duration::from_millis(50));
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_killed_fails_its_checkout_and_the_next_one_succeeds() {
    if !is_alone() {
        return;
    }
    let upstream = Upstream::new();
    // Minutes for the first one.
    std::fs::write(upstream.work().join("noise"), noise(4 << 20)).unwrap();
    let commit = upstream.commit("content");
    let daemon = git_daemon(upstream.root());
    let url = format!("git://127.0.0.1:{}/x.git", slow_relay(daemon.port));
    let service = Arc::new(service_with(|config| config.checkout_timeout = PATIENCE));
    let running = tokio::spawn({
        let (service, url, commit) = (Arc::clone(&service), url.clone(), commit.clone());
        async move { service.file(&url, "master", &commit).await }
    });
    // It has begun to write the pack.
    let pack_directory = service.directory.path().join("repositories");
    let is_writing = || {
        let repositories = std::fs::read_dir(&pack_directory).ok()?.flatten();
        let mut packs = repositories.filter_map(|entry| std::fs::read_dir(entry.path().join("objects/pack")).ok());
        packs.any(|pack| pack.count() > 0).then_some(())
    };
    until("no pack is written", is_writing);
    let found = readers(std::process::id());
    assert_eq!(found.len(), 1);
    assert!(is_shut_in(found[0]), "the reader has the host's rights");
    kill_process(found[0], Signal::KILL).unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, GitError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("killed by signal 9"), "{error}");
    assert_eq!(service.file(&url, "master", &commit).await.unwrap(), "content");
    assert_eq!(readers(std::process::id()), []);
}

/// Whether a thread of a process has a filter for system calls and can't get new rights. In these tests a reader is the thread of a
/// test, where the program itself has one thread.
fn is_shut_in(process: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap();
    threads.flatten().any(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let has = |line: &str| {
            status
                .lines()
                .any(|found| found.split_whitespace().eq(line.split_whitespace()))
        };
        has("Seccomp: 2") && has("NoNewPrivs: 1") && has("CapEff: 0000000000000000")
    })
}

/// Names the repository that the host that is to be killed checks out.
const HANGING: &str = "FOUNDRY_TEST_HANGING";

#[tokio::test]
async fn a_reader_dies_with_its_host() {
    if let Ok(url) = std::env::var(HANGING) {
        let service = service_with(|config| config.checkout_timeout = PATIENCE);
        let answer = service.checkout(&url, "master", &"a".repeat(40)).await;
        panic!("{answer:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://127.0.0.1:{}/x.git", listener.local_addr().unwrap().port());
    let mut host = this_test().env(HANGING, url).spawn().unwrap();
    // Its reader asks for this before it does anything else.
    let _connection = listener.accept().unwrap();
    let reader = readers(host.id());
    assert_eq!(reader.len(), 1);
    host.kill().unwrap();
    host.wait().unwrap();
    until("the reader outlives its host", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", reader[0].as_raw_nonzero())).unwrap_or_default();
        // Nobody may have waited for it yet.
        let state = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().next());
        matches!(state, None | Some("Z" | "X")).then_some(())
    });
}

#[test]
fn what_the_program_git_reads_is_never_what_a_reader_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::new(directory.path().join("repositories")).unwrap();
    let location = Location::parse("https://example.org/x.git").unwrap();
    let deadline = Deadline::after(PATIENCE);
    let by_reader = cache.hold(&location, Writer::Reader, &deadline).unwrap();
    // Not even at different times: it is another directory, and both may be held at once.
    let by_git = cache.hold(&location, Writer::Git, &deadline).unwrap();
    assert_ne!(by_reader.path(), by_git.path());
}
