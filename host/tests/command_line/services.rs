//! What a host depends on besides itself: certificates, the broker, logins. `check` and `status` tell the truth of them, and a host reads again
//! what changes.

use std::path::Path;
use std::process::Command;

use foundry_broker::{Access, Broker, Config, User, hash_password};
use foundry_host::bus::{BrokerAddress, Contact, contact};
use foundry_host::tls::ClientTls;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use super::home::{Home, eventually};

/// Nobody is asked: the address is one of documentation's (RFC 5737).
#[test]
fn a_copy_on_another_machine_without_tls_needs_the_services_name_in_the_configuration() {
    let home = Home::new();
    let refused = home.run(&[
        "repo",
        "mirror",
        "site",
        "s3://b",
        "--endpoint",
        "http://192.0.2.7:9000",
    ]);
    assert!(
        refused.code == 2
            && refused
                .err
                .contains("files to and from 192.0.2.7 would cross the network in clear"),
        "{refused:?}"
    );
    assert!(
        refused.err.contains("clear-text-hosts = [\"192.0.2.7\"]"),
        "{refused:?}"
    );
    // One that was set by an older version.
    std::fs::create_dir_all(home.path().join("site/.foundry")).unwrap();
    home.write(
        "site/.foundry/mirror.json",
        "{\"mirror\":{\"url\":\"s3://b\",\"endpoint\":\"http://192.0.2.7:9000\"},\"complete\":true}",
    );
    let bot = "[bots.publish]\nuse = \"distbot\"\nname = \"x\"\noutput = \"site\"\narch = [\"amd64\"]\n\
               description = \"Packages\"\ncodename = [\"main:stable\"]\ngpg-key = \"nobody@example.org\"\n";
    home.write("foundry.toml", bot);
    let found = home.run(&["check", "-c", "foundry.toml"]);
    assert!(
        found.out.contains("bots.publish.output") && found.out.contains("192.0.2.7 would cross"),
        "{found:?}"
    );
    home.write(
        "foundry.toml",
        &format!("{bot}[network]\nclear-text-hosts = [\"192.0.2.7\"]\n"),
    );
    let named = home.run(&["check", "-c", "foundry.toml"]);
    assert!(
        named.out.contains("nobody@example.org") && !named.out.contains("192.0.2.7"),
        "{named:?}"
    );
}

/// An authority that dates certificates as it is told.
struct Authority<'h> {
    directory: &'h Path,
}

impl<'h> Authority<'h> {
    fn new(home: &'h Home) -> Self {
        let authority = Self { directory: home.path() };
        let config = "[ca]\ndefault_ca = d\n[d]\ndatabase = index\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\n\
                      policy = p\nunique_subject = no\nx509_extensions = x\n[p]\ncommonName = supplied\n\
                      [x]\nbasicConstraints = CA:FALSE\nsubjectAltName = IP:127.0.0.1\n";
        home.write("ca.cnf", config);
        home.write("index", "");
        home.write("serial", "01\n");
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 900 -subj /CN=authority -keyout ca.key -out ca.pem",
        );
        authority
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A certificate that ends so many days from now.
    fn certificate(&self, name: &str, days: i64) {
        let format = format_description!("[year][month][day][hour][minute][second]Z");
        let time = |days| {
            (OffsetDateTime::now_utc() + Duration::days(days))
                .format(format)
                .unwrap()
        };
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -keyfile ca.key -cert ca.pem -in {name}.csr -out {name}.pem -startdate {} -enddate {}",
            time(-900),
            time(days)
        ));
    }
}

fn day(days: i64) -> String {
    let time = (OffsetDateTime::now_utc() + Duration::days(days))
        .format(&Rfc3339)
        .unwrap();
    time[..10].to_owned()
}

