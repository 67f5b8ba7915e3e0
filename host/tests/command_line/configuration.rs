//! `check`, and configurations that a host does not start with.

use super::home::Home;

#[test]
fn broken_foundry_toml_names_file_key_and_remedy() {
    let home = Home::bare();
    home.write(
        "foundry.toml",
        "[broker]\nlisten = \"127.0.0.1:0\"\n[messages]\nmax-agee = \"1d\"\n",
    );
    let said = home.run(&["run", "-c", "foundry.toml"]);
    assert_eq!(said.code, 2);
    assert_eq!(
        said.err,
        "foundry-host: cannot use foundry.toml:\n  \
         foundry.toml:4: messages.max-agee: there is no such setting (did you mean `max-age`?)\n"
    );
    let said = home.run(&["check", "-c", "foundry.toml"]);
    assert_eq!(said.code, 2);
    assert!(
        said.out.starts_with("foundry.toml:4: messages.max-agee: "),
        "{}",
        said.out
    );
}

#[test]
fn check_finds_what_would_fail_later() {
    let home = Home::bare();
    home.ok(&["key", "generate", "--role", "messages", "--user-id", "host"]);
    let relay = Home::guest("relay");
    let greedy = Home::guest("greedy");
    let text = format!(
        r#"[messages]
key = "nobody@example.org"
[broker]
listen = "127.0.0.1:0"
[bots.typo]
use = "{relay}"
frist = 3
[bots.form]
use = "{relay}"
start = "soon"
[bots.list]
use = "{relay}"
first = [1, 2]
[bots.greedy]
use = "{greedy}"
[bots.missing]
use = "./missing.wasm"
[bots.grants]
use = "{greedy}"
grants.sign = ["host"]
grants.read = ["greedy-in"]
grants.site = ["./foundry.toml/site"]
grants.files = ["nothing.gpg"]
"#
    );
    home.write("foundry.toml", &text);
    let said = home.run(&["check", "-c", "foundry.toml"]);
    assert_eq!(said.code, 2);
    let key = home.json(&["key", "list"])[0]["fingerprint"]
        .as_str()
        .unwrap()
        .to_owned();
    insta::assert_snapshot!(home.redacted(&said.out).replace(&key, "[fingerprint]"));
    let json: serde_json::Value =
        serde_json::from_str(&home.run(&["check", "-c", "foundry.toml", "--json"]).out).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), said.out.lines().count());
    assert_eq!(json["problems"][0]["file"], "foundry.toml");
}

