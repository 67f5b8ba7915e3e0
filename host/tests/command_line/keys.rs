//! `key`: OpenPGP keys by hand.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use super::home::Home;

#[test]
fn generate_makes_the_keys_that_are_missing() {
    let home = Home::bare();
    let made = home.json(&["key", "generate"]);
    let roles: Vec<_> = made
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["roles"][0].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["messages", "packages", "repository"]);
    assert!(home.json(&["key", "generate"]).as_array().unwrap().is_empty());
    let shown = home.ok(&["key", "list"]);
    assert!(
        shown.starts_with("FINGERPRINT ") && shown.contains("Foundry (packages)"),
        "{shown}"
    );
}

#[test]
fn a_key_has_the_user_id_kind_and_expiry_that_were_asked_for() {
    let home = Home::bare();
    let args = [
        "key",
        "generate",
        "--role",
        "packages",
        "--user-id",
        "Me <me@example.org>",
        "--expires-in",
        "30d",
    ];
    let key = &home.json(&args)[0];
    assert_eq!(key["user_ids"][0], "Me <me@example.org>");
    assert!(key["expires"].is_string());
    let extended = home.json(&["key", "extend", "me@example.org"]);
    assert!(extended[0]["expires"].is_null());
    let roles = home.json(&["key", "roles", "me@example.org", "--role", "repository"]);
    assert_eq!(roles[0]["roles"][0], "repository");
    let revoked = home.json(&["key", "revoke", "me@example.org", "--reason", "retired"]);
    assert_eq!(revoked[0]["revoked"], true);
}

#[test]
fn a_secret_key_is_printed_only_when_it_is_asked_for() {
    let home = Home::bare();
    home.ok(&["key", "generate", "--role", "packages", "--user-id", "k"]);
    let public = home.ok(&["key", "export", "k"]);
    assert!(public.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"), "{public}");
    for args in [
        vec!["key", "list", "--json"],
        vec!["key", "list"],
        vec!["key", "export", "k"],
    ] {
        assert!(!home.ok(&args).contains("PRIVATE"));
    }
    home.ok(&["key", "export", "k", "--secret", "-o", "secret.asc"]);
    let path = home.path().join("secret.asc");
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .contains("BEGIN PGP PRIVATE KEY")
    );
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let said = home.run(&["key", "export", "k", "-o", "secret.asc"]);
    assert_eq!(said.code, 1, "it must not overwrite: {}", said.err);
}

#[test]
fn keys_go_from_one_host_to_another() {
    let (one, other) = (Home::bare(), Home::bare());
    one.ok(&["key", "generate", "--role", "messages", "--user-id", "one"]);
    let file = other.write("one.asc", &one.ok(&["key", "export", "one"]));
    let import = ["key", "import", "--role", "messages", file.to_str().unwrap()];
    let said = other.run(&import);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("--host NAME --may DUTY"), "{}", said.err);
    let imported = other.json(&[&import[..], &["--host", "one", "--may", "watch,sign"]].concat());
    assert_eq!(imported[0]["has_secret"], false);
    assert_eq!(
        (&imported[0]["host"], &imported[0]["may"]),
        (&json!("one"), &json!(["watch", "sign"]))
    );
    let changed = other.json(&[
        "key",
        "allow",
        "one",
        "--host",
        "uno",
        "--may",
        "head",
        "--may",
        "x.*@reports",
    ]);
    assert_eq!(changed[0]["may"], json!(["watch", "sign", "publish", "x.*@reports"]));
    let listed = other.ok(&["key", "list"]);
    assert!(listed.contains("uno   watch,sign,publish,x.*@reports"), "{listed}");
    assert_eq!(changed[0]["groups"], serde_json::Value::Null);
    assert!(listed.contains("watch,sign,publish,x.*@reports  any "), "{listed}");
    let bind = ["key", "allow", "one", "--host", "uno", "--may", "build"];
    let groups = ["--group", "pub/buildbot_i386", "--group", "pub/a"];
    let changed = other.json(&[&bind[..], &groups[..]].concat());
    assert_eq!(changed[0]["groups"], json!(["pub/a", "pub/buildbot_i386"]));
    let listed = other.ok(&["key", "list"]);
    assert!(listed.contains("uno   build  pub/a,pub/buildbot_i386  "), "{listed}");
    let said = other.run(&[&bind[..], &["--group", "a b"]].concat());
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("such as pub/buildbot_i386"), "{}", said.err);
    for wrong in ["rule", "", "watch,"] {
        let said = other.run(&["key", "allow", "one", "--host", "one", "--may", wrong]);
        assert_eq!(said.code, 2, "{wrong}: {}", said.err);
    }
    let said = other.run(&["key", "export", "one", "--secret"]);
    assert_eq!(said.code, 5, "{}", said.err);
}

