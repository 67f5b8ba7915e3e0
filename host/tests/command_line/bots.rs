//! `load`, `stop` and `inspect`: what can go wrong, and what it looks like.

use super::home::{Home, load};

#[test]
fn a_name_can_be_taken_once() {
    let home = Home::new();
    let guest = Home::guest("noop");
    home.ok(&load(&[&guest, "--as", "mine"]));
    let said = home.run(&load(&["--as", "mine", &guest]));
    assert_eq!(said.code, 6);
    assert!(said.err.contains("--as"), "{}", said.err);
    assert_eq!(home.run(&load(&[&guest, "--as", "../mine"])).code, 2);
}

#[test]
fn a_stock_bot_can_be_loaded_twice_and_says_that_it_is_the_second_one() {
    let home = Home::new();
    let first = home.run(&["load", "buildbot"]);
    assert!(first.err.ends_with("\nloaded buildbot\n"), "{}", first.err);
    let second = home.run(&["load", "buildbot"]);
    assert_eq!(second.code, 0, "{}", second.err);
    assert_eq!(
        second.err,
        "loaded buildbot-2 (group pub/buildbot), beside buildbot, which is loaded already\n"
    );
}

#[test]
fn a_component_that_is_loaded_already_is_refused_with_what_can_be_done() {
    let home = Home::new();
    let guest = Home::guest("noop");
    home.ok(&load(&[&guest]));
    let said = home.run(&load(&[&guest]));
    assert_eq!(said.code, 6, "{}", said.err);
    assert_eq!(
        said.err,
        "foundry-host: noop is loaded already (load a second one under a name of its own with --as NAME; load this one in \
         its place with --replace, or now and after each build with --watch; or stop it with `foundry-host stop noop`)\n"
    );
    home.ok(&load(&[&guest, "--as", "noop-too"]));
    let names = || -> Vec<String> {
        let bots = home.json(&["list"]);
        let bots = bots.as_array().unwrap();
        bots.iter().map(|bot| bot["bot"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(), ["noop", "noop-too"]);
    // Each remedy does what it says.
    let said = home.run(&load(&[&guest, "--replace"]));
    assert_eq!((said.code, said.err.as_str()), (0, "loaded noop\n"));
    let said = home.run(&load(&["--replace", "--as", "noop-too", &guest]));
    assert_eq!((said.code, said.err.as_str()), (0, "loaded noop-too\n"));
    assert_eq!(names(), ["noop", "noop-too"]);
    home.ok(&["stop", "noop"]);
    home.ok(&load(&[&guest]));
    assert_eq!(names(), ["noop", "noop-too"]);
}

#[test]
fn what_is_not_granted_is_named_with_the_option_that_grants_it() {
    let home = Home::new();
    let guest = Home::guest("greedy");
    let said = home.run(&load(&[&guest]));
    assert_eq!(said.code, 5);
    assert!(
        said.err.contains("foundry:bot/signing@0.1.1") && said.err.contains("--allow-sign KEYID"),
        "{}",
        said.err
    );
    home.ok(&load(&[&guest, "--allow-sign", "0123456789abcdef"]));
}

#[test]
fn a_core_module_is_loaded_as_the_compiler_made_it() {
    let home = Home::new();
    let module = std::fs::read(Home::guest("noop")).unwrap();
    assert!(foundry_componentize::is_core_module(&module));
    let component = foundry_componentize::component(&module).unwrap();
    for (name, bytes) in [("module.wasm", &module[..]), ("component.wasm", &component)] {
        std::fs::write(home.path().join(name), bytes).unwrap();
        let file = format!("./{name}");
        let known = home.json(&["inspect", &file]);
        assert_eq!(known["name"], "noop");
        // The file's own digest, whichever it is: what is pinned and signed is the file.
        let digest = known["sha256"].as_str().unwrap();
        assert_eq!(digest, sha256_of(&home.path().join(name)));
        home.ok(&load(&[&file, "--as", &name.replace('.', "-"), "--digest", digest]));
    }
}

fn sha256_of(path: &std::path::Path) -> String {
    let said = std::process::Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(said.stdout)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn a_core_module_without_a_world_is_refused_with_the_reason() {
    let home = Home::new();
    std::fs::write(home.path().join("bare.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let said = home.run(&["load", "./bare.wasm"]);
    assert_eq!(said.code, 5, "{}", said.err);
    assert!(
        said.err.contains("core module that does not say which world it is of") && said.err.contains("Foundry SDK"),
        "{}",
        said.err
    );
}

#[test]
fn what_is_no_bot_is_refused() {
    let home = Home::new();
    home.write("text.wasm", "hello");
    let said = home.run(&["load", "./text.wasm"]);
    assert_eq!(said.code, 5, "{}", said.err);
    assert!(
        said.err.contains("text.wasm is not a WebAssembly component"),
        "{}",
        said.err
    );
    let said = home.run(&["load", "./nothing.wasm"]);
    assert_eq!(said.code, 4, "{}", said.err);
    let said = home.run(&["load", "lintbot"]);
    assert_eq!(said.code, 4, "{}", said.err);
    assert!(
        said.err.contains("there is no stock bot \"lintbot\"") && said.err.contains("./lintbot.wasm"),
        "{}",
        said.err
    );
}

#[test]
fn stopping_an_unknown_bot_is_an_error_and_does_not_hang() {
    let home = Home::new();
    let _host = home.host(&[]);
    home.ok(&load(&[&Home::guest("noop")]));
    let said = home.run(&["stop", "nobody", "noop"]);
    assert_eq!(said.code, 4);
    assert!(said.err.contains("no bot named nobody"), "{}", said.err);
    assert!(
        said.err.contains("stopped noop"),
        "the others are stopped all the same: {}",
        said.err
    );
    assert_eq!(home.run(&["stop", "noop"]).code, 4);
}

#[test]
fn the_list_has_counters_of_its_own_bots() {
    let home = Home::new();
    let _host = home.host(&[]);
    home.ok(&load(&[&Home::guest("relay"), "--endpoint", "pub/x"]));
    super::home::eventually("its first tick is done", || {
        home.json(&["list"])[0]["local"]["handled"] == 1
    });
    let shown = home.ok(&["list"]);
    let columns = |line: usize| {
        shown
            .lines()
            .nth(line)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        columns(0).join(" "),
        "NAME BOT HOST STATUS GROUP READS PUBLISHES DONE FAILED IN HAND AGE"
    );
    assert_eq!(
        columns(1)[..10],
        [
            "relay",
            "relay",
            "here",
            "running",
            "pub/x",
            "relay-in",
            "relay-out",
            "1",
            "0",
            "0"
        ]
    );
}

#[test]
fn inspect_says_what_a_bot_is_and_what_it_needs() {
    let home = Home::new();
    let shown = home.ok(&["inspect", &Home::guest("greedy")]);
    let known: Vec<_> = shown
        .lines()
        .filter(|line| !line.starts_with("size") && !line.starts_with("sha256"))
        .collect();
    insta::assert_snapshot!(known.join("\n"), @r"
    name      greedy
    version   0.1.0
    summary   wants to sign
    contract  foundry:bot@0.1.1
    reads     greedy-in (--watch) as greedy (--endpoint)
    rights it asks for
      foundry:bot/log@0.1.1  every bot has it
      foundry:bot/signing@0.1.1  needs --allow-sign KEYID
      foundry:bot/types@0.1.1  types only
      reads greedy-in  needs --allow-read greedy-in
    ");
    let json = home.json(&["inspect", &Home::guest("relay")]);
    assert_eq!(json["options"][0]["name"], "start");
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
}
