//! What it costs a checkout that another process reads the repository: the same checkouts with a reader in a process of its own, and with
//! one on a thread of this process, in turn, in pairs.
//!
//! Run with `cargo bench --bench checkouts [PAIRS]`. Prints a table; nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement stops where it fails"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use foundry_host::capability::git::{Git, GitConfig, Granted, Location, Readers};
use foundry_host::confine::run_helpers_by;
use foundry_host::reach::Permits;

/// Pairs, if no other number is given.
const PAIRS: usize = 21;

/// Files of the larger repository.
const MANY: usize = 1000;

#[tokio::main]
async fn main() {
    run_helpers_by(env!("CARGO_BIN_EXE_foundry-host"));
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let pairs = given.unwrap_or(PAIRS);
    println!("{pairs} pairs, in turn; medians in ms");
    println!("| checkout of a repository of this machine | on a thread | in a process | the process adds |");
    println!("|---|---|---|---|");
    for files in [1, MANY] {
        let repository = repository(files);
        let (mut here, mut apart, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pairs {
            let thread = checkout(repository.path(), Readers::Here).await;
            let process = checkout(repository.path(), Readers::Apart).await;
            here.push(thread);
            apart.push(process);
            added.push(process - thread);
        }
        println!(
            "| {files} files | {:.1} | {:.1} | {:.1} |",
            median(here),
            median(apart),
            median(added)
        );
    }
}

fn repository(files: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(directory.path()).args(arguments);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        assert!(command.status().unwrap().success());
    };
    git(&["init", "-q", "-b", "master"]);
    for file in 0..files {
        std::fs::write(
            directory.path().join(format!("file{file}")),
            format!("{file}\n").repeat(100),
        )
        .unwrap();
    }
    git(&["add", "-A"]);
    git(&[
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@example.org",
        "commit",
        "-q",
        "-m",
        "x",
    ]);
    directory
}

/// Milliseconds of one checkout, by a service that has just been started.
async fn checkout(repository: &Path, readers: Readers) -> f64 {
    let cache = tempfile::tempdir().unwrap();
    let config = GitConfig {
        readers,
        checkout_timeout: Duration::from_secs(600),
        ..GitConfig::default()
    };
    let git = Git::new(cache.path(), config).unwrap();
    let url = repository.display().to_string();
    let permits = Permits::from([Location::parse(&url).unwrap().pattern()].as_slice());
    let granted = Granted::check(&url, &permits).unwrap();
    let head = std::fs::read_to_string(repository.join(".git/refs/heads/master")).unwrap();
    let start = Instant::now();
    let source = git.checkout(&granted, "master", head.trim()).await.unwrap();
    let taken = start.elapsed();
    drop(source);
    taken.as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
