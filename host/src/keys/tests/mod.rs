//! Against the real programs: gpg, gpgv, debsigs, debsig-verify, git.

mod archives;
mod bindings;
mod commits;
mod debs;
mod documents;
mod events;
mod gnupg;
mod ring;
mod ring_faults;
mod secrets;
mod store;
mod validity;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::{Encoding, KeyInfo, KeyStore, NewKey, PassphraseSource, Role, Signer, TrustedKeys};

/// What a program did.
struct Ran {
    ok: bool,
    code: Option<i32>,
    stdout: Vec<u8>,
    /// Standard error, and standard output where it is text.
    said: String,
}

/// Runs a program with the input on standard input.
fn run(command: &mut Command, input: &[u8]) -> Ran {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {name}: {error} (apt install gnupg debsigs debsig-verify git jq)"));
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    Ran {
        ok: output.status.success(),
        code: output.status.code(),
        stdout: output.stdout,
        said,
    }
}

/// A directory to work in, with a GnuPG home of its own.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = TempDir::with_prefix("fk").unwrap();
        fs::create_dir(directory.path().join("gnupg")).unwrap();
        fs::set_permissions(directory.path().join("gnupg"), fs::Permissions::from_mode(0o700)).unwrap();
        let bench = Self { directory };
        // Guessing passphrases may be cheap here, and the tests quick.
        bench.write("gnupg/gpg-agent.conf", "s2k-count 65536\n");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn gnupg_home(&self) -> PathBuf {
        self.path("gnupg")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("GNUPGHOME", self.gnupg_home())
            .current_dir(self.directory.path());
        command
    }

    /// Runs gpg, which must succeed.
    fn gpg(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let ran = run(
            self.command("gpg")
                .args(["--batch", "--pinentry-mode", "loopback"])
                .args(args),
            input,
        );
        assert!(ran.ok, "gpg {args:?}: {}", ran.said);
        ran.stdout
    }

    /// Makes a key in GnuPG and gives its fingerprint.
    fn gpg_key(&self, user_id: &str, algorithm: &str, passphrase: &str) -> String {
        self.gpg(
            &[
                "--passphrase",
                passphrase,
                "--quick-gen-key",
                user_id,
                algorithm,
                "cert,sign",
                "0",
            ],
            b"",
        );
        self.gpg_fingerprint(user_id)
    }

    fn gpg_fingerprint(&self, user_id: &str) -> String {
        let listing = String::from_utf8(self.gpg(&["--with-colons", "--list-keys", user_id], b"")).unwrap();
        let line = listing.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_lowercase()
    }

    /// A store in this directory.
    fn store(&self) -> KeyStore {
        KeyStore::open(self.path("keys")).unwrap()
    }

    /// gpgv with the store's keys of the role as its only keys.
    fn gpgv(&self, store: &KeyStore, role: Role, files: &[&Path]) -> Ran {
        let keyring = self.write("ring.gpg", store.export_keyring(role).unwrap());
        let mut command = self.command("gpgv");
        command
            .arg("--keyring")
            .arg(keyring)
            .args(["--status-fd", "2"])
            .args(files);
        run(&mut command, b"")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The agent that gpg started for this home, and no other.
        let _ = run(self.command("gpgconf").args(["--kill", "gpg-agent"]), b"");
    }
}

/// A store with one fresh Ed25519 key in the role.
fn store_with_key(bench: &Bench, role: Role) -> (KeyStore, KeyInfo) {
    let store = bench.store();
    let key = store
        .generate(role, &NewKey::new(format!("Test {role} <{role}@example.org>")))
        .unwrap();
    (store, key)
}

fn signer(store: &KeyStore, key: &KeyInfo, role: Role) -> Arc<Signer> {
    store
        .signer(&key.fingerprint.to_string(), role, &PassphraseSource::none())
        .unwrap()
}

fn signer_and_trust(bench: &Bench, role: Role) -> (Arc<Signer>, Arc<TrustedKeys>) {
    let (store, key) = store_with_key(bench, role);
    (signer(&store, &key, role), store.trusted(role).unwrap())
}
