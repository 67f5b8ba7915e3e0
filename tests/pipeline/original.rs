//! The commands of the original's README, in its order, as docs/commands.md has them: typed by a shell through the names of
//! the bots, against a repository that is served over HTTP.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::apt::{Apt, text};
use crate::farm::architecture;
use crate::git_server;
use crate::package::Repository;
use crate::page::code_blocks;
use crate::two_builders::Both;

const PAGE: &str = include_str!("../../docs/commands.md");

/// Around the page's commands: whatever host they start ends with them.
const PRELUDE: &str = r#"
set -euo pipefail
cleanup() { foundry-host shutdown >shutdown.log 2>&1 || true; gpgconf --kill all || true; }
trap cleanup EXIT
"#;

/// After the page's commands: what has come of them, once both builds are through.
const REPORT: &str = r#"
dists() { foundry-host runs --json | jq '[.[].events[] | select(.type == "foundry.dist.v1")] | length'; }
for _ in {1..240}; do
    [[ $(dists) -lt 2 ]] || break
    sleep 1
done
foundry-host runs --json >runs.json
foundry-host runs "$COMMIT" >run.txt
foundry-host repo check ~/debian --deep --json >check.json
"#;

#[test]
fn the_originals_readme_works_in_its_order() {
    let home = tempfile::Builder::new().prefix("foundry-original-").tempdir().unwrap();
    let home = home.path();
    let repository = Repository::that_embeds_its_build_time(home, "greeting");
    let commit = repository.push("master");
    let (directory, name) = repository.served();
    let url = git_server::serve(directory);
    std::fs::create_dir(home.join("bin")).unwrap();
    for name in ["foundry-host", "watchbot", "buildbot", "signbot", "distbot"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_foundry-host"), home.join("bin").join(name)).unwrap();
    }
    // Other tests, and other hosts of this machine, have ports of their own.
    std::fs::write(home.join("foundry.toml"), "[broker]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let page = replaced(
        &section(),
        &[
            ("https://git.example.org/greeting.git", &format!("{url}/{name}")),
            ("--arch amd64", &format!("--arch {}", architecture())),
            // A root of another architecture comes from a mirror.
            (" --arch i386", ""),
        ],
    );
    let mut script = PRELUDE.to_owned();
    for (kind, block) in code_blocks(&page) {
        assert_eq!(kind, "sh", "{block}");
        script.push_str(block);
    }
    std::fs::write(home.join("page.sh"), script + REPORT).unwrap();

    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .arg("-x")
        .arg(home.join("page.sh"))
        .current_dir(home)
        .env_clear()
        .envs([("PATH", path.as_str()), ("LC_ALL", "C.UTF-8"), ("COMMIT", &commit)])
        .env("HOME", home)
        .env("FOUNDRY_STATE", home.join("state"))
        .env("FOUNDRY_CONFIG", home.join("foundry.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}{}\nthe host said:\n{}",
        text(&output.stdout),
        text(&output.stderr),
        std::fs::read_to_string(home.join("state/host.log")).unwrap_or_default()
    );
    assert!(output.status.success(), "{said}");

    let read = |name: &str| std::fs::read_to_string(home.join(name)).unwrap();
    let runs: Value = serde_json::from_str(&read("runs.json")).unwrap();
    let runs = runs.as_array().unwrap().iter();
    let events: Vec<_> = runs
        .flat_map(|run| run["events"].as_array().unwrap())
        .cloned()
        .collect();
    let both = Both::of(&events, &commit).unwrap_or_else(|| panic!("not both were published: {events:#?}\n{said}"));
    let published = home.join("debian");
    // Both embed when they were built, so that the second build's are others.
    both.are_published_in(&published, &["greeting", "greeting-doc"]);
    assert_eq!(read("check.json").trim(), "[]");
    let shown = read("run.txt");
    assert!(
        shown.contains("/buildbot ") && shown.contains("/buildbot-2 "),
        "{shown}"
    );
    it_installs(home, &published);
}

/// The part of the page that is about the original.
fn section() -> String {
    let section = PAGE
        .split("\n## ")
        .find(|section| section.starts_with("The original's README"));
    section.expect("the page has it").to_owned()
}

/// A text with other words in the place of some that it has to have.
fn replaced(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the page has no {from:?} any more:\n{text}");
        text.replace(from, to)
    })
}

fn it_installs(home: &Path, published: &Path) {
    let key = std::fs::read_to_string(published.join("key.asc")).unwrap();
    let apt = Apt::of(home.join("apt"), published, &key, "stable");
    apt.update();
    let root = apt.unpack("greeting");
    apt.unpack("greeting-doc");
    let built_at = |package: &str| std::fs::read_to_string(root.join(format!("usr/share/{package}/built-at"))).unwrap();
    assert_eq!(built_at("greeting"), built_at("greeting-doc"), "both are of one build");
}
