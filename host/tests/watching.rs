//! watchbot as it runs: real repositories, its own host, events on the broker.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which should fail where they are surprised"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use foundry_host::supervisor::{BotSource, BotSpec, Host};
use serde_json::Value;
use support::{TestHost, config, eventually};

/// A bare repository that commits are pushed to.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.git(&["init", "-q", "--bare", "-b", "master", "x.git"]);
        repository.git(&["init", "-q", "-b", "master", "work"]);
        repository.commit();
        repository
    }

    fn url(&self) -> PathBuf {
        self.0.path().join("x.git")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(self.0.path(), arguments)
    }

    /// Make a commit on the current branch and push it.
    fn commit(&self) -> String {
        let work = self.0.path().join("work");
        git(&work, &["commit", "-q", "--allow-empty", "-m", "more"]);
        git(&work, &["push", "-q", "--force", "../x.git", "HEAD"]);
        git(&work, &["rev-parse", "HEAD"])
    }

    fn work(&self, arguments: &[&str]) {
        git(&self.0.path().join("work"), arguments);
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org"])
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn watchbot(repositories: &[&str]) -> BotSpec {
    let spec = BotSpec::new(BotSource::Stock("watchbot".to_owned())).option("interval", "1");
    repositories
        .iter()
        .fold(spec, |spec, repository| spec.option("repository", *repository))
}

/// `branch@commit` of the announced commits, oldest first.
async fn announced(host: &TestHost) -> Vec<String> {
    let mut events = host.events().await;
    events.retain(|event| event.topic == "commits");
    events.sort_by(|a, b| a.time.cmp(&b.time));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    events
        .iter()
        .map(|event| format!("{}@{}", text(&event.data["branch"]), text(&event.data["ref"])))
        .collect()
}

async fn announces(host: &TestHost, expected: &[String]) {
    eventually("the announcement", async || {
        (announced(host).await == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_announced_once_across_restarts() {
    let repository = Repository::new();
    let url = repository.url().display().to_string();
    let first = repository.git(&["--git-dir=x.git", "rev-parse", "master"]);
    let host = TestHost::start().await;
    host.host.load(watchbot(&[&url])).await.unwrap();
    let mut expected = vec![format!("master@{first}")];
    announces(&host, &expected).await;
    expected.push(format!("master@{}", repository.commit()));
    announces(&host, &expected).await;

    host.host.shutdown().await;
    let missed = repository.commit();
    let TestHost {
        host: stopped,
        directory,
    } = host;
    drop(stopped);
    let host = TestHost {
        host: Host::start(config(directory.path())).await.unwrap(),
        directory,
    };
    host.host.load(watchbot(&[&url])).await.unwrap();
    expected.push(format!("master@{missed}"));
    announces(&host, &expected).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(announced(&host).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_watchbots_announce_the_same_commit_once() {
    let repository = Repository::new();
    let url = repository.url().display().to_string();
    let host = TestHost::start().await;
    host.host.load(watchbot(&[&url]).named("one")).await.unwrap();
    host.host.load(watchbot(&[&url]).named("two")).await.unwrap();
    let head = repository.commit();
    eventually("the last commit", async || {
        announced(&host).await.contains(&format!("master@{head}")).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut all = announced(&host).await;
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn globs_tags_and_a_failing_repository_beside_them() {
    let repository = Repository::new();
    let url = repository.url().display().to_string();
    let host = TestHost::start().await;
    let spec = watchbot(&[
        "/nonexistent/x.git",
        &format!("{url}#release/*"),
        &format!("{url}#refs/tags/*"),
    ]);
    host.host.load(spec.option("from-now", "true")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(announced(&host).await, [""; 0]);
    repository.work(&["checkout", "-q", "-b", "release/1"]);
    let release = repository.commit();
    announces(&host, &[format!("release/1@{release}")]).await;
    repository.work(&["tag", "-m", "annotated", "v1"]);
    repository.work(&["push", "-q", "../x.git", "v1"]);
    announces(
        &host,
        &[format!("release/1@{release}"), format!("refs/tags/v1@{release}")],
    )
    .await;
    // Moving master is none of its business.
    repository.work(&["checkout", "-q", "master"]);
    repository.commit();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(announced(&host).await.len(), 2);
}
