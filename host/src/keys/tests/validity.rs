//! Keys that are not good enough: foreign, expired, revoked, weak, or not for signing.

use std::time::Duration;

use pgp::types::Timestamp;

use super::*;
use crate::keys::{UnusableKey, VerifyError};

#[test]
fn the_signature_of_a_key_that_is_not_trusted_is_refused() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let other = store
        .generate(Role::Packages, &NewKey::new("Other <other@example.org>"))
        .unwrap();
    let signature = signer(&store, &other, Role::Packages)
        .detach_sign(&b"data"[..])
        .unwrap();
    let trusted = store.trusted(Role::Packages).unwrap();
    assert_eq!(trusted.verify_detached(b"data", &signature), Ok(other.fingerprint));

    let only_key = trusted.restricted_to(&[key.fingerprint]);
    let refused = only_key.verify_detached(b"data", &signature).unwrap_err();
    assert!(
        matches!(&refused, VerifyError::UnknownSigner { issuer, allowed: 1 } if *issuer == other.fingerprint.to_string())
    );
    let nobody = store.trusted(Role::Commits).unwrap();
    assert!(matches!(
        nobody.verify_detached(b"data", &signature),
        Err(VerifyError::UnknownSigner { allowed: 0, .. })
    ));
}

#[test]
fn an_expired_key_neither_signs_nor_is_believed() {
    let bench = Bench::new();
    let store = bench.store();
    let new = NewKey {
        expires_in: Some(Duration::from_secs(3600)),
        ..NewKey::new("Short <short@example.org>")
    };
    let key = store.generate(Role::Packages, &new).unwrap();
    let signer = signer(&store, &key, Role::Packages);
    let signature = signer.detach_sign(&b"data"[..]).unwrap();
    let trusted = store.trusted(Role::Packages).unwrap();
    assert!(trusted.verify_detached(b"data", &signature).is_ok());

    let later = Timestamp::from_secs(Timestamp::now().as_secs() + 3601);
    let refused = signer.usable_at(later).unwrap_err();
    assert!(matches!(&refused, UnusableKey::Expired { .. }));
    let message = refused.to_string();
    for part in [
        key.fingerprint.to_string().as_str(),
        "short@example.org",
        "expired at 20",
        "key extend",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let signatures = crate::keys::verify::read_signatures(&signature).unwrap();
    let kind = pgp::packet::SignatureType::Binary;
    assert!(matches!(
        trusted.verify_any(b"data", &signatures, kind, later),
        Err(VerifyError::KeyExpired { .. })
    ));
    // Before the signature was made (beyond what clocks may differ).
    let earlier = Timestamp::from_secs(Timestamp::now().as_secs() - 1000);
    assert!(matches!(
        trusted.verify_any(b"data", &signatures, kind, earlier),
        Err(VerifyError::ImpossibleTime { .. })
    ));
}

#[test]
fn a_key_that_expired_in_gnupg_is_refused() {
    let bench = Bench::new();
    let store = bench.store();
    let user_id = "Old <old@example.org>";
    let args = [
        "--passphrase",
        "",
        "--faked-system-time",
        "20200101T000000!",
        "--quick-gen-key",
        user_id,
        "ed25519",
        "sign",
        "1y",
    ];
    bench.gpg(&args, b"");
    let signature = bench.gpg(&["--faked-system-time", "20200102T000000!", "--detach-sign"], b"data");
    let secret = bench.gpg(&["--export-secret-keys"], b"");
    let key = store.import(&secret, &[Role::Packages]).unwrap().remove(0);
    assert!(key.expired && key.has_secret);
    assert_eq!(key.expires.unwrap().to_string(), "2020-12-31 0:00:00.0 +00:00:00");
    let refused = store
        .signer("old@example.org", Role::Packages, &PassphraseSource::none())
        .unwrap_err();
    assert!(
        refused.to_string().contains("expired at 2020-12-31T00:00:00Z"),
        "{refused}"
    );
    let refused = store
        .trusted(Role::Packages)
        .unwrap()
        .verify_detached(b"data", &signature);
    assert!(matches!(refused, Err(VerifyError::KeyExpired { .. })), "{refused:?}");
}

#[test]
fn a_key_revoked_in_gnupg_is_refused_and_stays_so() {
    let bench = Bench::new();
    let store = bench.store();
    let fingerprint = bench.gpg_key("Gone <gone@example.org>", "ed25519", "");
    let before = bench.gpg(&["--export-secret-keys"], b"");
    let signature = bench.gpg(&["--detach-sign"], b"data");
    store.import(&before, &[Role::Packages]).unwrap();
    assert!(
        store
            .trusted(Role::Packages)
            .unwrap()
            .verify_detached(b"data", &signature)
            .is_ok()
    );

    // GnuPG makes a revocation certificate beside each new key, with a colon against accidents.
    let certificate = bench
        .gnupg_home()
        .join(format!("openpgp-revocs.d/{}.rev", fingerprint.to_uppercase()));
    let certificate = fs::read_to_string(certificate)
        .unwrap()
        .replace(":-----BEGIN", "-----BEGIN");
    bench.gpg(&["--import"], certificate.as_bytes());
    let key = store
        .import(&bench.gpg(&["--export"], b""), &[Role::Packages])
        .unwrap()
        .remove(0);
    assert!(key.revoked && key.has_secret, "the secret part is kept");
    for _ in 0..2 {
        let refused = store
            .signer("gone@example.org", Role::Packages, &PassphraseSource::none())
            .unwrap_err();
        assert!(refused.to_string().contains("was revoked at 20"), "{refused}");
        let refused = store
            .trusted(Role::Packages)
            .unwrap()
            .verify_detached(b"data", &signature);
        assert!(matches!(refused, Err(VerifyError::KeyRevoked { .. })), "{refused:?}");
        // An older copy does not bring the key back.
        store.import(&before, &[Role::Packages]).unwrap();
    }
}

#[test]
fn a_signing_subkey_signs_and_the_primary_key_is_named() {
    let bench = Bench::new();
    let store = bench.store();
    let user_id = "Sub <sub@example.org>";
    bench.gpg(
        &["--passphrase", "", "--quick-gen-key", user_id, "ed25519", "cert", "0"],
        b"",
    );
    let fingerprint = bench.gpg_fingerprint(user_id);
    bench.gpg(
        &[
            "--passphrase",
            "",
            "--quick-add-key",
            &fingerprint,
            "ed25519",
            "sign",
            "0",
        ],
        b"",
    );
    // The primary's secret stays offline: gpg leaves a stub of it.
    let secret = bench.gpg(&["--export-secret-subkeys", user_id], b"");
    let key = store.import(&secret, &[Role::Repository]).unwrap().remove(0);
    assert!(key.has_secret && !key.protected);
    let signer = signer(&store, &key, Role::Repository);
    assert_eq!(signer.fingerprint().to_string(), fingerprint);
    let document = signer.clear_sign(b"Origin: x\n").unwrap();
    let path = bench.write("InRelease", &document);
    let ran = bench.gpgv(&store, Role::Repository, &[&path]);
    assert!(ran.ok && ran.said.to_lowercase().contains(&fingerprint), "{}", ran.said);
    let verified = store
        .trusted(Role::Repository)
        .unwrap()
        .verify_clear_signed(&document)
        .unwrap();
    assert_eq!(verified.signer.to_string(), fingerprint);
    // The export of what was imported is still the same key to gpg.
    let listing = bench.gpg(
        &["--show-keys", "--with-colons"],
        store.export_secret(&fingerprint).unwrap().expose(),
    );
    assert!(String::from_utf8(listing).unwrap().contains("ssb:"));
}

#[test]
fn the_signature_of_a_key_that_may_only_certify_is_refused() {
    let bench = Bench::new();
    let store = bench.store();
    let user_id = "Certifier <certifier@example.org>";
    bench.gpg(
        &[
            "--passphrase",
            "",
            "--quick-gen-key",
            user_id,
            "rsa2048",
            "cert,sign",
            "0",
        ],
        b"",
    );
    let fingerprint = bench.gpg_fingerprint(user_id);
    let signature = bench.gpg(&["--detach-sign"], b"data");
    // The owner takes the right back: a new self-signature, later than the first one.
    std::thread::sleep(Duration::from_millis(1100));
    let script = b"change-usage\nS\nQ\nsave\n";
    let ran = run(
        bench
            .command("gpg")
            .args(["--command-fd", "0", "--expert", "--no-tty", "--edit-key", &fingerprint]),
        script,
    );
    assert!(ran.ok, "{}", ran.said);
    store
        .import(&bench.gpg(&["--export-secret-keys"], b""), &[Role::Packages])
        .unwrap();
    let refused = store
        .trusted(Role::Packages)
        .unwrap()
        .verify_detached(b"data", &signature);
    assert!(
        matches!(refused, Err(VerifyError::NotASigningKey { .. })),
        "{refused:?}"
    );
    let refused = store
        .signer(&fingerprint, Role::Packages, &PassphraseSource::none())
        .unwrap_err();
    assert!(refused.to_string().contains("no part that may sign"), "{refused}");
}

#[test]
fn signatures_over_sha1_digests_are_refused() {
    let bench = Bench::new();
    let store = bench.store();
    bench.gpg_key("Weak <weak@example.org>", "rsa2048", "");
    store.import(&bench.gpg(&["--export"], b""), &[Role::Packages]).unwrap();
    let signature = bench.gpg(&["--digest-algo", "SHA1", "--detach-sign"], b"data");
    let refused = store
        .trusted(Role::Packages)
        .unwrap()
        .verify_detached(b"data", &signature);
    assert!(
        matches!(&refused, Err(VerifyError::WeakDigest { digest }) if digest == "SHA1"),
        "{refused:?}"
    );
}

#[test]
fn signatures_by_short_rsa_keys_are_refused() {
    let bench = Bench::new();
    let store = bench.store();
    bench.gpg_key("Short <short@example.org>", "rsa1024", "");
    store.import(&bench.gpg(&["--export"], b""), &[Role::Packages]).unwrap();
    let signature = bench.gpg(&["--detach-sign"], b"data");
    let refused = store
        .trusted(Role::Packages)
        .unwrap()
        .verify_detached(b"data", &signature);
    assert!(
        matches!(&refused, Err(VerifyError::WeakKey { algorithm, .. }) if algorithm == "rsa1024"),
        "{refused:?}"
    );
}