#[test]
fn check_tells_of_certificates_that_have_expired_and_of_those_that_soon_will() {
    let home = Home::bare();
    let authority = Authority::new(&home);
    let embedded = "[broker]\nlisten = \"127.0.0.1:0\"\n[broker.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"c.pem\"\nkey = \"c.key\"\n";
    let elsewhere =
        "[broker]\nurl = \"mqtts://127.0.0.1:1\"\nca = \"ca.pem\"\ncertificate = \"c.pem\"\nkey = \"c.key\"\n";
    for (config, setting) in [(embedded, "broker.tls.certificate"), (elsewhere, "broker.certificate")] {
        home.write("foundry.toml", config);
        let check = |days| {
            authority.certificate("c", days);
            home.run(&["check", "-c", "foundry.toml"])
        };
        let expired = check(-3);
        assert_eq!(expired.code, 2, "{}", expired.out);
        let said = format!("{setting}: {}", home.path().join("c.pem").display());
        assert!(
            expired.out.contains(&said) && expired.out.contains(&format!("has expired on {}", day(-3))),
            "{}",
            expired.out
        );
        let soon = check(10);
        assert_eq!(soon.code, 0, "{}", soon.out);
        assert!(
            soon.out.contains(&format!("expires on {}, in ", day(10))),
            "{}",
            soon.out
        );
        assert!(
            soon.err.contains("no errors, ") && !soon.err.contains("all right"),
            "{}",
            soon.err
        );
        let problems =
            serde_json::from_str::<serde_json::Value>(&home.run(&["check", "-c", "foundry.toml", "--json"]).out)
                .unwrap();
        let keys: Vec<_> = problems["problems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|problem| &problem["key"])
            .collect();
        assert!(keys.iter().any(|key| **key == setting), "{problems}");
        let good = check(300);
        assert!(!good.out.contains("certificate"), "{}", good.out);
    }
}

fn with_user(directory: &Path) -> Config {
    let ann = User {
        password: Some(hash_password("secret").unwrap()),
        role: "host".to_owned(),
    };
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: directory.join("broker"),
        access: Access {
            users: [("ann".to_owned(), ann)].into(),
            ..Access::default()
        },
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_status_tell_of_a_broker_that_does_not_let_the_host_in_and_of_one_that_is_away() {
    let home = Home::new();
    let broker = Broker::start(with_user(home.path())).await.unwrap();
    let address = broker.address();
    let config = |password: &str| {
        let text = format!("[host]\nname = \"here\"\n[broker]\nurl = \"mqtt://ann:{password}@{address}\"\n");
        std::fs::write(home.state().join("foundry.toml"), text).unwrap();
    };
    config("wrong");
    let refused = home.run(&["check"]);
    assert_eq!(refused.code, 2, "{}", refused.out);
    assert!(refused.out.contains("does not let this host in"), "{}", refused.out);
    config("secret");
    let good = home.run(&["check"]);
    assert_eq!(
        (good.code, good.err.as_str()),
        (0, "all right: 0 bots\n"),
        "{}",
        good.out
    );

    let _host = home.host(&[]);
    eventually("it is ready", || home.json(&["status"])["ready"] == true);
    broker.stop().await;
    eventually("it is not ready without a broker", || home.run(&["status"]).code == 1);
    let status = home.run(&["status"]).out;
    assert!(status.contains("no connection to the broker, for "), "{status}");
    let json: serde_json::Value = serde_json::from_str(&home.run(&["status", "--json"]).out).unwrap();
    assert_eq!(
        (&json["ready"], &json["loaded"], &json["connected"]),
        (&false.into(), &true.into(), &false.into())
    );
    assert!(
        json["disconnected-since"].as_str().unwrap().starts_with(&day(0)[..4]),
        "{json}"
    );
    let away = home.run(&["check"]);
    assert_eq!(away.code, 0, "{}", away.out);
    assert!(
        away.out.contains("warning: broker.url: cannot reach the broker"),
        "{}",
        away.out
    );
    assert!(away.err.contains("no errors, 1 warning"), "{}", away.err);
}

/// Whether a client with that login is let in.
async fn is_let_in(address: &str, login: &str) -> bool {
    let broker = BrokerAddress::parse(&format!("mqtt://{login}@{address}")).unwrap();
    let contact = contact(&broker, None).await.unwrap();
    matches!(contact, Contact::Welcome(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn at_sighup_a_host_reads_its_users_again_and_goes_on_and_wrong_rules_change_nothing() {
    let home = Home::new();
    let hash = hash_password("secret").unwrap();
    let config = |users: &[&str], role: &str| {
        let mut text = "[host]\nname = \"here\"\n[broker]\nlisten = \"127.0.0.1:0\"\n".to_owned();
        for user in users {
            text.push_str(&format!(
                "[broker.access.users.{user}]\npassword = \"{hash}\"\nrole = \"{role}\"\n"
            ));
        }
        std::fs::write(home.state().join("foundry.toml"), text).unwrap();
    };
    config(&["ann", "bob"], "watcher");
    let host = home.host(&[]);
    let broker = home.json(&["status"])["broker"].as_str().unwrap().to_owned();
    let address = broker.strip_prefix("mqtt://").unwrap();
    assert!(is_let_in(address, "ann:secret").await && is_let_in(address, "bob:secret").await);
    config(&["bob"], "watcher");
    host.signal("-HUP");
    host.read_until("read again: broker.access with 1 user");
    assert!(!is_let_in(address, "ann:secret").await);
    assert!(is_let_in(address, "bob:secret").await);
    config(&["ann"], "no-such-role");
    host.signal("-HUP");
    let said = host.read_until("broker.access stays as it was");
    assert!(said.contains("no-such-role"), "{said}");
    std::fs::write(home.state().join("foundry.toml"), "[broker]\nno-such-setting = 1\n").unwrap();
    host.signal("-HUP");
    host.read_until("broker.access stays as it was");
    assert!(is_let_in(address, "bob:secret").await);
    assert_eq!(home.json(&["status"])["name"], "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_of_the_broker_is_shown_without_a_restart() {
    let home = Home::new();
    let authority = Authority::new(&home);
    authority.certificate("c", -3);
    let port = free_port();
    let file = |name: &str| home.path().join(name).display().to_string();
    let hash = hash_password("secret").unwrap();
    let text = format!(
        "[host]\nname = \"here\"\n[broker]\nlisten = \"127.0.0.1:0\"\n[broker.tls]\nlisten = \"127.0.0.1:{port}\"\n\
         certificate = {:?}\nkey = {:?}\n[broker.access.users.ann]\npassword = {hash:?}\nrole = \"watcher\"\n",
        file("c.pem"),
        file("c.key")
    );
    std::fs::write(home.state().join("foundry.toml"), text).unwrap();
    let host = home.host(&[]);
    let mut broker = BrokerAddress::parse(&format!("mqtts://ann:secret@127.0.0.1:{port}")).unwrap();
    broker.tls = Some(ClientTls {
        ca: Some(home.path().join("ca.pem")),
        identity: None,
    });
    match contact(&broker, None).await.unwrap() {
        Contact::Refused(why) => assert!(why.to_lowercase().contains("expired"), "{why}"),
        other => panic!("{other:?}"),
    }
    authority.certificate("c", 300);
    host.read_until("read again: the broker's certificate from ");
    // Connections from now on are shown the new one.
    let contact = contact(&broker, None).await.unwrap();
    assert!(matches!(contact, Contact::Welcome(_)), "{contact:?}");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
