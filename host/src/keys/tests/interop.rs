//! Signatures: ours before gpg, and gpg's before us.

use std::time::Duration;

use pgp::types::Timestamp;

use super::*;
use crate::keys::{UnusableKey, VerifyError, strip_clear_signature};

/// Texts that clear-signing could spoil.
const TEXTS: [&str; 9] = [
    "",
    "one line without an end",
    "Format: 1.8\nSource: tree\n",
    "trailing blanks  \t\nand tabs\t\n",
    "Windows\r\nline ends\r\n",
    "- dashes\n-- and more\n-----BEGIN PGP SIGNATURE-----\n",
    "\n\nempty lines\n\n\n",
    "From the start\nümläute\u{2028}\n",
    "mixed\r\n ends\n \n\t\r\n",
];

#[test]
fn gpgv_accepts_clear_signed_texts_of_every_shape() {
    let bench = Bench::new();
    for algorithm in ["ed25519", "rsa4096"] {
        let store = KeyStore::open(bench.path(algorithm)).unwrap();
        let user_id = format!("{algorithm}@example.org");
        bench.gpg_key(&user_id, algorithm, "");
        let secret = bench.gpg(&["--export-secret-keys", &user_id], b"");
        let key = store.import(&secret, &[Role::Repository]).unwrap().remove(0);
        let signer = signer(&store, &key, Role::Repository);
        let trusted = store.trusted(Role::Repository).unwrap();
        for text in TEXTS {
            let document = signer.clear_sign(text.as_bytes()).unwrap();
            let path = bench.write("InRelease", &document);
            let ran = bench.gpgv(&store, Role::Repository, &[&path]);
            assert!(
                ran.ok && ran.said.contains("VALIDSIG"),
                "{algorithm} {text:?}: {}",
                ran.said
            );
            assert!(ran.said.to_lowercase().contains(&key.fingerprint.to_string()));
            assert_eq!(
                strip_clear_signature(&document).unwrap(),
                text.as_bytes(),
                "to the byte"
            );
            assert_eq!(trusted.verify_clear_signed(&document).unwrap().signer, key.fingerprint);
        }
    }
}

#[test]
fn texts_clear_signed_by_gpg_are_accepted() {
    let bench = Bench::new();
    let store = bench.store();
    for algorithm in ["ed25519", "rsa3072"] {
        let user_id = format!("{algorithm}@example.org");
        let fingerprint = bench.gpg_key(&user_id, algorithm, "");
        store
            .import(&bench.gpg(&["--armor", "--export", &user_id], b""), &[Role::Packages])
            .unwrap();
        let trusted = store.trusted(Role::Packages).unwrap();
        for text in TEXTS.into_iter().filter(|text| !text.is_empty()) {
            let document = bench.gpg(&["--default-key", &fingerprint, "--clear-sign"], text.as_bytes());
            let verified = trusted
                .verify_clear_signed(&document)
                .unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(verified.signer.to_string(), fingerprint);
        }
    }
}

#[test]
fn what_a_clear_signed_text_yields_is_what_gpg_says_was_signed() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    bench.gpg(
        &["--import"],
        &store
            .export_public(&key.fingerprint.to_string(), Encoding::Armored)
            .unwrap(),
    );
    let signer = signer(&store, &key, Role::Packages);
    let trusted = store.trusted(Role::Packages).unwrap();
    for text in ["a  \nb\t\n", "- dash\n", "plain\n", "no end"] {
        let document = signer.clear_sign(text.as_bytes()).unwrap();
        let theirs = bench.gpg(&["--trust-model", "always", "--decrypt"], &document);
        let ours = trusted.verify_clear_signed(&document).unwrap().text;
        // gpg ends what it prints with a line end that is not part of the text.
        assert_eq!(
            String::from_utf8_lossy(&theirs),
            format!("{}\n", String::from_utf8_lossy(&ours)),
            "{text:?}"
        );
    }
}

#[test]
fn gpgv_accepts_detached_signatures() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Repository);
    let signer = signer(&store, &key, Role::Repository);
    let trusted = store.trusted(Role::Repository).unwrap();
    let data: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let release = bench.write("Release", &data);
    for signature in [
        signer.detach_sign_armored(&data[..]).unwrap(),
        signer.detach_sign(&data[..]).unwrap(),
    ] {
        let path = bench.write("Release.gpg", &signature);
        let ran = bench.gpgv(&store, Role::Repository, &[&path, &release]);
        assert!(ran.ok && ran.said.contains("VALIDSIG"), "{}", ran.said);
        assert_eq!(trusted.verify_detached(&data, &signature), Ok(key.fingerprint));
    }
}

