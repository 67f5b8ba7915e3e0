//! What an author of bots does before there is a host.

use serde_json::json;

use super::home::Home;

#[test]
fn a_bot_is_tested_in_a_world_of_its_own() {
    let home = Home::bare();
    let event = json!({ "type": "test.hello.v1", "data": { "n": 1 } }).to_string();
    home.write("event.json", &event);
    home.write("state.json", r#"{ "seen": "41" }"#);
    let relay = Home::guest("relay");
    let report = home.json(&["test", "--event", "event.json", "--with-state", "state.json", &relay]);
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["published"][0]["topic"], "relay-out");
    assert_eq!(report["published"][0]["data"], json!({ "n": 1 }));
    assert_eq!(report["state"], json!({ "seen": "42" }));
    // Nothing was kept, and no host was started.
    let again = home.json(&["test", "--event", "event.json", &relay]);
    assert_eq!(again["state"], json!({ "seen": "1" }));
    assert_eq!(home.run(&["status"]).code, 3);
}

#[test]
fn a_tick_is_tested_with_the_bots_options() {
    let home = Home::bare();
    let out = home.ok(&["test", "--tick", "start", &Home::guest("relay"), "--first", "2"]);
    assert_eq!(out.matches("published  relay-out  test.relay.v1").count(), 2, "{out}");
    assert!(out.ends_with("outcome    done\n"), "{out}");
}

#[test]
fn the_exit_code_tells_the_outcome() {
    let home = Home::bare();
    let hostile = Home::guest("hostile");
    let test = |what: &str, attempt: &str| {
        home.write(
            "order.json",
            &json!({ "type": "test.order.v1", "data": { "do": what } }).to_string(),
        );
        let mut arguments = vec![
            "test",
            "--event",
            "order.json",
            "--attempt",
            attempt,
            "--allow-artifacts",
        ];
        // What never ends is ended by the limit, however long that is; the others end by themselves, on a busy machine as well.
        if what == "loop" {
            arguments.extend(["--timeout", "1s"]);
        }
        arguments.push(&hostile);
        home.run(&arguments)
    };
    assert_eq!(test("done", "0").code, 0);
    assert_eq!(test("write, then retry", "0").code, 7);
    assert_eq!(test("write, then retry", "1").code, 0);
    for (what, code) in [
        ("panic", 9),
        ("loop", 9),
        ("memory", 9),
        ("recurse", 9),
        ("flood", 0),
        ("other topic", 8),
        ("big state", 8),
        ("big event", 8),
    ] {
        let said = test(what, "0");
        assert_eq!(
            said.code,
            code,
            "{what}: {}",
            said.out.lines().last().unwrap_or_default()
        );
    }
    let rejected = test("dance", "0");
    assert_eq!(rejected.code, 8);
    assert!(rejected.out.contains("reject: don't know how to"), "{rejected:?}");
    let fault = test("write, then panic", "0");
    assert_eq!(fault.code, 9);
    assert!(fault.out.contains("after its effects"), "{fault:?}");
    // What it wrote and published before it trapped is not there.
    assert!(
        !fault.out.contains("published") && !fault.out.contains("state"),
        "{fault:?}"
    );
}

#[test]
fn rights_are_as_real_in_a_test_as_in_a_host() {
    let home = Home::bare();
    home.write("event.json", r#"{ "type": "test.order.v1" }"#);
    let said = home.run(&["test", "--event", "event.json", &Home::guest("greedy")]);
    assert_eq!(said.code, 5);
    assert!(said.err.contains("--allow-sign KEYID"), "{said:?}");
}

#[test]
fn an_event_that_no_host_would_deliver_is_refused() {
    let home = Home::bare();
    home.write(
        "event.json",
        r#"{ "type": "foundry.commit.v1", "data": { "branch": 7 } }"#,
    );
    let relay = Home::guest("relay");
    let said = home.run(&["test", "--event", "event.json", &relay]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("foundry.commit.v1"), "{said:?}");
    assert_eq!(home.run(&["test", "--event", "nowhere.json", &relay]).code, 4);
}

#[test]
fn a_new_project_is_whole_and_nothing_is_overwritten() {
    let home = Home::bare();
    for language in ["rust", "python", "javascript", "typescript", "c"] {
        let name = format!("greet-{language}");
        let made = home.json(&["new", "--lang", language, &name]);
        for file in made["files"].as_array().unwrap() {
            let text = std::fs::read_to_string(home.path().join(&name).join(file.as_str().unwrap())).unwrap();
            assert!(!text.contains("{{name}}"), "{file} of {language} has a placeholder");
        }
        let manifest = std::fs::read_to_string(home.path().join(&name).join("bot.toml")).unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{manifest}");
        assert!(home.path().join(&name).join("wit/world.wit").is_file());
        assert_eq!(home.run(&["new", "--lang", language, &name]).code, 6);
    }
    let said = home.run(&["new", "--lang", "rust", "Not a name"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("lower-case letters"), "{said:?}");
}

#[test]
fn a_build_says_which_tool_is_missing_and_how_to_get_it() {
    let home = Home::bare();
    for (language, tool, remedy) in [
        ("python", "componentize-py is missing", "pip install componentize-py"),
        ("javascript", "rolldown is missing", "npm install"),
        (
            "c",
            "zig, which compiles C to WebAssembly, is missing",
            "pip install ziglang",
        ),
        ("rust", "cargo is missing", "https://rustup.rs"),
    ] {
        home.ok(&["new", "--lang", language, language]);
        let mut command = home.command(&["build", language]);
        let output = command.env("PATH", home.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains(tool) && said.contains(remedy), "{said}");
    }
    let said = home.run(&["build"]);
    assert_eq!(said.code, 4);
    assert!(said.err.contains("foundry-host new"), "{said:?}");
}
