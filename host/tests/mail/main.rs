//! E-mail through a real server: what is sent, to whom, how it is protected, and what becomes of a message whose mail fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

mod server;
#[path = "../support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use foundry_host::capability::mail::{Letter, Mail, MailError, MailPattern, MailSettings};
use foundry_host::config::Config;
use foundry_host::ledger::DeadLetter;
use foundry_host::supervisor::{Host, HostConfig};
use serde_json::{Value, json};
use server::{SmtpServer, field};
use support::{TestHost, eventually, id_of, spec};

/// What `foundry.toml` says of mail, as [`Config`] reads it.
fn settings(directory: &Path, scheme: &str, port: u16, ca: &str) -> MailSettings {
    let password = directory.join("password");
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let login = match scheme {
        "smtp+insecure" => "",
        _ => "user = \"jo\"\npassword-file = \"password\"\n",
    };
    let text = format!(
        "[mail]\nserver = \"{scheme}://127.0.0.1:{port}\"\nfrom = \"Foundry <foundry@example.net>\"\nca = \"{ca}\"\n\
         hourly = 20\n{login}"
    );
    std::fs::write(directory.join("foundry.toml"), &text).unwrap();
    let config = Config::parse(&directory.join("foundry.toml"), &text).unwrap();
    config.mail.unwrap()
}

fn send(settings: &MailSettings, to: &[&str], subject: &str) -> Result<String, MailError> {
    send_with(&Mail::new(Some(settings)).unwrap(), to, subject)
}

fn send_with(mail: &Mail, to: &[&str], subject: &str) -> Result<String, MailError> {
    let letter = Letter {
        to: to.iter().map(ToString::to_string).collect(),
        subject: subject.to_owned(),
        text: ".\nGrüße\n".to_owned(),
        id: "0123".to_owned(),
    };
    let granted: MailPattern = "*@example.org".parse().unwrap();
    mail.send("bot", &letter, &[granted])
}

#[test]
fn mail_is_taken_and_every_refusal_has_its_name() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, scheme) in [("implicit", "smtps"), ("starttls", "smtp"), ("plain", "smtp+insecure")] {
        let server = SmtpServer::start(kind, directory.path());
        let settings = settings(directory.path(), scheme, server.port(), "server.pem");
        let said = send(&settings, &["jo@example.org", "al@example.org"], "hello").unwrap();
        assert_eq!(said, "250 OK, queued as 1");
        let mails = server.mails();
        assert_eq!(mails.len(), 1);
        assert_eq!(mails[0]["to"], json!(["jo@example.org", "al@example.org"]));
        assert_eq!(mails[0]["from"], "foundry@example.net");
        assert_eq!(mails[0]["encrypted"], kind != "plain");
        assert_eq!(field(&mails[0], "Message-ID"), "<0123@example.net>");

        let gone = MailError::RefusedAddress {
            address: "gone@example.org".to_owned(),
            said: "550 5.1.1 no such user".to_owned(),
        };
        let busy = MailError::TryLater("451 4.7.1 greylisted".to_owned());
        let jo = "jo@example.org";
        assert_eq!(send(&settings, &[jo, "gone@example.org"], "x"), Err(gone));
        assert_eq!(send(&settings, &[jo, "busy@example.org"], "x"), Err(busy));
        let spam = MailError::Refused("554 5.7.1 it looks like spam".to_owned());
        assert_eq!(send(&settings, &[jo], "spam"), Err(spam));
        let full = MailError::TryLater("452 4.3.1 the disk is full".to_owned());
        assert_eq!(send(&settings, &[jo], "full"), Err(full));
        let refused = MailError::NotGranted("jo@example.net".to_owned());
        assert_eq!(send(&settings, &[jo, "jo@example.net"], "x"), Err(refused));
        assert_eq!(server.mails().len(), 1, "all of the recipients, or none");
    }
}

