//! Keys that come from GnuPG and go there.

use super::*;
use crate::keys::{Algorithm, GnupgKey, KeyError, Passphrase, RevocationReason, Whose};

#[test]
fn a_generated_key_is_one_that_gnupg_imports_and_uses() {
    let bench = Bench::new();
    let store = bench.store();
    for (algorithm, name) in [(Algorithm::Ed25519, "ed25519"), (Algorithm::Rsa4096, "rsa4096")] {
        let new = NewKey {
            algorithm,
            expires_in: Some(std::time::Duration::from_secs(86_400 * 365)),
            passphrase: Some(Passphrase::new("correct horse".to_owned())),
            ..NewKey::new(format!("Fresh <{name}@example.org>"))
        };
        let key = store.generate(Role::Packages, &new).unwrap();
        assert_eq!(
            (key.algorithm.as_str(), key.has_secret, key.protected, key.expired),
            (name, true, true, false)
        );
        bench.gpg(
            &["--import"],
            store.export_secret(&key.fingerprint.to_string()).unwrap().expose(),
        );
        let listing = String::from_utf8(bench.gpg(&["--with-colons", "--list-secret-keys", name], b"")).unwrap();
        assert!(
            listing.contains(&key.fingerprint.to_string().to_uppercase()),
            "{listing}"
        );
        let expires = key.expires.unwrap().unix_timestamp().to_string();
        assert!(
            listing
                .lines()
                .any(|line| line.starts_with("sec:") && line.contains(&expires)),
            "{listing}"
        );
        let fingerprint = key.fingerprint.to_string();
        let signature = bench.gpg(
            &["--passphrase", "correct horse", "-u", &fingerprint, "--detach-sign"],
            b"data",
        );
        assert_eq!(
            store
                .trusted(Role::Packages)
                .unwrap()
                .verify_detached(b"data", &signature),
            Ok(key.fingerprint)
        );
    }
}

#[test]
fn a_key_comes_out_of_gnupg_with_its_passphrase() {
    let bench = Bench::new();
    let store = bench.store();
    let fingerprint = bench.gpg_key("Kept <kept@example.org>", "ed25519", "open sesame");
    let from = |passphrase: Option<&str>| GnupgKey {
        home: Some(bench.gnupg_home()),
        passphrase: passphrase.map(|text| Passphrase::new(text.to_owned())),
        ..GnupgKey::secret("kept@example.org")
    };
    let key = store
        .import_from_gnupg(&from(Some("open sesame")), &[Role::Packages], Whose::Unsaid)
        .unwrap();
    assert_eq!(key.fingerprint.to_string(), fingerprint);
    assert!(key.has_secret && key.protected);

    // gpg-agent remembers passphrases; a fresh one knows none.
    assert!(run(bench.command("gpgconf").args(["--kill", "gpg-agent"]), b"").ok);
    let refused = store
        .import_from_gnupg(&from(Some("wrong word")), &[Role::Packages], Whose::Unsaid)
        .unwrap_err();
    assert!(matches!(refused, KeyError::WrongPassphrase { .. }), "{refused}");
    assert!(!format!("{refused} {refused:?}").contains("wrong word"));

    let right = bench.write("right", "open sesame\n");
    let wrong = bench.write("wrong", "open barley\n");
    for path in [&right, &wrong] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let source = |path: &Path| PassphraseSource::none().with_file(key.fingerprint, path.to_owned());
    assert!(
        store
            .signer("kept@example.org", Role::Packages, &source(&right))
            .is_ok()
    );
    let refused = store
        .signer("kept@example.org", Role::Packages, &source(&wrong))
        .unwrap_err();
    assert!(
        matches!(&refused, KeyError::WrongPassphrase { origin, .. } if origin.ends_with("wrong")),
        "{refused}"
    );
    let refused = store
        .signer("kept@example.org", Role::Packages, &PassphraseSource::none())
        .unwrap_err();
    assert!(refused.to_string().contains("FOUNDRY_PASSPHRASE_FILE"), "{refused}");
}

#[test]
fn an_extended_key_has_its_new_expiry_for_gnupg_too() {
    let bench = Bench::new();
    let store = bench.store();
    let day = std::time::Duration::from_secs(86_400);
    let passphrase = Passphrase::new("secret".to_owned());
    let new = NewKey {
        expires_in: Some(day),
        passphrase: Some(passphrase.clone()),
        ..NewKey::new("E <e@example.org>")
    };
    let key = store.generate(Role::Packages, &new).unwrap();
    let prompt = PassphraseSource::none().with_prompt(Arc::new(move |_| Ok(passphrase.clone())));
    for expires_in in [Some(30 * day), None, Some(3 * day)] {
        let extended = store.extend("e@example.org", expires_in, &prompt).unwrap();
        assert_eq!(extended.expires.is_some(), expires_in.is_some());
        assert!(extended.protected && extended.expires != key.expires);
        bench.gpg(
            &["--import"],
            &store.export_public("e@example.org", Encoding::Armored).unwrap(),
        );
        let listing = String::from_utf8(bench.gpg(&["--with-colons", "--list-keys"], b"")).unwrap();
        let theirs = listing
            .lines()
            .find(|line| line.starts_with("pub:"))
            .unwrap()
            .split(':')
            .nth(6)
            .unwrap();
        assert_eq!(
            theirs,
            extended
                .expires
                .map(|at| at.unix_timestamp().to_string())
                .unwrap_or_default()
        );
        // gpg takes the newest of several self-signatures, to the second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert!(matches!(
        store.extend("e@example.org", None, &PassphraseSource::none()),
        Err(KeyError::Passphrase(_))
    ));
}

