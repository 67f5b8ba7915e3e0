//! A configuration that is right, and each way to get it wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::capability::Grants;
use crate::supervisor::BotSource;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/foundry/foundry.toml"), text)
}

/// The problems of a text, one to a line.
fn problems(text: &str) -> String {
    match parse(text).unwrap_err() {
        ConfigError::Wrong { problems, .. } => problems.iter().map(|p| format!("{p}\n")).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn an_empty_file_is_a_host_with_defaults() {
    let config = parse("").unwrap();
    assert!(
        matches!(&config.broker, BrokerSettings::Embedded(broker) if broker.listen == "127.0.0.1:1883".parse().unwrap())
    );
    assert_eq!(config.messages.prefix, "foundry");
    assert_eq!(config.messages.max_age, Duration::from_secs(14 * 24 * 3600));
    assert!(config.bots.is_empty());
    assert!(config.state.is_none());
}

#[test]
fn defaults_are_those_of_the_library() {
    let config = parse("").unwrap();
    assert_eq!(
        format!("{:?}", config.builds),
        format!("{:?}", crate::capability::build::Settings::default())
    );
    assert_eq!(
        format!("{:?}", config.messages),
        format!("{:?}", MessagesConfig::default())
    );
    let BrokerSettings::Embedded(broker) = config.broker else {
        panic!("{:?}", config.broker)
    };
    // Nobody asked for a port by name.
    let expected = foundry_broker::Config {
        any_port: true,
        ..foundry_broker::Config::default()
    };
    assert_eq!(format!("{broker:?}"), format!("{expected:?}"));
}

#[test]
fn a_port_that_is_named_is_the_only_one() {
    let config = parse("[broker]\nlisten = \"127.0.0.1:1883\"\n").unwrap();
    assert!(matches!(config.broker, BrokerSettings::Embedded(broker) if !broker.any_port));
}

#[test]
fn the_backlog_can_be_set_and_turned_off_and_is_the_embedded_brokers() {
    let text = r#"
        [messages]
        backlog-topics = ["commits", "reviews/new"]
        backlog-age = "2d"
        backlog-messages = 10
        backlog-size = "1M"
    "#;
    let backlog = parse(text).unwrap().messages.backlog;
    assert_eq!(backlog.topics, ["commits", "reviews/new"]);
    assert_eq!(backlog.age, Duration::from_secs(2 * 24 * 3600));
    assert_eq!((backlog.messages, backlog.bytes), (10, 1 << 20));
    let backlog = parse("[messages]\nbacklog-topics = []\nbacklog-age = 0\n")
        .unwrap()
        .messages
        .backlog;
    assert!(backlog.topics.is_empty() && backlog.age.is_zero());

    let wrong = r#"[messages]
backlog-topics = ["foundry/#"]
backlog-age = "soon"
backlog-messages = -1
backlog-size = "all"
"#;
    let expected = [
        "2: messages.backlog-topics: \"foundry/#\" is not a topic (write a topic without prefix and without + and #, such as \"commits\")",
        "3: messages.backlog-age: \"soon\" is not a length of time (write \"1h\", or \"0s\" to keep nothing)",
        "4: messages.backlog-messages: \"-1\" is not a number (write a number, or 0 to keep nothing)",
        "5: messages.backlog-size: \"all\" is not a size (write \"64M\", or 0 to keep nothing)",
    ];
    let expected = expected
        .map(|line| format!("/etc/foundry/foundry.toml:{line}\n"))
        .concat();
    assert_eq!(problems(wrong), expected);
    assert_eq!(
        problems("[broker]\nurl = \"mqtts://h\"\n[messages]\nbacklog-age = \"1h\"\n"),
        "/etc/foundry/foundry.toml:4: messages.backlog-age: this is for the embedded broker, and broker.url asks for \
         another one (remove one of them)\n"
    );
}

#[test]
fn everything_can_be_set() {
    let config = parse(
        r#"
        [host]
        name = "build1"
        state = "state"
        [broker]
        listen = "127.0.0.1:0"
        limits = { connections = 5 }
        [messages]
        prefix = "site/foundry"
        trust = "0123456789abcdef0123456789abcdef01234567"
        max-age = "12h"
        outbox-events = 500
        outbox-size = "2M"
        peer-wait = "forever"
        keep = "0s"
        [builds]
        backend = "own-root"
        jobs = 3
        memory = "1G"
        [keys.passphrase-files]
        0123456789abcdef0123456789abcdef01234567 = "secret"
        [bots.watch]
        use = "./bots/watch.wasm"
        instances = 2
        memory = "64M"
        timeout = 90
        repository = ["hello#main", "https://example.org/x"]
        interval = 5
        eager = true
        [bots.watch.grants]
        artifacts = true
        git = ["https://example.org/*"]
        read = ["commits", "builds@pub/build"]
        publish = "commits:foundry.commit.v1"
        site = ["www"]
        "#,
    )
    .unwrap();
    assert_eq!(config.name, "build1");
    let messages = &config.messages;
    let (rows, bytes) = (messages.outbox.rows, messages.outbox.bytes);
    assert_eq!((rows, bytes, messages.peer_patience), (500, 2 << 20, Duration::MAX));
    assert_eq!(
        (messages.keep, messages.max_age),
        (Duration::ZERO, Duration::from_secs(12 * 3600))
    );
    assert_eq!((config.builds.jobs, config.builds.limits.memory), (Some(3), 1 << 30));
    assert_eq!(config.builds.backend, Some(crate::capability::build::Backend::OwnRoot));
    assert_eq!(config.state, Some(PathBuf::from("/etc/foundry/state")));
    let [bot] = config.bots.as_slice() else {
        panic!("{:?}", config.bots)
    };
    assert_eq!(bot.spec.source, BotSource::File("/etc/foundry/bots/watch.wasm".into()));
    assert_eq!((bot.spec.instances, bot.spec.memory), (2, Some(64 << 20)));
    assert_eq!(bot.spec.timeout, Some(Duration::from_secs(90)));
    assert_eq!(bot.spec.options["repository"], ["hello#main", "https://example.org/x"]);
    assert_eq!(bot.spec.options["interval"], ["5"]);
    assert_eq!(bot.spec.options["eager"], ["true"]);
    assert_eq!(bot.spec.grants.site, [PathBuf::from("/etc/foundry/www")]);
    let read: Vec<_> = bot.spec.grants.read.iter().map(ToString::to_string).collect();
    assert_eq!(read, ["commits", "builds@pub/build"]);
    assert_eq!(bot.spec.grants.publish[0].to_string(), "commits:foundry.commit.v1");
    assert!(bot.spec.grants.artifacts && bot.spec.grants != Grants::default());
}

#[test]
fn broken_foundry_toml_names_file_key_and_remedy() {
    let text = "[broker]\nlistn = \"127.0.0.1:1883\"\n";
    assert_eq!(
        problems(text),
        "/etc/foundry/foundry.toml:2: broker.listn: there is no such setting (did you mean `listen`?)\n"
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = "[host]\nname = \"a b\"\n[broker]\nlisten = 5\n[bots.x]\nuse = 1.5\n[mesages]\n";
    insta::assert_snapshot!(problems(text), @r#"
    /etc/foundry/foundry.toml:2: host.name: "a b" is not a name (use letters, digits, '.', '_' and '-')
    /etc/foundry/foundry.toml:4: broker.listen: "5" is not an address (write an IP address and a port, such as 127.0.0.1:1883)
    /etc/foundry/foundry.toml:6: bots.x.use: this is a number with a fraction, not a bot (write use = "…")
    /etc/foundry/foundry.toml:7: mesages: there is no such setting (did you mean `messages`?)
    "#);
}

#[test]
fn a_file_that_is_not_toml_is_named_with_the_line() {
    let said = problems("[host]\nname = \n");
    assert!(said.starts_with("/etc/foundry/foundry.toml:2: "), "{said}");
}

#[test]
fn values_of_the_wrong_form_are_refused() {
    for (text, expected) in [
        (
            "[messages]\nmax-age = \"soon\"\n",
            "messages.max-age: \"soon\" is not a length of time",
        ),
        (
            "[messages]\npeer-wait = \"long\"\n",
            "messages.peer-wait: \"long\" is not a length of time",
        ),
        ("[messages]\noutbox-events = 0\n", "write a number from 1 on"),
        (
            "[messages]\noutbox-size = \"none\"\n",
            "messages.outbox-size: \"none\" is not a size",
        ),
        ("[messages]\nkeep = \"a while\"\n", "messages.keep: "),
        ("[messages]\ntrust = [\"abc\"]\n", "messages.trust: "),
        ("[messages]\nprefix = \"a/#\"\n", "messages.prefix: "),
        (
            "[broker]\nurl = \"http://x\"\n",
            "broker.url: \"http://x\" is not a broker's URL",
        ),
        (
            "[broker]\nurl = \"mqtts://h\"\nlisten = \"127.0.0.1:1\"\n",
            "broker.listen: this is for the embedded broker",
        ),
        ("[broker.limits]\nconections = 1\n", "did you mean `connections`?"),
        (
            "[broker.limits]\nconnections = \"many\"\n",
            "broker.limits: invalid type",
        ),
        ("[keys.passphrase-files]\nx = \"f\"\n", "keys.passphrase-files.x: "),
        (
            "bots = 3\n",
            "bots: this is a number, not a table (write [bots] and its settings below it)",
        ),
        ("[bots.x]\n", "bots.x.use: it is missing (write use = "),
        (
            "[bots.x]\nuse = \"nobot\"\n",
            "bots.x.use: there is no stock bot \"nobot\"",
        ),
        (
            "[bots.x]\nuse = \"./x.wasm\"\ninstances = 0\n",
            "bots.x.instances: \"0\" is not a number",
        ),
        (
            "[bots.x]\nuse = \"./x.wasm\"\nmemory = \"lots\"\n",
            "bots.x.memory: \"lots\" is not a size",
        ),
        (
            "[bots.x]\nuse = \"./x.wasm\"\ny = 1.5\n",
            "bots.x.y: an option can't have this value",
        ),
        (
            "[bots.x]\nuse = \"./x.wasm\"\ngrants.sing = [\"k\"]\n",
            "bots.x.grants.sing: there is no such setting (did you mean `sign`?)",
        ),
        (
            "[bots.x]\nuse = \"./x.wasm\"\ngrants.build = \"yes\"\n",
            "(write true or false, without quotes)",
        ),
        ("[bots.\"../x\"]\nuse = \"./x.wasm\"\n", "is not a bot's name"),
        (
            "[bots.signs]\nuse = \"./x.wasm\"\n",
            "bots.signs: a bot from a file can't have the name of a topic of the pipeline or of the hosts",
        ),
        (
            "[bots.x]\nuse = \"./x.wasm\"\ngrants.publish = [\"logs/#\"]\n",
            "bots.x.grants.publish: \"logs/#\": the hosts keep logs/",
        ),
        (
            "[bots.x]\nuse = \"./x.wasm\"\ngrants.read = [\"a+\"]\n",
            "(write \"commits\" or \"commits@pub/lint\")",
        ),
        (
            "[host]\nlongest-message = \"0s\"\n",
            "host.longest-message: \"0s\" is not a length of time (write \"10m\" or \"1h\")",
        ),
    ] {
        let said = problems(text);
        assert!(said.contains(expected) && said.lines().count() == 1, "{text}\n{said}");
        assert!(said.starts_with("/etc/foundry/foundry.toml:"), "{said}");
    }
}

#[test]
fn a_missing_file_is_named_with_the_remedy() {
    let error = Config::read(Path::new("/nonexistent/foundry.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nonexistent/foundry.toml") && error.contains("-c FILE"),
        "{error}"
    );
}

#[test]
fn a_password_in_a_bad_url_is_not_shown() {
    let said = problems("[broker]\nurl = \"http://user:secret@h\"\n");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_password_goes_to_another_machine_with_tls_or_where_the_file_says_so_by_name() {
    const BROKER: &str = "[broker]\nurl = \"mqtt://me:secret@broker.example\"\n";
    let said = problems(BROKER);
    assert!(
        said.contains("foundry.toml:2: broker.url: a password for broker.example would cross the network in clear"),
        "{said}"
    );
    assert!(
        said.contains("clear-text-hosts = [\"broker.example\"]") && !said.contains("secret"),
        "{said}"
    );
    let allowed = "[network]\nclear-text-hosts = [\"broker.example\", \"s3.example\"]\n";
    assert!(parse(&format!("{BROKER}{allowed}")).is_ok());
    for harmless in [
        "[broker]\nurl = \"mqtt://me:secret@127.0.0.1\"\n",
        "[broker]\nurl = \"mqtts://me:secret@broker.example\"\n",
        "[artifacts]\nurl = \"s3://b\"\nendpoint = \"http://localhost:9000\"\n",
    ] {
        assert!(parse(harmless).is_ok(), "{harmless}");
    }
    let directory = tempfile::tempdir().unwrap();
    let bucket = |token: &str| {
        let path = directory.path().join("s3.toml");
        let secret = format!("access-key-id = \"id\"\nsecret-access-key = \"hush\"\n{token}");
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let path = path.display();
        format!("[artifacts]\nurl = \"s3://b\"\nendpoint = \"http://s3.example:9000\"\ncredentials = \"{path}\"\n")
    };
    // The secret key is not sent, but what it signs for is; a token is sent.
    let said = problems(&bucket(""));
    assert!(
        said.contains("artifacts.endpoint: files to and from s3.example would cross the network in clear"),
        "{said}"
    );
    assert!(parse(&format!("{}{allowed}", bucket(""))).is_ok());
    let lent = bucket("session-token = \"lent\"\n");
    let said = problems(&lent);
    assert!(
        said.contains("artifacts.endpoint: a password for s3.example would"),
        "{said}"
    );
    assert!(parse(&format!("{lent}{allowed}")).is_ok());
}

#[test]
fn messages_and_mail_go_to_another_machine_with_tls_or_where_the_file_says_so_by_name() {
    const BROKER: &str = "[broker]\nurl = \"mqtt://broker.example\"\n";
    const MAIL: &str = "[mail]\nserver = \"smtp+insecure://mail.example\"\nfrom = \"f@example.org\"\n";
    for (text, host, what) in [
        (
            BROKER,
            "broker.example",
            "broker.url: messages to and from broker.example",
        ),
        (MAIL, "mail.example", "mail.server: mail for mail.example"),
    ] {
        let said = problems(text);
        assert!(
            said.contains(&format!("{what} would cross the network in clear")),
            "{said}"
        );
        let remedy = format!("[network]\nclear-text-hosts = [\"{host}\"]\n");
        assert!(said.contains(&remedy.lines().nth(1).unwrap().to_owned()), "{said}");
        assert!(parse(&format!("{text}{remedy}")).is_ok(), "{text}");
        let other = "[network]\nclear-text-hosts = [\"other.example\"]\n";
        assert!(parse(&format!("{text}{other}")).is_err(), "{text}");
    }
    for harmless in [
        "[broker]\nurl = \"mqtt://127.0.0.1:1884\"\n",
        "[broker]\nurl = \"mqtt://localhost\"\n",
        "[broker]\nurl = \"mqtts://broker.example\"\n",
        "[mail]\nserver = \"smtp+insecure://[::1]:25\"\nfrom = \"f@example.org\"\n",
        "[mail]\nserver = \"smtp://mail.example\"\nfrom = \"f@example.org\"\n",
    ] {
        assert!(parse(harmless).is_ok(), "{harmless}");
    }
}

#[test]
fn hosts_and_grants_that_could_mean_others_are_refused_with_their_line() {
    let said = problems("[network]\nprivate-hosts = [\"git.example.org\", \"example.*\", \"h:80\"]\n");
    for line in [
        "network.private-hosts: \"example.*\"",
        "network.private-hosts: \"h:80\"",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let grant = "[bots.lint]\nuse = \"./lint.wasm\"\ngrants.git = [\"https://example.org*\"]\n";
    let said = problems(grant);
    assert!(
        said.contains("foundry.toml:3: bots.lint.grants.git: \"https://example.org*\"")
            && said.contains("write example.org, or *.example.org"),
        "{said}"
    );
}

#[test]
fn every_setting_is_documented() {
    let page = include_str!("../../../docs/configuration.md");
    for setting in SETTINGS {
        let default = match (setting.default, setting.default_note) {
            (Some(default), _) => format!("`{default}`"),
            (None, note) => note.to_owned(),
        };
        let row = format!(
            "| `{}` | {} | {} | {} |",
            setting.key, setting.form, default, setting.help
        );
        assert!(
            page.contains(&row),
            "docs/configuration.md lacks this line, below [{}]:\n{row}",
            setting.table
        );
    }
}

#[test]
fn defaults_of_messages_are_those_of_a_host_without_a_file() {
    let parsed = parse("").unwrap().messages;
    let default = crate::supervisor::MessagesConfig::default();
    assert_eq!((parsed.outbox, parsed.keep), (default.outbox, default.keep));
    assert_eq!(
        (parsed.peer_patience, parsed.max_age),
        (default.peer_patience, default.max_age)
    );
    assert_eq!(parse("").unwrap().longest_message, crate::supervisor::LONGEST_MESSAGE);
}

#[test]
fn mail_needs_a_server_a_sender_and_a_password_that_is_secret() {
    let said = problems("[mail]\nuser = \"jo\"\nhourly = \"many\"\n");
    for part in [
        "mail.server: it is missing",
        "mail.from: it is missing",
        "mail.user: there is a user and no password",
        "mail.hourly",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let said = problems(
        "[mail]\nserver = \"smtp+insecure://mail.example.org\"\nfrom = \"nobody\"\npassword-file = \"x\"\n\
         [bots.x]\nuse = \"./x.wasm\"\ngrants.mail = [\"nobody\"]\ngrants.without = [\"log\"]\n",
    );
    for part in [
        "mail for mail.example.org would cross the network in clear",
        "write an address",
        "there is a password and no user",
        "grants.mail: \"nobody\": it must be an address",
        "grants.without: \"log\": not a right",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn the_password_of_mail_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (password, file) = (directory.path().join("password"), directory.path().join("foundry.toml"));
    let text = "[mail]\nserver = \"smtp://mail.example.org\"\nfrom = \"f@example.org\"\nuser = \"jo\"\n\
                password-file = \"password\"\n";
    let read = |mode| {
        std::fs::write(&password, "s3cret\n").unwrap();
        std::fs::set_permissions(&password, PermissionsExt::from_mode(mode)).unwrap();
        Config::parse(&file, text).map_err(|error| error.to_string())
    };
    let error = read(0o644).unwrap_err();
    assert!(
        error.contains("can be read by others") && !error.contains("s3cret"),
        "{error}"
    );
    let config = read(0o600).unwrap();
    let shown = format!("{:?}", config.mail.unwrap());
    assert!(shown.contains("jo") && !shown.contains("s3cret"), "{shown}");
}