#[test]
fn a_secret_messages_key_comes_in_only_as_the_hosts_own() {
    let (one, other) = (Home::bare(), Home::bare());
    one.ok(&["key", "generate", "--role", "messages", "--user-id", "one"]);
    let file = other.write("one.asc", &one.ok(&["key", "export", "one", "--secret"]));
    let import = ["key", "import", "--role", "messages", file.to_str().unwrap()];
    let said = other.run(&import);
    assert_eq!(said.code, 2, "{}", said.err);
    for remedy in ["`--own`", "`--host NAME --may DUTY`"] {
        assert!(said.err.contains(remedy), "{}", said.err);
    }
    // Of another host's key nothing but the public part is taken.
    let host = ["--host", "one", "--may", "build"];
    let imported = other.json(&[&import[..], &host].concat());
    assert_eq!(
        (&imported[0]["has_secret"], &imported[0]["host"]),
        (&json!(false), &json!("one"))
    );
    assert_eq!(other.run(&import).code, 2);
    for wrong in [
        [&import[..], &host, &["--own"]].concat(),
        vec!["key", "import", "--role", "packages", "--own", file.to_str().unwrap()],
    ] {
        assert_eq!(other.run(&wrong).code, 2, "{wrong:?}");
    }

    let moved = Home::bare();
    let file = moved.write("one.asc", &one.ok(&["key", "export", "one", "--secret"]));
    let import = ["key", "import", "--role", "messages", file.to_str().unwrap()];
    let imported = moved.json(&[&import[..], &["--own"]].concat());
    assert_eq!(imported[0]["has_secret"], true);
    // It is here as such, and comes again when it has changed.
    moved.ok(&import);
}

#[test]
fn a_farms_keys_go_to_another_host_in_one_file() {
    let (head, builder) = (Home::bare(), Home::bare());
    head.ok(&["key", "generate", "--role", "messages", "--user-id", "head"]);
    builder.ok(&["key", "generate", "--role", "messages", "--user-id", "builder"]);
    let said = head.run(&["key", "export", "--farm"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("key allow"), "{}", said.err);
    head.ok(&["key", "allow", "head", "--host", "head", "--may", "head"]);
    let key = head.write("builder.asc", &builder.ok(&["key", "export", "builder"]));
    let import = [
        "key", "import", "--role", "messages", "--host", "b1", "--may", "builder",
    ];
    head.ok(&[&import[..], &[key.to_str().unwrap()]].concat());
    let farm = builder.write("farm.json", &head.ok(&["key", "export", "--farm"]));
    let keys = builder.json(&["key", "import", "--farm", farm.to_str().unwrap()]);
    let mut keys: Vec<_> = keys
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (&key["host"], &key["may"]))
        .collect();
    keys.sort_by_key(|(host, _)| host.to_string());
    let head_may = json!(["watch", "sign", "publish"]);
    assert_eq!(keys, [(&json!("b1"), &json!(["build"])), (&json!("head"), &head_may)]);
    let said = builder.run(&["key", "import", "--farm", farm.to_str().unwrap(), "--role", "messages"]);
    assert_eq!(said.code, 2, "{}", said.err);
}