fn unavailable(settings: &MailSettings) -> String {
    match send(settings, &["jo@example.org"], "hello") {
        Err(MailError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_is_not_believed_gets_neither_mail_nor_password() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, scheme) in [("implicit", "smtps"), ("starttls", "smtp")] {
        let server = SmtpServer::start(kind, directory.path());
        let other = settings(directory.path(), scheme, server.port(), "other.pem");
        let why = unavailable(&other);
        assert!(why.contains("certificate"), "{why}");
        assert_eq!(server.mails(), [] as [Value; 0]);
    }
    // One that offers no TLS where TLS was asked for.
    let server = SmtpServer::start("plain", directory.path());
    let why = unavailable(&settings(directory.path(), "smtp", server.port(), "server.pem"));
    assert!(why.contains("STARTTLS is not supported"), "{why}");
    assert_eq!(server.mails(), [] as [Value; 0]);
}

#[test]
fn a_wrong_password_a_dead_server_and_a_used_up_share_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let server = SmtpServer::start("starttls", directory.path());
    let right = settings(directory.path(), "smtp", server.port(), "server.pem");
    std::fs::write(directory.path().join("password"), "wrong\n").unwrap();
    let text = std::fs::read_to_string(directory.path().join("foundry.toml")).unwrap();
    let wrong = Config::parse(&directory.path().join("foundry.toml"), &text).unwrap();
    let why = unavailable(&wrong.mail.unwrap());
    assert!(why.contains("535") && !why.contains("wrong"), "{why}");

    let mail = Mail::new(Some(&right)).unwrap();
    for _ in 0..20 {
        send_with(&mail, &["jo@example.org"], "hello").unwrap();
    }
    let error = send_with(&mail, &["jo@example.org"], "hello").unwrap_err();
    assert!(matches!(error, MailError::TooMany(1..=180)), "{error:?}");
    drop(server);
    let why = unavailable(&right);
    assert!(why.starts_with("127.0.0.1:"), "{why}");
}

/// A host with a way to send mail.
async fn host(server: &SmtpServer) -> TestHost {
    let directory = tempfile::tempdir().unwrap();
    let config = HostConfig {
        mail: Some(settings(directory.path(), "smtp+insecure", server.port(), "server.pem")),
        ..support::config(directory.path())
    };
    let host = Host::start(config).await.unwrap();
    TestHost { host, directory }
}

async fn dead_letter(host: &TestHost, name: &str) -> DeadLetter {
    let id = id_of("orders", name, "test.order.v1");
    eventually(name, async || {
        let letters = host.dead_letters().await;
        letters.into_iter().find(|dead| dead.id.as_ref() == Some(&id))
    })
    .await
}