#[test]
fn check_tells_of_a_distbot_that_believes_the_keys_of_other_repositories() {
    let home = Home::bare();
    for (role, name) in [("packages", "one"), ("packages", "two"), ("repository", "archive")] {
        home.ok(&["key", "generate", "--role", role, "--user-id", name]);
    }
    let distbot = |name: &str, more: &str| {
        format!(
            "[bots.{name}]\nuse = \"distbot\"\nname = \"{name}\"\noutput = \"{name}\"\narch = \"amd64\"\n\
             gpg-key = \"archive\"\ndescription = \"Packages\"\n{more}"
        )
    };
    let told = |bots: &[String]| {
        home.write(
            "foundry.toml",
            &format!("[broker]\nlisten = \"127.0.0.1:0\"\n{}", bots.concat()),
        );
        let checked = home.json(&["check", "-c", "foundry.toml"]);
        let problems = checked["problems"].as_array().unwrap().clone();
        let is_of_keys = |problem: &serde_json::Value| problem["key"].as_str().unwrap().ends_with(".packages-key");
        problems.into_iter().filter(is_of_keys).collect::<Vec<_>>()
    };
    assert_eq!(told(&[distbot("a", "")]), Vec::<serde_json::Value>::new());
    let told = told(&[distbot("a", ""), distbot("b", "packages-key = \"two\"\n")]);
    assert_eq!(told.len(), 1, "{told:?}");
    let (key, line) = (&told[0]["key"], &told[0]["line"]);
    assert_eq!((key.as_str(), line.as_u64()), (Some("bots.a.packages-key"), Some(3)));
    assert_eq!(told[0]["severity"], "warning");
    let said = told[0].to_string();
    for words in ["one", "two", "--packages-key KEY"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn check_of_a_good_configuration_runs_nothing() {
    let home = Home::bare();
    let config = format!(
        "[broker]\nlisten = \"127.0.0.1:0\"\n[bots.a]\nuse = \"{}\"\nfirst = 1\n\
         grants.read = [\"relay-in\"]\ngrants.publish = [\"relay-out\"]\n",
        Home::guest("relay")
    );
    home.write("foundry.toml", &config);
    let said = home.run(&["check", "-c", "foundry.toml"]);
    assert_eq!(
        (said.code, said.err.as_str(), said.out.as_str()),
        (0, "all right: 1 bot\n", "")
    );
    assert!(!home.state().join("ledger.sqlite").exists());
}

#[test]
fn a_taken_port_is_only_a_warning_of_check() {
    let home = Home::bare();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    home.write("foundry.toml", &format!("[broker]\nlisten = \"{address}\"\n"));
    let said = home.run(&["check", "-c", "foundry.toml"]);
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(
        said.out.contains("foundry.toml:2: warning: broker.listen"),
        "{}",
        said.out
    );
}

#[test]
fn the_bots_of_a_configuration_run_with_their_names_and_options() {
    let home = Home::bare();
    let guest = Home::guest("relay");
    std::fs::copy(guest, home.path().join("relay.wasm")).unwrap();
    let config = "[host]\nname = \"h\"\n[broker]\nlisten = \"127.0.0.1:0\"\n\
                  [bots.first]\nuse = \"./relay.wasm\"\nfirst = 1\npublish-to = \"middle\"\n\
                  grants.read = [\"relay-in\"]\ngrants.publish = [\"middle\"]\n\
                  [bots.second]\nuse = \"./relay.wasm\"\nwatch = \"middle\"\ninstances = 2\n\
                  grants.read = [\"middle@relay\"]\ngrants.publish = [\"relay-out\"]\n";
    home.write("foundry.toml", config);
    let host = home.start(&["run", "-c", "foundry.toml"]);
    let said = host.read_until("is ready");
    assert!(said.contains("h is ready with 2 bots"), "{said}");
    // Second reads what first publishes, so it is there before the first message.
    let position = |name: &str| said.find(&format!("loaded bot=\"{name}\"")).unwrap();
    assert!(position("second") < position("first"), "{said}");
    super::home::eventually("the message has come through", || {
        home.ok(&["list"])
            .lines()
            .any(|line| line.starts_with("second") && line.contains("  2 "))
    });
    // What the configuration has comes back even when it was stopped by hand.
    home.ok(&["stop", "first"]);
    assert_eq!(home.json(&["list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_bot_that_cannot_be_loaded_keeps_the_host_from_starting() {
    let home = Home::bare();
    let config = format!(
        "[broker]\nlisten = \"127.0.0.1:0\"\n[bots.g]\nuse = \"{}\"\n",
        Home::guest("greedy")
    );
    home.write("foundry.toml", &config);
    let said = home.run(&["run", "-c", "foundry.toml"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(
        said.err.contains("foundry.toml:3: bots.g.grants: ") && said.err.contains("grants.sign"),
        "{}",
        said.err
    );
}

#[test]
fn a_missing_key_is_told_at_the_start() {
    let home = Home::bare();
    home.write(
        "foundry.toml",
        "[messages]\nkey = \"nobody@example.org\"\n[broker]\nlisten = \"127.0.0.1:0\"\n",
    );
    let said = home.run(&["run", "-c", "foundry.toml"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("nobody@example.org"), "{}", said.err);
}

#[test]
fn an_expired_key_is_told_by_check_and_at_the_start() {
    let home = Home::bare();
    home.ok(&[
        "key",
        "generate",
        "--role",
        "messages",
        "--user-id",
        "old",
        "--expires-in",
        "1s",
    ]);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    home.write(
        "foundry.toml",
        "[messages]\nkey = \"old\"\n[broker]\nlisten = \"127.0.0.1:0\"\n",
    );
    for verb in ["check", "run"] {
        let said = home.run(&[verb, "-c", "foundry.toml"]);
        assert_ne!(said.code, 0);
        assert!(format!("{}{}", said.out, said.err).contains("expired"), "{said:?}");
    }
}
