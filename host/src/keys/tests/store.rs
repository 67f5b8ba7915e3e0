//! The store's files, and finding keys in it.

use super::*;
use crate::keys::{KeyError, Passphrase};

#[test]
fn a_passphrase_comes_from_the_first_source_that_has_one() {
    let bench = Bench::new();
    let store = bench.store();
    let new = NewKey {
        passphrase: Some(Passphrase::new("secret".to_owned())),
        ..NewKey::new("P <p@example.org>")
    };
    let key = store.generate(Role::Packages, &new).unwrap();
    let credentials = bench.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join(key.fingerprint.to_string()), "secret").unwrap();
    let open = |source: &PassphraseSource| store.signer("p@example.org", Role::Packages, source).map(|_| ());
    open(&PassphraseSource::none().with_credentials_directory(credentials.clone())).unwrap();
    open(&PassphraseSource::none().with_prompt(Arc::new(|_| Ok(Passphrase::new("secret".to_owned()))))).unwrap();

    let common = bench.write("common", "other\n");
    fs::set_permissions(&common, fs::Permissions::from_mode(0o600)).unwrap();
    let both = PassphraseSource::none()
        .with_credentials_directory(credentials)
        .with_common_file(common.clone());
    assert!(
        matches!(open(&both), Err(KeyError::WrongPassphrase { .. })),
        "the file goes first"
    );

    fs::set_permissions(&common, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = open(&PassphraseSource::none().with_common_file(common.clone()))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("mode 644") && refused.contains("chmod 600"),
        "{refused}"
    );
    fs::set_permissions(&common, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&common, "\nsecret\n").unwrap();
    let refused = open(&PassphraseSource::none().with_common_file(common))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("first line is empty"), "{refused}");
}

#[test]
fn keys_are_found_by_fingerprint_ids_and_address() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let fingerprint = key.fingerprint.to_string();
    let queries = [
        fingerprint.clone(),
        fingerprint.to_uppercase(),
        format!("0x{fingerprint}"),
        key.key_id.to_string(),
        format!("0x{}", key.key_id.to_string().to_uppercase()),
        fingerprint[32..].to_owned(),
        "packages@example.org".to_owned(),
        "Test packages <packages@example.org>".to_owned(),
    ];
    for query in queries {
        assert_eq!(store.find(&query, Role::Packages).unwrap(), key, "{query}");
    }
    assert!(matches!(
        store.find("nobody@example.org", Role::Packages),
        Err(KeyError::NotFound { .. })
    ));
    let refused = store.find(&fingerprint, Role::Repository).unwrap_err();
    assert!(matches!(
        refused,
        KeyError::WrongRole {
            role: Role::Repository,
            ..
        }
    ));
    assert!(
        refused
            .to_string()
            .contains(&format!("key roles {fingerprint} --role packages --role repository")),
        "{refused}"
    );

    store.set_roles(&fingerprint, &[Role::Repository]).unwrap();
    assert!(store.find(&fingerprint, Role::Repository).is_ok());
    assert!(store.find(&fingerprint, Role::Packages).is_err());
}

#[test]
fn an_ambiguous_name_lists_the_candidates() {
    let bench = Bench::new();
    let store = bench.store();
    let keys: Vec<_> = (0..2)
        .map(|number| {
            store
                .generate(Role::Packages, &NewKey::new(format!("Key {number} <same@example.org>")))
                .unwrap()
        })
        .collect();
    let refused = store.find("same@example.org", Role::Packages).unwrap_err().to_string();
    for key in keys {
        assert!(refused.contains(&key.to_string()), "{refused}");
    }
    // A role tells them apart.
    let other = store
        .generate(Role::Messages, &NewKey::new("Key 3 <same@example.org>"))
        .unwrap();
    assert_eq!(store.find("same@example.org", Role::Messages).unwrap(), other);
}

#[test]
fn files_are_for_their_owner_only() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(store.directory()), 0o700);
    for entry in fs::read_dir(store.directory()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(
        fs::read_dir(store.directory()).unwrap().count(),
        3,
        "key, metadata, lock and no temporary files"
    );
    store.remove(&key.fingerprint.to_string()).unwrap();
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 1);
}

#[test]
fn a_world_readable_key_file_is_refused() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let path = store.directory().join(format!("{}.asc", key.fingerprint));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = store
        .signer("packages@example.org", Role::Packages, &PassphraseSource::none())
        .unwrap_err();
    assert!(
        matches!(&refused, KeyError::Permissions { mode: 0o644, .. }),
        "{refused}"
    );
    assert!(
        refused.to_string().contains(&format!("chmod 600 {}", path.display())),
        "{refused}"
    );
}