async fn mails(server: &SmtpServer, count: usize) -> Vec<Value> {
    eventually("mails", async || {
        let mails = server.mails();
        (mails.len() >= count).then_some(mails)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_fails_for_now_is_sent_again_and_known_by_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let server = SmtpServer::start("plain", directory.path());
    let host = host(&server).await;
    let mut bot = spec("conformer");
    bot.grants.mail.push("*@example.org".parse().unwrap());
    bot.grants.without.push("http".parse().unwrap());
    host.host.load(bot).await.unwrap();
    let order = async |id: &str, to: &str| {
        let event = host.signed("orders", id, "test.order.v1", json!({ "do": "mail", "text": to }));
        host.publish("orders", event).await;
    };

    order("o1", "busyonce@example.org").await;
    let first = mails(&server, 1).await;
    order("o2", "hangup@example.org").await;
    let both = mails(&server, 3).await;
    assert_eq!(field(&both[1], "Message-ID"), field(&both[2], "Message-ID"));
    assert_ne!(field(&both[1], "Message-ID"), field(&first[0], "Message-ID"));
    order("o3", "gone@example.org").await;
    let letter = dead_letter(&host, "o3").await;
    assert_eq!(
        letter.reason,
        "the server refuses gone@example.org: 550 5.1.1 no such user"
    );
    order("o4", "jo@elsewhere.example").await;
    assert_eq!(
        dead_letter(&host, "o4").await.reason,
        "not granted: jo@elsewhere.example"
    );

    // What it was loaded without is refused at each use.
    let event = host.signed(
        "orders",
        "o5",
        "test.order.v1",
        json!({ "do": "ask", "text": "https://example.org/" }),
    );
    host.publish("orders", event).await;
    assert_eq!(
        dead_letter(&host, "o5").await.reason,
        "not granted: https://example.org/"
    );
    let log = host.host.services().logs.of_run("run-o1").unwrap();
    assert!(
        log.iter().any(|line| line
            .line
            .contains("refuses the mail for now: 451 4.7.1 greylisted; attempt 2 in")),
        "{log:?}"
    );
}

fn dist() -> Value {
    json!({
        "repository": "https://example.org/hello.git", "branch": "main", "ref": "0123456789abcdef0123456789abcdef01234567",
        "name": "Example", "distribution": "stable", "source": "hello", "version": "1.0-1",
        "packages": [{ "package": "hello", "version": "1.0-1", "architecture": "amd64" }], "artifacts": [],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn notifybot_mails_publications_to_some_and_failures_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let server = SmtpServer::start("plain", directory.path());
    let host = host(&server).await;
    let mut bot = spec("notifybot")
        .option("mail-to", "list@example.org")
        .option("mail-to", "jo@example.org")
        .option("failure-mail-to", "ops@example.org");
    bot.grants.mail.push("*@example.org".parse().unwrap());
    bot.grants.without.push("http".parse().unwrap());
    host.host.load(bot).await.unwrap();
    host.publish("dists", host.signed("dists", "d1", "foundry.dist.v1", dist()))
        .await;
    let taken = mails(&server, 1).await;
    assert_eq!(taken[0]["to"], json!(["list@example.org", "jo@example.org"]));
    assert_eq!(field(&taken[0], "Subject"), "hello 1.0-1 is in Example stable");
    let failure = json!({
        "repository": "https://example.org/hello.git", "branch": "main", "ref": "0123456789abcdef0123456789abcdef01234567",
        "stage": "build", "phase": "build", "reason": "make: Error 1", "logTail": ["cc hello.c", "error"],
    });
    host.publish("failures", host.signed("failures", "f1", "foundry.failure.v1", failure))
        .await;
    let taken = mails(&server, 2).await;
    assert_eq!(taken[1]["to"], json!(["ops@example.org"]));
    assert!(field(&taken[1], "Subject").starts_with("FAILED: build of https://example.org/hello.git main"));
    assert!(
        taken[1]["content"]
            .as_str()
            .unwrap()
            .contains("cc hello.c\r\nerror\r\n")
    );
}

#[test]
fn a_world_with_mail_is_recorded_and_played() {
    let directory = tempfile::tempdir().unwrap();
    let server = SmtpServer::start("plain", directory.path());
    settings(directory.path(), "smtp+insecure", server.port(), "server.pem");
    let event = json!({ "type": "foundry.dist.v1", "data": dist() });
    std::fs::write(directory.path().join("dist.json"), event.to_string()).unwrap();
    let test = |world: &[&str]| {
        let ended = Command::new(env!("CARGO_BIN_EXE_foundry-host"))
            .current_dir(directory.path())
            .args(["test", "--state", "state", "--event", "dist.json", "--without", "http"])
            .args(["--allow-mail", "*@example.org"])
            .args(world)
            .arg(foundry_test_guests::path("notifybot"))
            .args(["--mail-to", "jo@example.org"])
            .output()
            .unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    };
    test(&["--config", "foundry.toml", "--record", "world.json"]);
    assert_eq!(server.mails().len(), 1);
    let world = std::fs::read_to_string(directory.path().join("world.json")).unwrap();
    let world: Value = serde_json::from_str(&world).unwrap();
    assert_eq!(world["mails"][0]["answer"], "250 OK, queued as 1");
    assert_eq!(world["mails"][0]["asked"]["to"], json!(["jo@example.org"]));
    test(&["--world", "world.json"]);
    assert_eq!(server.mails().len(), 1, "nobody was asked");
}
