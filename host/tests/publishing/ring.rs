//! A repository that a key of the user's GnuPG ring signs, as it stands.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::Apt;
use crate::package::{Deb, run};
use crate::world::World;

pub const NAME: &str = "archive@example.org";

pub struct Ring(PathBuf);

impl Ring {
    /// With a key whose subkey signs.
    pub fn new(home: PathBuf) -> Self {
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
        let ring = Self(home);
        let user_id = format!("Archive <{NAME}>");
        ring.gpg(&["--quick-generate-key", &user_id, "ed25519", "cert,sign", "0"]);
        let primary = ring.fingerprints()[0].clone();
        ring.gpg(&["--quick-add-key", &primary, "rsa2048", "sign", "2y"]);
        ring
    }

    fn gpg(&self, args: &[&str]) -> String {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", &self.0);
        run(gpg
            .args(["--batch", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args))
    }

    /// Of the primary key and its subkey.
    fn fingerprints(&self) -> Vec<String> {
        let listing = self.gpg(&["--with-colons", "--list-keys", NAME]);
        let lines = listing.lines().filter(|line| line.starts_with("fpr:"));
        lines.map(|line| line.split(':').nth(9).unwrap().to_owned()).collect()
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

/// Who signed, as gpgv says it with the key that the repository offers.
fn signer(repository: &Path, suite: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let keyring = directory.path().join("keyring.gpg");
    run(Command::new("gpg")
        .arg("--dearmor")
        .args(["--yes", "--output"])
        .arg(&keyring)
        .arg(repository.join("key.asc")));
    let mut gpgv = Command::new("gpgv");
    gpgv.args(["--status-fd", "1", "--keyring"]).arg(&keyring);
    let said = run(gpgv.arg(repository.join(format!("dists/{suite}/InRelease"))));
    let (_, valid) = said.split_once("VALIDSIG ").unwrap();
    valid.split(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_gnupg_ring_signs_a_repository_that_apt_and_repo_take() {
    let world = World::new().await;
    let ring = Ring::new(world.host.directory.path().join("gnupg"));
    let distbot = world.distbot(&[("gpg-key", &[NAME]), ("codename", &["testing"])]).await;
    distbot.configure().await.unwrap();
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;

    let apt = Apt::local(&world.repository(), "testing");
    apt.update();
    assert_eq!(apt.content("hello"), "hello 1\n");
    // The subkey, as gpg itself chooses.
    assert_eq!(signer(&world.repository(), "testing"), ring.fingerprints()[1]);

    // The operator's program signs and checks with the same ring.
    let repo = |arguments: &[&str]| {
        let (verb, rest) = arguments.split_first().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_foundry-host"));
        command
            .env("FOUNDRY_STATE", world.host.directory.path())
            .env("GNUPGHOME", &ring.0);
        run(command.args(["repo", verb]).arg(world.repository()).args(rest))
    };
    repo(&["promote", "testing", "stable"]);
    repo(&["check"]);
    assert_eq!(signer(&world.repository(), "stable"), ring.fingerprints()[1]);
}
