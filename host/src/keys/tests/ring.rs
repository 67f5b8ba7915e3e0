//! Keys of the user's GnuPG ring, as it stands.

use super::*;
use crate::keys::gnupg::Ring;
use crate::keys::{Dated, DebError, KeyError, Location, UnusableKey};

pub(super) const SOURCE: Dated = Dated::Source(Some(1_700_000_000));

/// A host with nothing in its store, and the bench's ring.
pub(super) fn fresh_store(bench: &Bench, name: &str) -> KeyStore {
    KeyStore::open(bench.path(name))
        .unwrap()
        .with_gnupg_home(bench.gnupg_home())
}

pub(super) fn ring_signer(store: &KeyStore, query: &str, role: Role) -> Result<Arc<Signer>, KeyError> {
    store.signer(query, role, &PassphraseSource::none())
}

pub(super) fn kill_agent(bench: &Bench) {
    assert!(run(bench.command("gpgconf").args(["--kill", "gpg-agent"]), b"").ok);
    // It says so, and ends a moment later.
    for _ in 0..1000 {
        if !bench.path("gnupg/S.gpg-agent").exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// gpgv's word on a clear-signed text, with the key that the store exports.
pub(super) fn gpgv_says(bench: &Bench, store: &KeyStore, query: &str, document: &[u8]) -> Ran {
    let keyring = bench.write("exported.gpg", store.export_public(query, Encoding::Binary).unwrap());
    let document = bench.write("document", document);
    let mut gpgv = bench.command("gpgv");
    gpgv.args(["--status-fd", "2", "--keyring"]).arg(keyring).arg(document);
    run(&mut gpgv, b"")
}

/// Names and contents of the ring's files. Sockets of its agent come and go.
fn contents(bench: &Bench) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut directories = vec![bench.gnupg_home()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => directories.push(entry.path()),
                kind if kind.is_file() => files.push((entry.path(), fs::read(entry.path()).unwrap())),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_key_of_the_ring_signs_by_any_of_its_names_and_leaves_the_ring_as_it_is() {
    let bench = Bench::new();
    for algorithm in ["ed25519", "rsa2048", "nistp256"] {
        let address = format!("{algorithm}@example.org");
        let user_id = format!("Packager <{address}>");
        let fingerprint = bench.gpg_key(&user_id, algorithm, "");
        let upper = fingerprint.to_uppercase();
        let before = contents(&bench);
        let store = fresh_store(&bench, algorithm);
        let names = [
            fingerprint.clone(),
            format!("0x{upper}"),
            upper[24..].to_owned(),
            format!("0x{}", &fingerprint[24..]),
            upper[32..].to_owned(),
            format!("0x{}", &fingerprint[32..]),
            address.to_uppercase(),
            user_id,
        ];
        for name in &names {
            for role in [Role::Packages, Role::Repository] {
                let signer = ring_signer(&store, name, role).unwrap();
                assert_eq!(signer.fingerprint().to_string(), fingerprint, "{name}");
                let document = signer.clear_sign(b"trailing blanks  \t\n- dash\n").unwrap();
                let ran = gpgv_says(&bench, &store, name, &document);
                assert!(ran.ok && ran.said.contains("VALIDSIG"), "{name}: {}", ran.said);
            }
        }
        let info = store.find_any(&address).unwrap();
        assert_eq!(
            (info.location, info.kept_by_gnupg, info.has_secret),
            (Location::Gnupg, true, false)
        );
        assert_eq!(contents(&bench), before, "{algorithm}");
        assert!(store.list().unwrap().is_empty());
    }
}

#[test]
fn the_rings_keys_that_can_sign_are_listed() {
    let bench = Bench::new();
    let store = fresh_store(&bench, "host");
    assert_eq!(store.list_gnupg().unwrap(), []);
    let own = bench.gpg_key("Own <own@example.org>", "ed25519", "");
    let imported = bench.gpg_key("Imported <imported@example.org>", "ed25519", "");
    let other = bench.gpg_key("Other <other@example.org>", "ed25519", "");
    bench.gpg(&["--yes", "--delete-secret-keys", &other], b"");
    store
        .import(&bench.gpg(&["--export-secret-keys", &imported], b""), &[Role::Packages])
        .unwrap();
    let listed = store.list_gnupg().unwrap();
    let fingerprints: Vec<_> = listed.iter().map(|key| key.fingerprint.to_string()).collect();
    assert_eq!(
        fingerprints,
        [own],
        "neither the one in the store nor one without a secret"
    );
    let json = serde_json::to_value(&listed[0]).unwrap();
    assert_eq!(
        (&json["where"], &json["roles"]),
        (&"gnupg".into(), &serde_json::json!([]))
    );
    let stored = serde_json::to_value(&store.list().unwrap()[0]).unwrap();
    assert_eq!(stored["where"], "store");

    let nowhere = KeyStore::open(bench.path("host"))
        .unwrap()
        .with_gnupg_home(bench.path("nowhere"));
    assert_eq!(nowhere.list_gnupg().unwrap(), []);
}

/// A package and a text, signed twice by the key in the ring and in a store that has it as well.
fn signed_by_both(bench: &Bench, algorithm: &str) -> [[(Vec<u8>, Vec<u8>); 2]; 2] {
    let package = debs::package(bench, "xz");
    let fingerprint = bench.gpg_key(&format!("Same <{algorithm}@example.org>"), algorithm, "");
    let ring = fresh_store(bench, &format!("{algorithm}-ring"));
    let store = KeyStore::open(bench.path(&format!("{algorithm}-store"))).unwrap();
    let secret = bench.gpg(&["--export-secret-keys", &fingerprint], b"");
    store.import(&secret, &[Role::Packages]).unwrap();
    [&ring, &store].map(|keys| {
        let signer = ring_signer(keys, &fingerprint, Role::Packages).unwrap();
        [(), ()].map(|()| {
            let mut deb = Vec::new();
            signer.sign_deb_dated(&package[..], &mut deb, SOURCE).unwrap();
            (deb, signer.clear_sign_dated(b"Source: a\n", SOURCE).unwrap())
        })
    })
}

#[test]
fn gnupg_and_the_store_make_the_same_signatures() {
    let bench = Bench::new();
    for algorithm in ["ed25519", "rsa2048", "nistp256", "nistp384"] {
        let [[by_gnupg, again], by_store] = signed_by_both(&bench, algorithm);
        assert!(
            by_gnupg == again && by_store.iter().all(|signed| *signed == by_gnupg),
            "{algorithm}"
        );
    }
}

#[test]
fn gnupg_makes_the_same_signature_again_on_p_521_and_the_store_draws_at_random() {
    let [[by_gnupg, again], [by_store, another]] = signed_by_both(&Bench::new(), "nistp521");
    assert!(by_gnupg == again);
    // What docs/keys.md says of it: the crate p521 has no RFC 6979.
    assert!(by_store != another);
}

#[test]
fn an_agent_that_is_forwarded_from_another_machine_signs() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Far <far@example.org>", "ed25519", "");
    // Here is the public key, and a file that leads to the socket which ssh forwards: that for strangers.
    let here = bench.path("here");
    fs::create_dir(&here).unwrap();
    fs::set_permissions(&here, fs::Permissions::from_mode(0o700)).unwrap();
    let mut import = bench.command("gpg");
    let ran = run(
        import
            .env("GNUPGHOME", &here)
            .args(["--batch", "--no-autostart", "--import"]),
        &bench.gpg(&["--export"], b""),
    );
    assert!(ran.ok, "{}", ran.said);
    let socket = bench.path("gnupg/S.gpg-agent.extra");
    assert!(socket.exists());
    fs::write(
        here.join("S.gpg-agent"),
        format!("%Assuan%\nsocket={}\n", socket.display()),
    )
    .unwrap();
    let store = KeyStore::open(bench.path("host")).unwrap().with_gnupg_home(here);
    let document = ring_signer(&store, "far@example.org", Role::Packages)
        .unwrap()
        .clear_sign(b"text\n")
        .unwrap();
    let ran = gpgv_says(&bench, &store, &fingerprint, &document);
    assert!(ran.ok && ran.said.contains("VALIDSIG"), "{}", ran.said);
}

#[test]
fn a_store_that_has_the_secret_goes_before_the_ring() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Both <both@example.org>", "ed25519", "");
    let store = fresh_store(&bench, "host");
    store
        .import(&bench.gpg(&["--export-secret-keys"], b""), &[Role::Bots])
        .unwrap();
    assert_eq!(store.find_any(&fingerprint).unwrap().location, Location::Store);
    // So its roles count: the operator has said what it is for.
    let refused = ring_signer(&store, &fingerprint, Role::Packages).err().unwrap();
    assert!(matches!(refused, KeyError::WrongRole { .. }), "{refused}");
}

#[test]
fn a_public_key_in_the_store_does_not_hide_its_owners_ring() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Committer <c@example.org>", "ed25519", "");
    let store = fresh_store(&bench, "host");
    store.import(&bench.gpg(&["--export"], b""), &[Role::Commits]).unwrap();
    assert!(ring_signer(&store, &fingerprint, Role::Packages).is_ok());
    // Where the ring does not have it either, the store's word is what helps.
    let elsewhere = store.with_gnupg_home(bench.path("nowhere"));
    let refused = ring_signer(&elsewhere, &fingerprint, Role::Packages).err().unwrap();
    assert!(
        matches!(refused, KeyError::Unusable(UnusableKey::PublicOnly { .. })),
        "{refused}"
    );
}

