//! Signatures over bots, with gpg on the other side.

use std::path::Path;
use std::process::{Command, Output};

use super::home::{Home, load};

/// A GnuPG keyring of its own, with a key of an author's.
struct Author(tempfile::TempDir);

impl Author {
    fn new() -> Self {
        let author = Self(tempfile::Builder::new().prefix("gnupg-").tempdir().unwrap());
        author.ok(&["--quick-generate-key", "Jo <jo@example.org>", "ed25519", "sign"]);
        author
    }

    fn gpg(&self, args: &[&str]) -> Output {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.0.path());
        gpg.args(["--batch", "--quiet", "--yes", "--passphrase", ""])
            .args(args)
            .output()
            .unwrap()
    }

    fn ok(&self, args: &[&str]) -> Vec<u8> {
        let output = self.gpg(args);
        assert!(output.status.success(), "gpg {args:?}: {output:?}");
        output.stdout
    }

    fn public_key(&self, path: &Path) {
        std::fs::write(path, self.ok(&["--armor", "--export"])).unwrap();
    }
}

impl Drop for Author {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

fn guest(home: &Home) -> String {
    let path = home.path().join("bot.wasm");
    std::fs::copy(Home::guest("relay"), &path).unwrap();
    path.display().to_string()
}

#[test]
fn a_bot_that_gpg_signed_is_loaded_if_its_author_is_known() {
    let (home, author) = (Home::new(), Author::new());
    let bot = guest(&home);
    // Unsigned: loaded unless the operator minds.
    let said = home.run(&load(&["--signed", &bot]));
    assert_eq!(said.code, 5, "{said:?}");
    assert!(
        said.err.contains("bot.wasm is not signed") && said.err.contains("key sign"),
        "{said:?}"
    );
    home.ok(&load(&[&bot, "--as", "unsigned"]));

    // Signed by nobody that is known here.
    author.ok(&["--armor", "--detach-sign", &bot]);
    let said = home.run(&load(&[&bot]));
    assert_eq!(said.code, 5, "{said:?}");
    assert!(
        said.err.contains("bot.wasm.asc") && said.err.contains("key import --role bots"),
        "{said:?}"
    );

    let key = home.path().join("jo.asc");
    author.public_key(&key);
    let imported = home.json(&["key", "import", "--role", "bots", &key.display().to_string()]);
    home.ok(&load(&["--signed", &bot, "--as", "signed"]));
    assert_eq!(home.json(&["grants", "signed"])["signer"], imported[0]["fingerprint"]);

    // The signature is for the component as it was.
    std::fs::copy(Home::guest("conformer"), &bot).unwrap();
    let said = home.run(&load(&[&bot, "--as", "other"]));
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("was altered"), "{said:?}");
}

#[test]
fn what_the_host_signs_gpg_verifies() {
    let (home, author) = (Home::bare(), Author::new());
    let bot = guest(&home);
    home.ok(&[
        "key",
        "generate",
        "--role",
        "bots",
        "--user-id",
        "Host <host@example.org>",
    ]);
    let signed = home.json(&["key", "sign", &bot, "--key", "host@example.org"]);
    let signature = signed["signature"].as_str().unwrap();
    assert_eq!(signature, format!("{bot}.asc"));
    let public = home.ok(&["key", "export", "host@example.org"]);
    let file = home.write("host.asc", &public).display().to_string();
    author.ok(&["--import", &file]);
    author.ok(&["--verify", signature, &bot]);
    std::fs::write(&bot, "another").unwrap();
    assert!(!author.gpg(&["--verify", signature, &bot]).status.success());
    // Keys for other things don't sign bots.
    home.ok(&[
        "key",
        "generate",
        "--role",
        "packages",
        "--user-id",
        "P <p@example.org>",
    ]);
    assert_eq!(home.run(&["key", "sign", &bot, "--key", "p@example.org"]).code, 5);
}

#[test]
fn a_host_that_wants_signatures_takes_no_bot_without_one() {
    let home = Home::bare();
    let bot = guest(&home);
    home.write(
        "foundry.toml",
        &format!(
            "[host]\nrequire-signed-bots = true\n[broker]\nlisten = \"127.0.0.1:0\"\n[bots.mine]\nuse = {bot:?}\n\
             grants.read = [\"relay-in\"]\ngrants.publish = [\"relay-out\"]\n"
        ),
    );
    let host = home.start(&["run", "-c", "foundry.toml"]);
    let said = host.read_until("is not signed");
    assert!(said.contains("mine"), "{said}");
}