#[test]
fn keys_with_subkeys_are_extended_by_gnupg() {
    let bench = Bench::new();
    let store = bench.store();
    let fingerprint = bench.gpg_key("S <s@example.org>", "ed25519", "");
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
    store
        .import(&bench.gpg(&["--export-secret-keys"], b""), &[Role::Packages])
        .unwrap();
    let refused = store
        .extend("s@example.org", None, &PassphraseSource::none())
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains(&format!("gpg --quick-set-expire {fingerprint}")),
        "{refused}"
    );
}

#[test]
fn a_revoked_key_is_revoked_for_gnupg_too() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    assert!(
        store
            .revoke(
                "packages@example.org",
                RevocationReason::Compromised,
                &PassphraseSource::none()
            )
            .unwrap()
            .revoked
    );
    bench.gpg(
        &["--import"],
        &store.export_public("packages@example.org", Encoding::Armored).unwrap(),
    );
    let listing = String::from_utf8(bench.gpg(&["--with-colons", "--list-keys"], b"")).unwrap();
    assert!(
        listing.contains(&format!("pub:r:255:22:{}", key.key_id.to_string().to_uppercase())),
        "{listing}"
    );
    assert!(
        store
            .signer("packages@example.org", Role::Packages, &PassphraseSource::none())
            .is_err()
    );
    let refused = store
        .extend("packages@example.org", None, &PassphraseSource::none())
        .unwrap_err();
    assert!(refused.to_string().contains("can't be undone"), "{refused}");
}

#[test]
fn gnupg_without_the_key_says_so() {
    let bench = Bench::new();
    let missing = GnupgKey {
        home: Some(bench.gnupg_home()),
        ..GnupgKey::secret("--help")
    };
    let refused = bench
        .store()
        .import_from_gnupg(&missing, &[Role::Packages], Whose::Unsaid)
        .unwrap_err();
    assert!(refused.to_string().contains("no such key in the keyring"), "{refused}");
}

#[test]
fn several_keys_of_gnupg_with_one_address_are_ambiguous() {
    let bench = Bench::new();
    let one = bench.gpg_key("One <team@example.org>", "ed25519", "");
    bench.gpg_key("Two <team@example.org>", "ed25519", "");
    let team = GnupgKey {
        home: Some(bench.gnupg_home()),
        ..GnupgKey::secret("team@example.org")
    };
    let refused = bench
        .store()
        .import_from_gnupg(&team, &[Role::Packages], Whose::Unsaid)
        .unwrap_err();
    assert!(matches!(refused, KeyError::Ambiguous { .. }));
    assert!(refused.to_string().contains(&one), "{refused}");
}

#[test]
fn one_file_with_many_keys_is_imported_whole() {
    let bench = Bench::new();
    let names = ["ada@example.org", "bob@example.org", "eve@example.org"];
    for name in names {
        bench.gpg_key(name, "ed25519", "");
    }
    let armored = names.map(|name| bench.gpg(&["--armor", "--export", name], b""));
    let blocks = [b"Some words first.\n", &armored.concat()[..]].concat();
    let shapes = [
        bench.gpg(&["--export"], b""),
        bench.gpg(&["--armor", "--export"], b""),
        blocks,
    ];
    for (number, data) in shapes.into_iter().enumerate() {
        let store = KeyStore::open(bench.path(&format!("keys{number}"))).unwrap();
        assert_eq!(store.import(&data, &[Role::Commits]).unwrap().len(), 3);
        assert_eq!(store.list().unwrap().len(), 3);
    }
}

#[test]
fn committers_keys_are_stored_without_their_secret() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("C <c@example.org>", "ed25519", "");
    let store = bench.store();
    let key = store
        .import(&bench.gpg(&["--export-secret-keys"], b""), &[Role::Commits])
        .unwrap()
        .remove(0);
    assert!(!key.has_secret);
    let file = fs::read_to_string(bench.path(&format!("keys/{fingerprint}.asc"))).unwrap();
    assert!(file.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
    assert!(matches!(
        store.export_secret("c@example.org"),
        Err(KeyError::Unusable(_))
    ));
    let refused = store
        .signer("c@example.org", Role::Commits, &PassphraseSource::none())
        .unwrap_err();
    assert!(refused.to_string().contains("without its secret part"), "{refused}");
}