#[test]
fn a_key_from_before_keys_had_hosts_is_a_warning() {
    let (one, other) = (Home::bare(), Home::bare());
    one.ok(&["key", "generate", "--role", "messages", "--user-id", "one"]);
    let file = other.write("one.asc", &one.ok(&["key", "export", "one"]));
    let import = ["key", "import", "--role", "messages", "--host", "one", "--may", "all"];
    let key = other.json(&[&import[..], &[file.to_str().unwrap()]].concat());
    let fingerprint = key[0]["fingerprint"].as_str().unwrap();
    let metadata = other.path().join(format!("state/keys/{fingerprint}.json"));
    std::fs::write(metadata, r#"{"format": 1, "roles": ["messages"]}"#).unwrap();
    assert!(other.ok(&["key", "list"]).contains("nobody"));
    let config = other.write("foundry.toml", "");
    let said = other.run(&["check", "-c", config.to_str().unwrap()]);
    let text = format!("{}{}", said.out, said.err);
    assert_eq!(said.code, 0, "{text}");
    assert!(
        text.contains(&format!("foundry-host key allow {fingerprint} --host NAME --may DUTY")),
        "{text}"
    );
}

#[test]
fn a_builders_key_without_a_group_is_a_warning_where_builders_work_in_several() {
    let head = Home::bare();
    let import = |host: &str, groups: &[&str]| {
        let builder = Home::bare();
        builder.ok(&["key", "generate", "--role", "messages", "--user-id", host]);
        let file = head.write(&format!("{host}.asc"), &builder.ok(&["key", "export", host]));
        let import = ["key", "import", "--role", "messages", "--host", host, "--may", "build"];
        head.run(&[&import[..], groups, &[file.to_str().unwrap()]].concat())
    };
    let command = "--host b1 --may build --group GROUP`";
    let said = import("b1", &[]);
    assert!(said.code == 0 && !said.err.contains(command), "{}", said.err);
    let check = |expected: &[&str]| {
        let expected = format!("messages.expect = {expected:?}\n");
        let config = head.write("foundry.toml", &expected);
        let said = head.run(&["check", "-c", config.to_str().unwrap()]);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        said.out
    };
    let one = check(&["commits pub/a"]);
    assert!(!one.contains(command), "{one}");
    let two = check(&["commits pub/a", "commits pub/b"]);
    for part in [command, "(groups of builders: pub/a, pub/b)"] {
        assert!(two.contains(part), "{part}: {two}");
    }
    // The import that closes a group to the other key says so, and so does the list.
    let said = import("b2", &["--group", "pub/a"]);
    assert!(said.code == 0 && said.err.contains(command), "{}", said.err);
    assert!(head.run(&["key", "list"]).err.contains(command));
    head.ok(&[
        "key", "allow", "b1", "--host", "b1", "--may", "build", "--group", "pub/b",
    ]);
    assert!(!head.run(&["key", "list"]).err.contains(command));
}

#[test]
fn a_protected_key_needs_its_passphrase() {
    let home = Home::bare();
    let file = home.write("passphrase", "correct horse\n");
    let path = file.to_str().unwrap();
    let said = home.run(&["key", "generate", "--role", "packages", "--passphrase-file", path]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("chmod 600"), "{}", said.err);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let key = home.json(&[
        "key",
        "generate",
        "--role",
        "packages",
        "--user-id",
        "p",
        "--passphrase-file",
        path,
    ]);
    assert_eq!(key[0]["protected"], true);
    assert!(home.ok(&["key", "list"]).contains("protected"));
    home.ok(&["key", "extend", "p", "--expires-in", "10d", "--passphrase-file", path]);
    let wrong = home.write("wrong", "battery staple\n");
    std::fs::set_permissions(&wrong, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = home.run(&["key", "extend", "p", "--passphrase-file", wrong.to_str().unwrap()]);
    assert_eq!(said.code, 5, "{}", said.err);
    assert!(!said.err.contains("battery"), "{}", said.err);
}

/// A GnuPG ring with a key of packager@example.org. Its agent ends with it.
struct Ring(std::path::PathBuf);

impl Ring {
    fn new(home: &Home, name: &str) -> Self {
        let gnupg = home.path().join(name);
        std::fs::create_dir(&gnupg).unwrap();
        std::fs::set_permissions(&gnupg, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", &gnupg)
            .args(["--batch", "--quiet", "--passphrase", "", "--quick-generate-key"]);
        let made = gpg
            .args(["Packager <packager@example.org>", "ed25519", "cert,sign", "0"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(gnupg)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", &self.0)
            .args(["--kill", "gpg-agent"])
            .status();
    }
}

#[test]
fn the_keys_of_the_users_gnupg_ring_are_there_as_they_stand() {
    let home = Home::bare();
    let _ring = Ring::new(&home, ".gnupg");
    home.ok(&["key", "generate", "--role", "packages", "--user-id", "own"]);
    let listed = home.json(&["key", "list"]);
    let places: Vec<_> = listed.as_array().unwrap().iter().map(|key| &key["where"]).collect();
    assert_eq!(places, ["store", "gnupg"]);
    let shown = home.ok(&["key", "list"]);
    let line = shown
        .lines()
        .find(|line| line.contains("packager@example.org"))
        .unwrap();
    assert!(line.contains("gnupg") && line.contains("gpg-agent"), "{shown}");

    let exported = home.ok(&["key", "export", "packager@example.org"]);
    assert!(
        exported.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"),
        "{exported}"
    );
    // What changes a key is for the store's keys alone.
    for verb in ["extend", "remove"] {
        let said = home.run(&["key", verb, "packager@example.org"]);
        assert_eq!(said.code, 4, "{}", said.err);
        assert!(said.err.contains("changed with gpg"), "{}", said.err);
    }
    let said = home.run(&["key", "export", "nobody@example.org"]);
    assert_eq!(said.code, 4, "{}", said.err);
    for place in ["state/keys", ".gnupg", "gpg --import FILE"] {
        assert!(said.err.contains(place), "{}", said.err);
    }
    let signed = home.write("bot.wasm", "anything");
    home.ok(&["key", "sign", signed.to_str().unwrap(), "--key", "packager@example.org"]);
}

#[test]
fn a_host_in_the_background_keeps_the_ring_that_it_was_started_with() {
    let home = Home::new();
    let ring = Ring::new(&home, "ring");
    let load = ["load", "signbot", "--gpg-key", "packager@example.org"];
    // Nothing runs yet, so this starts the host.
    let output = home.command(&load).env("GNUPGHOME", &ring.0).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // From a shell without it, the host is asked, whose ring counts.
    home.ok(&[&load[..], &["--as", "another"]].concat());
    let said = home.run(&["load", "signbot", "--gpg-key", "nobody@example.org", "--as", "third"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains(ring.0.to_str().unwrap()), "{}", said.err);
}

#[test]
fn check_looks_at_the_keys_of_the_ring() {
    let home = Home::new();
    let ring = Ring::new(&home, "ring");
    let check = |key: &str| {
        let text = format!("[broker]\nlisten = \"127.0.0.1:0\"\n[bots.sign]\nuse = \"signbot\"\ngpg-key = \"{key}\"\n");
        let file = home.write("checked.toml", &text);
        let output = home
            .command(&["check", "-c", file.to_str().unwrap()])
            .env("GNUPGHOME", &ring.0)
            .output();
        super::home::said(output.unwrap())
    };
    let said = check("packager@example.org");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let said = check("nobody@example.org");
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    assert!(said.out.contains(ring.0.to_str().unwrap()), "{}", said.out);
    let mut delete = Command::new("gpg");
    delete
        .env("GNUPGHOME", &ring.0)
        .args(["--batch", "--yes", "--delete-secret-keys"]);
    let fingerprint = home
        .command(&["key", "list", "--json"])
        .env("GNUPGHOME", &ring.0)
        .output()
        .unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&fingerprint.stdout).unwrap();
    assert!(
        delete
            .arg(listed[0]["fingerprint"].as_str().unwrap())
            .status()
            .unwrap()
            .success()
    );
    let said = check("packager@example.org");
    assert!(
        said.code == 2 && said.out.contains("without a secret part"),
        "{}{}",
        said.out,
        said.err
    );
}

#[test]
fn a_key_comes_out_of_gnupg() {
    let home = Home::bare();
    let ring = Ring::new(&home, "gnupg");
    let gnupg = &ring.0;
    let query = "packager@example.org";
    let args = [
        "key",
        "import",
        "--role",
        "packages",
        "--from-gnupg",
        query,
        "--gnupg-home",
        gnupg.to_str().unwrap(),
    ];
    let imported = home.json(&args);
    assert_eq!(imported[0]["has_secret"], true);
    let said = home.run(&[
        "key",
        "import",
        "--role",
        "packages",
        "--from-gnupg",
        "nobody@example.org",
    ]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("nobody@example.org"), "{}", said.err);
}

#[test]
fn removing_a_key_is_asked_about() {
    let home = Home::bare();
    home.ok(&["key", "generate", "--role", "packages", "--user-id", "k"]);
    let said = home.run(&["key", "remove", "k"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--yes"), "{}", said.err);
    home.ok(&["key", "remove", "k", "--yes"]);
    let said = home.run(&["key", "remove", "k", "--yes"]);
    assert_eq!(said.code, 4, "{}", said.err);
}
