//! Grants of topics, from a new author's first `load` to the upgrade of a host whose bots had none.

use serde_json::json;

use super::home::Home;

/// A line of output that has to be there.
fn line_with<'t>(text: &'t str, what: &str) -> &'t str {
    let found = text.lines().find(|line| line.contains(what));
    found.unwrap_or_else(|| panic!("no line has {what:?}:\n{text}"))
}

#[test]
fn a_refusal_names_all_that_is_missing_with_a_command_that_does_it() {
    let home = Home::new();
    let hostile = Home::guest("hostile");
    let said = home.run(&["load", &hostile, "--as", "evil", "--publish-to", "signs"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert_eq!(
        said.err,
        format!(
            "foundry-host: cannot load evil: it imports foundry:bot/artifacts@0.1.1, reads hostile-in and publishes on signs, \
             which is not granted (add --allow-artifacts --allow-read hostile-in --allow-publish signs)\n\
             This would do:\n  \
             foundry-host load {hostile} --as evil --publish-to signs --allow-artifacts --allow-read hostile-in \
             --allow-publish signs\n"
        )
    );
    assert_eq!(home.run(&["status"]).code, 3, "no host is started for nothing");

    let command = said.err.lines().last().unwrap().trim();
    let words: Vec<_> = command.split(' ').skip(1).collect();
    home.ok(&words);
    let text = home.ok(&["grants", "evil"]);
    for row in [
        "group       evil",
        "reads       hostile-in",
        "publishes   signs",
        "publishes   failures",
    ] {
        line_with(&text, row);
    }
    line_with(&text, "may read    hostile-in");
    line_with(&text, "may publish signs");
    let json = home.json(&["grants", "evil"]);
    assert_eq!(json["grants"]["read"], json!(["hostile-in"]));
    assert_eq!(json["grants"]["publish"], json!(["signs"]));
}

#[test]
fn a_bot_that_gets_a_group_of_its_own_says_so_when_it_is_loaded() {
    let home = Home::new();
    let relay = Home::guest("relay");
    let grants = ["--allow-read", "relay-in", "--allow-publish", "relay-out"];
    let said = home.run(&[&["load", &relay, "--as", "second"], grants.as_slice()].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.err.contains(
            "note: second: it reads relay-in in a group of its own, second, since relay is not its own: to share the messages \
             of relay it needs --allow-read relay-in@relay\n"
        ),
        "{said:?}"
    );
    assert_eq!(home.json(&["list"])[0]["group"], "second");
}

#[test]
fn a_grant_that_could_reach_nothing_is_refused() {
    let home = Home::bare();
    let relay = Home::guest("relay");
    for (flag, grant, why) in [
        ("--allow-publish", "logs/#", "no grant reaches them"),
        ("--allow-read", "peers/x", "no grant reaches them"),
        ("--allow-read", "a#", "`#` for all that are left"),
        ("--allow-publish", "builds:", "one whole type of events"),
    ] {
        let said = home.run(&["load", &relay, flag, grant]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
    }
}

#[test]
fn inspect_and_test_say_which_grants_a_bot_will_need() {
    let home = Home::bare();
    let relay = Home::guest("relay");
    let shown = home.ok(&["inspect", &relay]);
    line_with(&shown, "reads relay-in  needs --allow-read relay-in");
    line_with(&shown, "publishes on relay-out  needs --allow-publish relay-out");
    assert_eq!(
        home.json(&["inspect", &relay])["needs"],
        json!(["--allow-read relay-in", "--allow-publish relay-out"])
    );
    assert_eq!(home.json(&["inspect", "buildbot"])["needs"], json!([]));

    // A trial publishes nothing, so it needs no grant.
    home.write(
        "event.json",
        &json!({ "type": "test.hello.v1", "data": {} }).to_string(),
    );
    let said = home.run(&["test", "--event", "event.json", &relay]);
    assert_eq!(said.code, 0, "{said:?}");
    line_with(
        &said.err,
        "to be loaded it needs --allow-read relay-in --allow-publish relay-out",
    );
    let granted = ["--allow-read", "relay-in", "--allow-publish", "#"];
    let said = home.run(&[&["test", "--event", "event.json", &relay], granted.as_slice()].concat());
    assert!(!said.err.contains("needs"), "{said:?}");
}

#[test]
fn a_trial_names_the_pipelines_types_that_a_bot_published() {
    let home = Home::bare();
    let data = json!({ "stage": "sign", "reason": "because" });
    let order = json!({ "do": "publish", "topic": "failures", "type": "foundry.failure.v1", "data": data });
    home.write(
        "order.json",
        &json!({ "type": "test.order.v1", "data": order }).to_string(),
    );
    let hostile = Home::guest("hostile");
    let report = home.json(&["test", "--event", "order.json", "--allow-artifacts", &hostile]);
    assert_eq!(report["outcome"], "done", "{report}");
    assert_eq!(
        report["needs"],
        json!([
            "--allow-read hostile-in",
            "--allow-publish hostile-out",
            "--allow-publish failures:foundry.failure.v1"
        ])
    );
}

#[test]
fn a_configuration_without_the_grants_does_not_start_and_says_what_to_write() {
    let home = Home::bare();
    let relay = Home::guest("relay");
    home.write(
        "foundry.toml",
        &format!("[broker]\nlisten = \"127.0.0.1:0\"\n[bots.old]\nuse = \"{relay}\"\ngrants.read = [\"x\"]\n"),
    );
    let expected = "foundry.toml:3: bots.old.grants: the component reads relay-in, publishes on relay-out, which is not granted \
                    (write grants.read = [\"x\", \"relay-in\"], grants.publish = [\"relay-out\"])";
    let checked = home.run(&["check", "-c", "foundry.toml"]);
    assert_eq!(checked.code, 2);
    line_with(&checked.out, expected);
    let said = home.run(&["run", "-c", "foundry.toml"]);
    assert_eq!(said.code, 2, "{said:?}");
    line_with(&said.err, expected);
}

/// A bot as hosts kept it before topics were grants.
fn kept_before(home: &Home, name: &str, guest: &str) {
    std::fs::create_dir_all(home.state().join("bots")).unwrap();
    let text = include_str!("kept-0.1.json").replace("COMPONENT", &Home::guest(guest));
    std::fs::write(home.state().join(format!("bots/{name}.json")), text).unwrap();
}

#[test]
fn a_bot_that_was_kept_before_topics_were_grants_is_named_by_check_and_absent_at_the_start() {
    let home = Home::new();
    kept_before(&home, "old", "relay");
    let again = format!(
        "foundry-host load {} --as old --memory 67108864 --allow-git 'https://example.org/*' --first 0 \
         --allow-read relay-in --allow-publish relay-out",
        Home::guest("relay")
    );
    let why = "cannot load old: it reads relay-in and publishes on relay-out, which is not granted";
    let checked = home.run(&["check"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    let line = line_with(&checked.out, "bots/old.json");
    assert!(line.contains(why) && line.contains(&again), "{line}");

    let host = home.start(&["run"]);
    let said = host.read_until("is ready");
    assert!(line_with(&said, "not loaded again").contains(&again), "{said}");
    let bots = home.json(&["list"]);
    assert_eq!(bots[0]["status"], "absent");
    assert!(bots[0]["detail"].as_str().unwrap().contains(&again), "{bots}");

    // What it says is what does it.
    let words = again.replace('\'', "");
    home.ok(&words.split(' ').skip(1).collect::<Vec<_>>());
    let bots = home.json(&["list"]);
    assert_eq!(
        (bots.as_array().unwrap().len(), &bots[0]["status"]),
        (1, &"running".into())
    );
    assert_eq!(home.run(&["check"]).code, 0);
}

#[test]
fn a_bot_that_was_kept_with_a_grant_that_means_hosts_of_others_is_named_by_check_and_at_the_start() {
    let home = Home::new();
    kept_before(&home, "old", "noop");
    let file = home.state().join("bots/old.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("https://example.org/*", "https://example.org*")).unwrap();
    let checked = home.run(&["check"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    let why = "\"example.org*\" would match hosts of others too: write example.org, or *.example.org";
    assert!(line_with(&checked.out, "bots/old.json").contains(why), "{checked:?}");
    let host = home.start(&["run"]);
    let said = host.read_until("is ready");
    assert!(
        line_with(&said, "bots/old.json").contains("remove it, and load the bot again"),
        "{said}"
    );
}