#[test]
fn a_revocation_that_the_store_knows_counts_for_the_ring() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Stolen <stolen@example.org>", "ed25519", "");
    let elsewhere = KeyStore::open(bench.path("elsewhere")).unwrap();
    elsewhere
        .import(&bench.gpg(&["--export-secret-keys"], b""), &[Role::Packages])
        .unwrap();
    let none = PassphraseSource::none();
    elsewhere
        .revoke(&fingerprint, crate::keys::RevocationReason::Compromised, &none)
        .unwrap();
    let store = fresh_store(&bench, "host");
    assert!(ring_signer(&store, &fingerprint, Role::Packages).is_ok());
    let revoked = elsewhere.export_public(&fingerprint, Encoding::Armored).unwrap();
    store.import(&revoked, &[Role::Commits]).unwrap();
    let refused = ring_signer(&store, &fingerprint, Role::Packages).err().unwrap();
    assert!(
        matches!(refused, KeyError::Unusable(UnusableKey::Revoked { .. })),
        "{refused}"
    );
}

#[test]
fn the_primary_key_signs_packages_and_a_subkey_repositories() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Sub <sub@example.org>", "ed25519", "");
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
    let store = fresh_store(&bench, "host");
    let by = |role: Role, name: &str| {
        let document = ring_signer(&store, name, role).unwrap().clear_sign(b"text\n").unwrap();
        let said = gpgv_says(&bench, &store, name, &document).said;
        let valid = said
            .lines()
            .find_map(|line| line.split_once("VALIDSIG "))
            .unwrap()
            .1
            .to_lowercase();
        valid.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(by(Role::Packages, &fingerprint), fingerprint);
    let subkey = by(Role::Repository, &fingerprint);
    assert_ne!(subkey, fingerprint);
    // A subkey's number names its key.
    assert_eq!(by(Role::Packages, &subkey), fingerprint);

    // With the primary key's secret kept offline, debsig-verify could not check packages.
    let subkeys = bench.gpg(&["--export-secret-subkeys", &fingerprint], b"");
    bench.gpg(&["--yes", "--delete-secret-keys", &fingerprint], b"");
    bench.gpg(&["--import"], &subkeys);
    let package = debs::package(&bench, "xz");
    let signer = ring_signer(&store, &fingerprint, Role::Packages).unwrap();
    let refused = signer.sign_deb(&package[..], std::io::sink()).unwrap_err();
    assert!(matches!(refused, DebError::Subkey { .. }), "{refused}");
    assert_eq!(by(Role::Repository, &fingerprint), subkey);
}