#[test]
fn a_world_readable_key_directory_is_refused() {
    let bench = Bench::new();
    let (store, _) = store_with_key(&bench, Role::Packages);
    fs::set_permissions(store.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = KeyStore::open(store.directory()).unwrap_err();
    assert!(refused.to_string().contains("chmod 700"), "{refused}");
}

#[test]
fn a_link_in_place_of_a_key_file_is_not_followed() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let path = store.directory().join(format!("{}.asc", key.fingerprint));
    fs::rename(&path, bench.path("elsewhere.asc")).unwrap();
    std::os::unix::fs::symlink(bench.path("elsewhere.asc"), &path).unwrap();
    assert!(matches!(store.list(), Err(KeyError::Io { .. })));
}

#[test]
fn a_damaged_or_exchanged_key_file_is_named() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let other = store
        .generate(Role::Packages, &NewKey::new("Other <other@example.org>"))
        .unwrap();
    let file = |key: &KeyInfo| store.directory().join(format!("{}.asc", key.fingerprint));
    let good = fs::read(file(&key)).unwrap();
    fs::copy(file(&other), file(&key)).unwrap();
    let refused = store.list().unwrap_err().to_string();
    assert!(
        refused.contains(&key.fingerprint.to_string()) && refused.contains("another key"),
        "{refused}"
    );
    fs::write(file(&key), &good[..good.len() / 2]).unwrap();
    assert!(matches!(store.list(), Err(KeyError::Damaged { .. })));
}

#[test]
fn metadata_of_a_newer_version_is_refused_by_name() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let path = store.directory().join(format!("{}.json", key.fingerprint));
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\n  \"format\": 2,\n  \"roles\": [\n    \"packages\"\n  ]\n}"
    );
    fs::write(&path, r#"{"format": 4, "roles": {"shape": "unknown"}}"#).unwrap();
    let refused = store.list().unwrap_err();
    assert!(
        matches!(refused, KeyError::Format { found: 4, known: 3, .. }),
        "{refused}"
    );
    // A key without metadata (a crash while it was added) is listed, and of no use.
    fs::remove_file(&path).unwrap();
    assert!(store.list().unwrap()[0].roles.is_empty());
    assert!(matches!(
        store.find("packages@example.org", Role::Packages),
        Err(KeyError::WrongRole { .. })
    ));
}

#[test]
fn importing_again_adds_roles_and_keeps_the_secret() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let public = store
        .export_public(&key.fingerprint.to_string(), Encoding::Armored)
        .unwrap();
    let again = store.import(&public, &[Role::Repository]).unwrap().remove(0);
    assert!(again.has_secret);
    assert_eq!(
        again.roles.into_iter().collect::<Vec<_>>(),
        [Role::Packages, Role::Repository]
    );
    assert!(matches!(
        KeyStore::open(bench.path("new")).unwrap().import(&public, &[]),
        Err(KeyError::NoRole { .. })
    ));
}

#[test]
fn commands_that_add_roles_at_the_same_time_do_not_lose_any() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let public = store
        .export_public(&key.fingerprint.to_string(), Encoding::Binary)
        .unwrap();
    std::thread::scope(|scope| {
        for role in [Role::Bots, Role::Repository, Role::Commits] {
            let (store, public) = (&store, &public);
            scope.spawn(move || store.import(public, &[role]).unwrap());
        }
    });
    assert_eq!(store.list().unwrap()[0].roles.len(), 4);
}

#[test]
fn what_is_not_a_key_is_not_imported() {
    let bench = Bench::new();
    let store = bench.store();
    for data in [
        &b""[..],
        b"hello",
        b"\xff\xff\xff",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n",
    ] {
        assert!(
            matches!(store.import(data, &[Role::Commits]), Err(KeyError::Import { .. })),
            "{data:?}"
        );
    }
    for (user_id, reason) in [("", "empty"), ("a\nb", "control characters")] {
        let refused = store
            .generate(Role::Packages, &NewKey::new(user_id))
            .unwrap_err()
            .to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    let forever = NewKey {
        expires_in: Some(std::time::Duration::MAX),
        ..NewKey::new("A <a@example.org>")
    };
    assert!(matches!(
        store.generate(Role::Packages, &forever),
        Err(KeyError::Expiry { .. })
    ));
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn key_information_serializes_for_other_programs() {
    let bench = Bench::new();
    let (_, key) = store_with_key(&bench, Role::Packages);
    let json = serde_json::to_value(&key).unwrap();
    assert_eq!(json["fingerprint"], key.fingerprint.to_string());
    assert_eq!(json["roles"], serde_json::json!(["packages"]));
    assert_eq!(json["expires"], serde_json::Value::Null);
    assert!(json["created"].as_str().unwrap().ends_with('Z'));
}
