//! What the program says of itself.

use super::home::Home;

const VERBS: [&str; 24] = [
    "run",
    "load",
    "list",
    "stop",
    "logs",
    "watch",
    "runs",
    "inspect",
    "grants",
    "new",
    "build",
    "test",
    "check",
    "key",
    "repo",
    "dead-letters",
    "groups",
    "status",
    "shutdown",
    "gc",
    "hash-password",
    "completions",
    "man",
    "help",
];

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!(Home::bare().ok(&["--help"]));
}

#[test]
fn help_of_each_verb() {
    let home = Home::bare();
    for verb in VERBS {
        insta::assert_snapshot!(format!("help_{verb}"), home.ok(&[verb, "--help"]));
    }
}

#[test]
fn help_of_each_way_to_handle_keys() {
    let home = Home::bare();
    for what in [
        "generate", "import", "allow", "list", "export", "roles", "extend", "revoke", "sign", "remove",
    ] {
        insta::assert_snapshot!(format!("help_key_{what}"), home.ok(&["key", what, "--help"]));
    }
}

#[test]
fn help_of_each_way_to_look_after_repositories() {
    let home = Home::bare();
    for what in [
        "list", "show", "copy", "promote", "remove", "prune", "allow", "mirror", "check", "repair", "gc", "snapshot",
        "rollback", "import",
    ] {
        insta::assert_snapshot!(format!("help_repo_{what}"), home.ok(&["repo", what, "--help"]));
    }
}

#[test]
fn help_of_a_bot_has_its_own_options_and_those_of_the_host() {
    let home = Home::bare();
    let help = home.ok(&["load", &Home::guest("relay"), "--help"]);
    insta::assert_snapshot!(help.replace(&Home::guest("relay"), "[guests]/relay.wasm"));
}

#[test]
fn a_wrong_command_line_is_told_with_the_nearest_right_one() {
    let home = Home::bare();
    for (args, expected) in [
        (vec!["lsit"], "list"),
        (vec!["list", "--jsn"], "--json"),
        (vec!["load", "--allow-gti", "x", "./x.wasm"], "--allow-git"),
        (vec!["load", "--instances", "0", "./x.wasm"], "0 is not in 1..=65535"),
        (vec!["load", "--timeout", "soon", "./x.wasm"], "write 30, 90s, 5m or 1h"),
        (vec!["load", "--memory", "lots", "./x.wasm"], "write 64M or 1G"),
        (vec!["load"], "<BOT>"),
        (vec!["stop"], "<NAME>"),
        (
            vec!["key", "import", "--role", "builder", "x"],
            "messages, packages, repository",
        ),
    ] {
        let said = home.run(&args);
        assert_eq!(said.code, 2, "{args:?}: {}", said.err);
        assert!(said.err.contains(expected), "{args:?}: {}", said.err);
    }
}

#[test]
fn help_is_asked_for_in_either_order() {
    let home = Home::bare();
    for (asked, meant) in [
        (vec!["help"], vec!["--help"]),
        (vec!["help", "runs"], vec!["runs", "--help"]),
        (vec!["help", "key", "generate"], vec!["key", "generate", "--help"]),
        (vec!["help", "load", "buildbot"], vec!["load", "buildbot", "--help"]),
        (vec!["help", "buildbot"], vec!["load", "buildbot", "--help"]),
        (vec!["help", "help"], vec!["help", "--help"]),
    ] {
        assert_eq!(home.ok(&asked), home.ok(&meant), "{asked:?}");
    }
    let said = home.run(&["help", "rusn"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("'runs'"), "{}", said.err);
}

#[test]
fn completions_know_the_options_of_the_stock_bots() {
    let home = Home::bare();
    for shell in ["bash", "zsh", "fish"] {
        for (name, option) in [
            ("watchbot", "interval"),
            ("buildbot", "build-branch"),
            ("signbot", "sign-branch"),
            ("distbot", "codename"),
        ] {
            let script = home.ok(&["completions", shell, name]);
            for known in [name, option, "stop", "state"] {
                assert!(script.contains(known), "{shell} does not know {known} of {name}");
            }
        }
    }
    assert!(!home.state().exists(), "packaging writes to no state directory");
    assert_eq!(home.run(&["completions", "bash", "lintbot"]).code, 2);
}

#[test]
fn completions_know_the_verbs() {
    let home = Home::bare();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.ok(&["completions", shell]);
        for verb in VERBS {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn every_verb_has_a_manual_page() {
    let home = Home::bare();
    home.ok(&["man", "pages"]);
    for verb in VERBS {
        let page = std::fs::read_to_string(home.path().join(format!("pages/foundry-host-{verb}.1"))).unwrap();
        assert!(page.contains(".TH"), "{page}");
    }
    assert!(home.path().join("pages/foundry-host.1").exists());
    for (bot, option) in [
        ("watchbot", "interval"),
        ("buildbot", "build\\-branch"),
        ("signbot", "sign\\-branch"),
        ("distbot", "codename"),
    ] {
        let page = std::fs::read_to_string(home.path().join(format!("pages/{bot}.1"))).unwrap();
        assert!(page.contains(&format!("\\-\\-{option}")), "{page}");
    }
    let configuration = std::fs::read_to_string(home.path().join("pages/foundry.toml.5")).unwrap();
    assert!(
        configuration.contains(".SH [broker]\n.TP\n\\fBlisten\\fR = address\n"),
        "{configuration}"
    );
    assert!(!home.state().exists(), "packaging writes to no state directory");
}

#[test]
fn examples_of_manual_pages_keep_their_lines() {
    let home = Home::bare();
    home.ok(&["man", "pages"]);
    let shown = std::process::Command::new("man")
        .args(["--local-file", "pages/foundry-host-runs.1"])
        .env("MANWIDTH", "60")
        .env("LC_ALL", "C.UTF-8")
        .env("MANPAGER", "cat")
        .current_dir(home.path())
        .output();
    let page = std::fs::read_to_string(home.path().join("pages/foundry-host-runs.1")).unwrap();
    let (_, examples) = page.split_once(".SH EXAMPLES\n.nf\n").expect("a section of examples");
    assert!(!page.contains("EXTRA"), "{page}");
    assert!(
        examples.starts_with("foundry\\-host runs\nfoundry\\-host runs 3f2a91 "),
        "{page}"
    );
    // man is not a part of every system.
    let Ok(shown) = shown else { return };
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = "git push && foundry-host runs --wait \"$(git rev-parse HEAD)\"";
    assert!(shown.lines().any(|shown| shown.trim() == line), "{shown}");
}

#[test]
fn a_pipe_that_nobody_reads_is_no_error() {
    let home = Home::bare();
    let mut running = home.start(&["completions", "bash"]);
    drop(running.child.stdout.take());
    assert_eq!(running.end().0, 0);
}
