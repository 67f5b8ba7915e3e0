//! Rights, digests, and reloads.

use super::home::{Home, load};

#[test]
fn the_rights_in_force_are_what_was_granted() {
    let home = Home::new();
    let guest = Home::guest("hostile");
    let hooks = "https://hooks.example.org/*";
    home.ok(&load(&[
        &guest,
        "--allow-artifacts",
        "--allow-http",
        hooks,
        "--memory",
        "64M",
    ]));
    let grants = home.json(&["grants", "hostile"]);
    assert_eq!(grants["grants"]["artifacts"], true);
    assert_eq!(grants["grants"]["http"][0], hooks);
    assert_eq!(grants["grants"]["build"], false);
    assert_eq!(grants["memory"], 64 * 1024 * 1024);
    assert_eq!(grants["reads"][0], "hostile-in");
    let text = home.ok(&["grants", "hostile"]);
    assert!(text.contains(&format!("http        {hooks}\n")), "{text}");
    assert!(text.contains("publishes   hostile-out\n"), "{text}");
    assert_eq!(home.run(&["grants", "nobody"]).code, 4);
    let said = home.run(&load(&[&guest, "--allow-http", "hooks.example.org"]));
    assert_eq!(said.code, 2);
    assert!(said.err.contains("https://"), "{said:?}");
}

#[test]
fn another_component_than_the_pinned_one_is_refused() {
    let home = Home::new();
    let guest = Home::guest("relay");
    let digest = home.json(&["inspect", &guest])["sha256"].as_str().unwrap().to_owned();
    home.ok(&load(&[&guest, "--digest", &format!("sha256:{digest}")]));
    assert_eq!(home.json(&["grants", "relay"])["digest"], format!("sha256:{digest}"));
    let said = home.run(&load(&[&Home::guest("noop"), "--digest", &digest]));
    assert_eq!(said.code, 5);
    assert!(said.err.contains(&format!("not sha256:{digest}")), "{said:?}");
    assert_eq!(home.run(&load(&[&guest, "--digest", "sha256:1234"])).code, 2);
}

#[test]
fn a_watched_bot_is_replaced_when_its_file_changes_and_kept_when_the_build_is_broken() {
    let home = Home::new();
    let copy = |guest: &str| {
        // As builds do it: whole, by a rename.
        std::fs::copy(Home::guest(guest), home.path().join("new.wasm")).unwrap();
        std::fs::rename(home.path().join("new.wasm"), home.path().join("bot.wasm")).unwrap();
    };
    let component = || home.json(&["list"])[0]["component"].as_str().unwrap().to_owned();
    copy("relay");
    let watch = home.start(&load(&[
        "--watch",
        "--allow-http",
        "https://granted.example/*",
        "--without",
        "mail",
        "./bot.wasm",
        "--as",
        "mine",
    ]));
    watch.read_until("loaded mine 0.1.0");
    assert_eq!(component(), "relay");

    home.write("bot.wasm", "this is no component");
    let said = watch.read_until("goes on as it was");
    assert!(said.contains("not a WebAssembly component"), "{said}");
    copy("greedy");
    let said = watch.read_until("goes on as it was");
    assert!(
        said.contains("foundry:bot/signing@0.1.1, which is not granted"),
        "{said}"
    );
    assert_eq!(component(), "relay");

    copy("conformer");
    watch.read_until("loaded mine 1.2.3");
    assert_eq!(component(), "conformer");
    assert_eq!(home.json(&["list"]).as_array().unwrap().len(), 1);
}