#[test]
fn what_others_certified_is_not_stored() {
    let bench = Bench::new();
    let owner = bench.gpg_key("Owner <owner@example.org>", "ed25519", "");
    let friend = bench.gpg_key("Friend <friend@example.org>", "ed25519", "");
    bench.gpg(&["--yes", "-u", &friend, "--quick-sign-key", &owner], b"");
    let data = bench.gpg(&["--export", &owner], b"");
    let store = bench.store();
    store.import(&data, &[Role::Commits]).unwrap();
    let stored = store.export_public(&owner, Encoding::Binary).unwrap();
    assert!(stored.len() < data.len());
    let listing = String::from_utf8(bench.gpg(&["--list-packets"], &stored)).unwrap();
    assert!(!listing.contains(&friend[24..].to_uppercase()), "{listing}");
}

#[test]
fn a_forged_user_id_does_not_find_a_key() {
    let bench = Bench::new();
    bench.gpg_key("Victim <victim@example.org>", "ed25519", "");
    bench.gpg_key("Mallory <mallory@example.org>", "ed25519", "");
    let victim = bench.gpg(&["--export", "victim@example.org"], b"");
    let mallory = bench.gpg(&["--export", "mallory@example.org"], b"");
    // Mallory's key packet with the victim's user id and signature behind it, and then its own.
    let key_length = 2 + usize::from(mallory[1]);
    let victim_key_length = 2 + usize::from(victim[1]);
    let forged = [
        &mallory[..key_length],
        &victim[victim_key_length..],
        &mallory[key_length..],
    ]
    .concat();
    let store = bench.store();
    let key = store.import(&forged, &[Role::Commits]).unwrap().remove(0);
    assert_eq!(key.user_ids, ["Mallory <mallory@example.org>"]);
    assert!(matches!(
        store.find("victim@example.org", Role::Commits),
        Err(KeyError::NotFound { .. })
    ));
}

/// A store with a key whose secret GnuPG keeps, as it does those of smartcards.
fn store_with_stub(bench: &Bench, passphrase: &str) -> (KeyStore, KeyInfo) {
    let fingerprint = bench.gpg_key("Card <card@example.org>", "ed25519", passphrase);
    // A stub of the primary key is exported with its subkeys only.
    bench.gpg(
        &[
            "--passphrase",
            passphrase,
            "--quick-add-key",
            &fingerprint,
            "cv25519",
            "encr",
            "0",
        ],
        b"",
    );
    let stub = bench.gpg(&["--passphrase", passphrase, "--export-secret-subkeys"], b"");
    let store = bench.store().with_gnupg_home(bench.gnupg_home());
    let key = store
        .import(&stub, &[Role::Packages, Role::Repository])
        .unwrap()
        .remove(0);
    assert!(key.kept_by_gnupg && !key.has_secret && !key.protected);
    (store, key)
}

#[test]
fn a_key_that_gnupg_keeps_signs_through_gpg() {
    let bench = Bench::new();
    let (store, key) = store_with_stub(&bench, "");
    let signer = signer(&store, &key, Role::Repository);
    let trusted = store.trusted(Role::Repository).unwrap();
    for text in ["trailing blanks  \t\n- dash\r\n\n", "no end", ""] {
        let document = signer.clear_sign(text.as_bytes()).unwrap();
        let path = bench.write("InRelease", &document);
        let ran = bench.gpgv(&store, Role::Repository, &[&path]);
        assert!(ran.ok && ran.said.contains("VALIDSIG"), "{text:?}: {}", ran.said);
        assert_eq!(trusted.verify_clear_signed(&document).unwrap().signer, key.fingerprint);
    }
    let data = vec![7; 1 << 20];
    let signature = signer.detach_sign(&data[..]).unwrap();
    assert_eq!(trusted.verify_detached(&data, &signature), Ok(key.fingerprint));
    let mut event = serde_json::json!({"id": "1"});
    signer.sign_event(&mut event).unwrap();
    assert_eq!(trusted.verify_event(&event), Ok(key.fingerprint));
}

#[test]
fn a_key_that_gnupg_has_lost_is_refused() {
    let bench = Bench::new();
    let (store, key) = store_with_stub(&bench, "");
    bench.gpg(&["--yes", "--delete-secret-keys", &key.fingerprint.to_string()], b"");
    let refused = store
        .signer("card@example.org", Role::Packages, &PassphraseSource::none())
        .unwrap_err();
    assert!(matches!(refused, KeyError::KeptByGnupg { .. }));
    assert!(refused.to_string().contains("without a secret part"), "{refused}");
    let refused = store
        .extend("card@example.org", None, &PassphraseSource::none())
        .unwrap_err();
    assert!(matches!(refused, KeyError::HasSubkeys { .. }), "{refused}");
}