#[test]
fn a_flipped_byte_is_refused() {
    let bench = Bench::new();
    let (signer, trusted) = signer_and_trust(&bench, Role::Packages);
    let data = b"Format: 1.8\nSource: tree\n";
    let signature = signer.detach_sign(&data[..]).unwrap();
    let document = signer.clear_sign(data).unwrap();
    for at in 0..data.len() {
        let mut altered = data.to_vec();
        altered[at] ^= 1;
        assert!(
            matches!(
                trusted.verify_detached(&altered, &signature),
                Err(VerifyError::Bad { .. })
            ),
            "byte {at}"
        );
    }
    for at in 0..signature.len() {
        let mut altered = signature.clone();
        altered[at] ^= 1;
        // The unhashed hint at the issuer is not covered; everything else is.
        if let Ok(signer) = trusted.verify_detached(data, &altered) {
            assert_eq!(Some(signer), trusted.fingerprints().next(), "byte {at}");
            let plain = bench.write("plain", data);
            let altered = bench.write("altered.sig", &altered);
            let keyring = bench.write("ring", bench.store().export_keyring(Role::Packages).unwrap());
            let mut gpgv = bench.command("gpgv");
            gpgv.arg("--keyring").arg(keyring).arg(altered).arg(plain);
            assert!(run(&mut gpgv, b"").ok, "gpgv agrees about byte {at}");
        }
    }
    let text = String::from_utf8(document).unwrap();
    let altered = text.replace("tree", "treE");
    assert!(matches!(
        trusted.verify_clear_signed(altered.as_bytes()),
        Err(VerifyError::Bad { .. })
    ));
    let header_removed = text.replace("Hash: SHA512", "Hash: SHA256");
    assert!(
        trusted.verify_clear_signed(header_removed.as_bytes()).is_ok(),
        "the header is only a hint"
    );
}

#[test]
fn trailing_blanks_that_someone_added_do_not_reach_the_reader() {
    let bench = Bench::new();
    let (signer, trusted) = signer_and_trust(&bench, Role::Packages);
    let document = String::from_utf8(signer.clear_sign(b"a: b\n\nc: d\n").unwrap()).unwrap();
    let blanks = document.replace("a: b\n\n", "a: b \n\t\n");
    assert_ne!(document, blanks);
    assert_eq!(
        trusted.verify_clear_signed(blanks.as_bytes()).unwrap().text,
        b"a: b\n\nc: d\n"
    );
}

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
fn no_signature_and_garbage_are_told_apart() {
    let bench = Bench::new();
    let (_, trusted) = signer_and_trust(&bench, Role::Packages);
    assert_eq!(trusted.verify_detached(b"data", b""), Err(VerifyError::Unsigned));
    assert_eq!(
        trusted.verify_clear_signed(b"Source: tree\n"),
        Err(VerifyError::Unsigned)
    );
    for garbage in [
        &b"garbage"[..],
        b"\x88\x01\x02",
        b"-----BEGIN PGP SIGNATURE-----\n\n!!\n-----END PGP SIGNATURE-----\n",
    ] {
        assert!(
            matches!(
                trusted.verify_detached(b"data", garbage),
                Err(VerifyError::Malformed { .. })
            ),
            "{garbage:?}"
        );
    }
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

#[test]
fn git_commits_signed_with_gpg_are_accepted_and_altered_ones_are_not() {
    let bench = Bench::new();
    let store = bench.store();
    let fingerprint = bench.gpg_key("Committer <committer@example.org>", "ed25519", "");
    store.import(&bench.gpg(&["--export"], b""), &[Role::Commits]).unwrap();
    let trusted = store.trusted(Role::Commits).unwrap();
    let git = |args: &[&str]| {
        let mut command = bench.command("git");
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        command
            .args(["-c", "user.name=C", "-c", "user.email=committer@example.org"])
            .args(args);
        let ran = run(&mut command, b"");
        assert!(ran.ok, "git {args:?}: {}", ran.said);
        String::from_utf8(ran.stdout).unwrap()
    };
    git(&["init", "-q", "."]);
    git(&[
        "commit",
        "-q",
        "--allow-empty",
        "-S",
        &format!("--gpg-sign={fingerprint}"),
        "-m",
        "Subject\n\nBody\n",
    ]);
    let commit = git(&["cat-file", "commit", "HEAD"]);
    let (payload, signature) = split_commit(&commit);
    assert_eq!(
        trusted
            .verify_commit(payload.as_bytes(), &signature)
            .unwrap()
            .to_string(),
        fingerprint
    );

    let altered = payload.replace("Subject", "subject");
    assert!(matches!(
        trusted.verify_commit(altered.as_bytes(), &signature),
        Err(VerifyError::Bad { .. })
    ));
    assert_eq!(
        trusted.verify_commit(payload.as_bytes(), ""),
        Err(VerifyError::Unsigned)
    );
    let nobody = trusted.restricted_to(&[]);
    assert!(matches!(
        nobody.verify_commit(payload.as_bytes(), &signature),
        Err(VerifyError::UnknownSigner { .. })
    ));
}

#[test]
fn ssh_and_x509_commit_signatures_are_called_unsupported() {
    let trusted = TrustedKeys::default();
    for (armor, kind) in [("SSH SIGNATURE", "SSH"), ("SIGNED MESSAGE", "X.509")] {
        let signature = format!("-----BEGIN {armor}-----\nU1NI\n-----END {armor}-----\n");
        let refused = trusted.verify_commit(b"tree 0\n", &signature).unwrap_err();
        assert!(
            matches!(&refused, VerifyError::Unsupported { kind: found } if found == kind),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("only OpenPGP"));
    }
}

/// What git2's `extract_signature` does.
fn split_commit(commit: &str) -> (String, String) {
    let (headers, body) = commit.split_once("\n\n").unwrap();
    let mut payload = String::new();
    let mut signature = String::new();
    let mut in_signature = false;
    for line in headers.lines() {
        if let Some(first) = line.strip_prefix("gpgsig ") {
            in_signature = true;
            signature = format!("{first}\n");
        } else if let (true, Some(more)) = (in_signature, line.strip_prefix(' ')) {
            signature += &format!("{more}\n");
        } else {
            in_signature = false;
            payload += &format!("{line}\n");
        }
    }
    (format!("{payload}\n{body}"), signature)
}
