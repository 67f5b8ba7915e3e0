//! How long signing and checking take: `cargo run --release --example signing_speed`.
//!
//! Prints one line per measurement: what, with which kind of key, microseconds for each.

use std::error::Error;
use std::fs::DirBuilder;
use std::hint::black_box;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use foundry_host::keys::{Algorithm, KeyStore, NewKey, PassphraseSource, Role};
use serde_json::{Value, json};

/// How long to repeat each measurement.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    for (algorithm, name) in [(Algorithm::Ed25519, "ed25519"), (Algorithm::Rsa4096, "rsa4096")] {
        let store = KeyStore::open(directory.path().join(name))?;
        let new = NewKey {
            algorithm,
            ..NewKey::new("Speed <speed@example.org>")
        };
        store.generate(Role::Messages, &new)?;
        let unlock = || store.signer("speed@example.org", Role::Messages, &PassphraseSource::none());
        let signer = unlock()?;
        let trusted = store.trusted(Role::Messages)?;
        let mut event = event();
        signer.sign_event(&mut event)?;
        let text = "Package: probe\nVersion: 1.0\n".repeat(150);
        let document = signer.clear_sign(text.as_bytes())?;

        measure("open and unlock the key", name, || unlock().is_ok());
        measure("sign an event", name, || signer.sign_event(&mut event.clone()).is_ok());
        measure("check an event", name, || trusted.verify_event(&event).is_ok());
        measure("clear-sign 4 KiB", name, || signer.clear_sign(text.as_bytes()).is_ok());
        measure("check 4 KiB of clear-signed text", name, || {
            trusted.verify_clear_signed(&document).is_ok()
        });
        measure("sign 64 MiB detached", name, || {
            signer.detach_sign(io::repeat(7).take(64 << 20)).is_ok()
        });
    }
    let home = directory.path().join("gnupg");
    let measured = by_gnupg(&home);
    Command::new("gpgconf")
        .env("GNUPGHOME", &home)
        .args(["--kill", "gpg-agent"])
        .status()?;
    measured
}

/// Keys of a GnuPG ring, whose agent signs.
fn by_gnupg(home: &Path) -> Result<(), Box<dyn Error>> {
    DirBuilder::new().mode(0o700).create(home)?;
    let store = KeyStore::open(home.with_extension("keys"))?.with_gnupg_home(home.to_owned());
    let text = "Package: probe\nVersion: 1.0\n".repeat(150);
    for name in ["ed25519", "rsa4096"] {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", home)
            .args(["--batch", "--quiet", "--passphrase", "", "--quick-generate-key", name]);
        if !gpg.args([name, "cert,sign", "0"]).status()?.success() {
            return Err("gpg made no key".into());
        }
        let unlock = || store.signer(name, Role::Packages, &PassphraseSource::none());
        measure("gpg-agent: look the key up anew", name, || {
            let store = KeyStore::open(store.directory()).map(|store| store.with_gnupg_home(home.to_owned()));
            store.is_ok_and(|store| store.signer(name, Role::Packages, &PassphraseSource::none()).is_ok())
        });
        // From here on the ring's files are old enough for what was found to be remembered.
        measure("gpg-agent: look the key up", name, || unlock().is_ok());
        let signer = unlock()?;
        measure("gpg-agent: clear-sign 4 KiB", name, || {
            signer.clear_sign(text.as_bytes()).is_ok()
        });
    }
    Ok(())
}

/// Of the size that events have.
fn event() -> Value {
    json!({
        "specversion": "1.0", "id": "0191c0de-0000-7000-8000-000000000000", "source": "foundry://host-a/buildbot",
        "type": "foundry.build.v1", "time": "2026-11-23T08:50:43Z", "subject": "tree", "run": "r-0191c0de",
        "cause": "0191c0dd-0000-7000-8000-000000000000",
        "data": {
            "repository": "https://git.example.org/tree.git", "branch": "main",
            "commit": "8f3a5d0f1d7c4c1b9f0e6a2b3c4d5e6f708192a3", "result": "success",
            "artifacts": [
                {"name": "tree_2.1.0-1_amd64.deb", "size": 54_321, "sha256": "a".repeat(64)},
                {"name": "tree_2.1.0-1_amd64.changes", "size": 2_100, "sha256": "b".repeat(64)},
                {"name": "tree_2.1.0-1_amd64.buildinfo", "size": 5_300, "sha256": "c".repeat(64)}
            ]
        }
    })
}

fn measure(what: &str, key: &str, mut work: impl FnMut() -> bool) {
    let started = Instant::now();
    let mut times = 0_u32;
    while started.elapsed() < PATIENCE || times < 3 {
        assert!(black_box(work()), "{what} with {key} failed");
        times += 1;
    }
    let each = started.elapsed() / times;
    println!("{what:<34} {key:<8} {:>10.1} us", each.as_secs_f64() * 1e6);
}