#[test]
fn gpgs_option_files_change_nothing() {
    let bench = Bench::new();
    let other = bench.gpg_key("Other <other@example.org>", "ed25519", "");
    let fingerprint = bench.gpg_key("Mine <mine@example.org>", "ed25519", "");
    let sign = |name: &str| {
        let store = fresh_store(&bench, name);
        let signer = ring_signer(&store, "mine@example.org", Role::Packages).unwrap();
        assert_eq!(signer.fingerprint().to_string(), fingerprint);
        (
            signer.clear_sign_dated(b"text\n", SOURCE).unwrap(),
            store.export_public("mine@example.org", Encoding::Armored).unwrap(),
        )
    };
    let before = sign("before");
    for options in [
        format!("default-key {other}\nlocal-user {other}\nencrypt-to {other}\n"),
        "armor\nbatch\ntextmode\nquiet\n".to_owned(),
        "no-batch\nverbose\nverbose\nlogger-file /dev/null\noutput odd\ndry-run\n".to_owned(),
        "digest-algo SHA1\ncert-digest-algo SHA1\nsig-notation a@example.org=b\ncomment odd\nemit-version\n".to_owned(),
        "default-sig-expire 1d\npinentry-mode loopback\nno-autostart\nexport-options export-minimal\n".to_owned(),
        "with-colons\nwith-fingerprint\nkeyid-format none\nlist-options show-sig-subpackets\nfixed-list-mode\n"
            .to_owned(),
        "no-default-keyring\nkeyring /dev/null\n".to_owned(),
        "no-such-option\n".to_owned(),
    ] {
        bench.write("gnupg/gpg.conf", &options);
        assert_eq!(sign("after"), before, "{options}");
    }
}

