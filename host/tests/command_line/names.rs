//! The names of the stock bots as commands.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::home::{Home, Said, load, said};

/// A link to the program with the name of a bot.
fn link(home: &Home, name: &str) -> PathBuf {
    let path = home.path().join(name);
    if !path.exists() {
        symlink(env!("CARGO_BIN_EXE_foundry-host"), &path).unwrap();
    }
    path
}

fn run(home: &Home, name: &str, args: &[&str]) -> Said {
    said(home.command_of(&link(home, name), args).output().unwrap())
}

#[test]
fn a_link_takes_the_options_of_its_bot() {
    let home = Home::bare();
    let help = run(&home, "buildbot", &["--help"]);
    assert_eq!(help.code, 0, "{}", help.err);
    for option in [
        "--endpoint",
        "--watch",
        "--publish-to",
        "--build-branch",
        "--autobump",
        "--list",
        "--stop",
    ] {
        assert!(
            help.out.contains(&format!("{option} ")) || help.out.contains(&format!("{option}\n")),
            "{option}: {}",
            help.out
        );
    }
    assert!(help.out.contains("Usage: buildbot"), "{}", help.out);
}

#[test]
fn a_link_is_asked_for_help_in_either_way() {
    let home = Home::bare();
    let (asked, meant) = (run(&home, "watchbot", &["help"]), run(&home, "watchbot", &["--help"]));
    assert_eq!((asked.code, &asked.out), (0, &meant.out), "{}", asked.err);
}

#[test]
fn a_link_loads_lists_and_stops_its_own_bots() {
    let home = Home::new();
    let loaded = run(
        &home,
        "buildbot",
        &["--allow-unsigned", "--verbose", "--verbose", "--endpoint", "pub/x"],
    );
    assert_eq!(loaded.code, 0, "{}", loaded.err);
    assert!(loaded.err.contains("loaded buildbot"), "{}", loaded.err);
    home.ok(&load(&[&Home::guest("noop")]));
    let list = run(&home, "buildbot", &["--list"]);
    assert!(list.out.contains("pub/x") && !list.out.contains("noop"), "{}", list.out);
    let other = run(&home, "buildbot", &["--stop", "noop"]);
    assert_eq!(other.code, 4, "{}", other.err);
    assert!(
        other.err.starts_with("buildbot: noop is a noop, not a buildbot"),
        "{}",
        other.err
    );
    let unknown = run(&home, "buildbot", &["--stop", "17"]);
    assert_eq!(unknown.code, 4, "{}", unknown.err);
    let stopped = run(&home, "buildbot", &["--stop", "buildbot"]);
    assert_eq!(stopped.code, 0, "{}", stopped.err);
    assert_eq!(home.json(&["list"]).as_array().unwrap().len(), 1);
}
