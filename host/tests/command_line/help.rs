//! What the program says of itself.

use super::home::Home;

const VERBS: [&str; 22] = [
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
    "hash-password",
    "completions",
    "man",
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
        "generate", "import", "list", "export", "roles", "extend", "revoke", "sign", "remove",
    ] {
        insta::assert_snapshot!(format!("help_key_{what}"), home.ok(&["key", what, "--help"]));
    }
}

#[test]
fn help_of_each_way_to_look_after_repositories() {
    let home = Home::bare();
    for what in [
        "list", "show", "copy", "promote", "remove", "prune", "mirror", "check", "repair", "gc", "snapshot",
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
}

#[test]
fn a_pipe_that_nobody_reads_is_no_error() {
    let home = Home::bare();
    let mut running = home.start(&["completions", "bash"]);
    drop(running.child.stdout.take());
    assert_eq!(running.end().0, 0);
}
