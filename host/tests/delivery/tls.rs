//! A broker elsewhere that is reached with TLS, by a configuration file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use foundry_host::config::Config;
use foundry_host::supervisor::Host;

use crate::load_source;
use crate::mosquitto::Mosquitto;
use crate::support::{eventually, spec};

pub fn run(program: &str, directory: &Path, arguments: &str) {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An authority, a certificate for this machine's broker, and one for a host.
fn certificates(directory: &Path) {
    certificates_for(directory, &["client"]);
}

/// An authority, a certificate for this machine's broker, and one for each of these names.
pub fn certificates_for(directory: &Path, names: &[&str]) {
    let openssl = |arguments: &str| run("openssl", directory, arguments);
    std::fs::write(
        directory.join("san"),
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    for ca in ["ca", "other"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={ca} -keyout {ca}.key -out {ca}.pem"
        ));
    }
    for name in ["server"].iter().chain(names) {
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out {name}.pem"
        ));
    }
}

fn configured(directory: &Path, state: &str, mosquitto: &Mosquitto, ca: &str) -> foundry_host::supervisor::HostConfig {
    let text = format!(
        "[host]\nname = \"{state}\"\n[broker]\nurl = \"mqtts://127.0.0.1:{}\"\nca = \"{ca}\"\n\
         certificate = \"client.pem\"\nkey = \"client.key\"\nuser = \"host\"\npassword-file = \"password\"\n\
         [messages]\nobserve = [\"relay-out\"]\n",
        mosquitto.port
    );
    let config = Config::parse(&directory.join("foundry.toml"), &text).unwrap();
    config.host(directory.join(state))
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_with_an_authority_a_client_certificate_and_a_login() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    certificates(path);
    std::fs::write(path.join("password"), "correct horse\n").unwrap();
    std::fs::set_permissions(path.join("password"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path.join("users"), "host:correct horse\n").unwrap();
    run("mosquitto_passwd", path, "-U users");
    let file = |name: &str| path.join(name).display().to_string();
    let more = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nallow_anonymous false\npassword_file {}\n",
        file("ca.pem"),
        file("server.pem"),
        file("server.key"),
        file("users"),
    );
    let mosquitto = Mosquitto::start(path, &more);

    let host = Host::start(configured(path, "inside", &mosquitto, "ca.pem"))
        .await
        .unwrap();
    host.load(spec("relay")).await.unwrap();
    load_source(&host, "relay-in", 5).await;
    eventually("all five are handled", async || {
        let seen = host.ledger().state("relay", "seen").await.unwrap();
        (seen.as_deref() == Some(b"5")).then_some(())
    })
    .await;
    assert!(format!("{:?}", host.broker()).starts_with("mqtts://"));
    assert_eq!(host.concerns(), Vec::<String>::new(), "as documented, it loses nothing");
    host.shutdown().await;

    // Signed by an authority that this host was not told to believe.
    let stranger = Host::start(configured(path, "outside", &mosquitto, "other.pem"))
        .await
        .unwrap();
    let why = eventually("the reason is shown", async || stranger.publisher().trouble).await;
    assert!(why.contains("certificate"), "{why}");
    stranger.shutdown().await;
}