#[test]
fn a_signature_runs_no_gpg_and_a_change_of_the_ring_counts_at_once() {
    let bench = Bench::new();
    let fingerprint = bench.gpg_key("Many <many@example.org>", "ed25519", "");
    let runs = bench.path("runs");
    let script = bench.write(
        "gpg",
        format!("#!/bin/sh\necho >>{}\nexec gpg \"$@\"\n", runs.display()),
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let ring = Ring::new(Some(bench.gnupg_home())).with_gpg(script);
    let store = KeyStore::open(bench.path("host")).unwrap().with_ring(ring);
    let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
    // A ring that has just changed may change once more in the same step of the file system's clock.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let sign = || {
        let signer = ring_signer(&store, "many@example.org", Role::Packages)?;
        Ok::<_, KeyError>(signer.clear_sign(b"text\n").unwrap())
    };
    sign().unwrap();
    assert_eq!(count(), 2, "one lists, the other exports");
    for _ in 0..10 {
        sign().unwrap();
    }
    assert_eq!(count(), 2);

    revoke(&bench, &fingerprint);
    assert!(matches!(sign(), Err(KeyError::Unusable(UnusableKey::Revoked { .. }))));
}

/// With the certificate that gpg made beside the key.
pub(super) fn revoke(bench: &Bench, fingerprint: &str) {
    let path = format!("gnupg/openpgp-revocs.d/{}.rev", fingerprint.to_uppercase());
    let certificate = fs::read_to_string(bench.path(&path)).unwrap();
    // A colon guards against accidents.
    bench.gpg(
        &["--import"],
        certificate.replace(":-----BEGIN", "-----BEGIN").as_bytes(),
    );
}
