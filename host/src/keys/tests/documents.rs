//! Signed documents: ours before gpgv, apt and dscverify, and gpg's before us.

use proptest::prelude::*;

use super::*;
use crate::keys::{VerifyError, strip_clear_signature};

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
fn apt_accepts_what_the_repository_key_signs_and_nothing_else() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Repository);
    let signer = signer(&store, &key, Role::Repository);
    let date = run(bench.command("date").args(["-u", "-R"]), b"").said;
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let release = format!(
        "Origin: Test\nCodename: x\nDate: {}\nArchitectures: all\nComponents: main\n\
         SHA256:\n {empty} 0 main/binary-all/Packages\n",
        date.trim()
    );
    let suite = bench.path("archive/dists/x");
    fs::create_dir_all(suite.join("main/binary-all")).unwrap();
    fs::write(suite.join("main/binary-all/Packages"), "").unwrap();
    fs::write(bench.path("key.gpg"), store.export_keyring(Role::Repository).unwrap()).unwrap();
    let root = bench.directory.path().display();
    bench.write(
        "sources.list",
        format!("deb [signed-by={root}/key.gpg] file:{root}/archive x main\n"),
    );
    let update = || {
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(bench.path(directory)).unwrap();
        }
        let options = [
            format!("Dir::Etc::SourceList={root}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={root}/lists"),
            format!("Dir::Cache={root}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            "Debug::NoLocking=true".to_owned(),
        ];
        let mut apt = bench.command("apt-get");
        run(
            apt.args(options.iter().flat_map(|option| ["-o", option]))
                .args(["--error-on=any", "update"]),
            b"",
        )
    };

    fs::write(suite.join("InRelease"), signer.clear_sign(release.as_bytes()).unwrap()).unwrap();
    let ran = update();
    assert!(ran.ok, "InRelease: {}", ran.said);

    let other = store
        .generate(Role::Packages, &NewKey::new("Other <other@example.org>"))
        .unwrap();
    let foreign = super::signer(&store, &other, Role::Packages).clear_sign(release.replace("Test", "Best").as_bytes());
    fs::write(suite.join("InRelease"), foreign.unwrap()).unwrap();
    let ran = update();
    assert!(!ran.ok && ran.said.contains("NO_PUBKEY"), "a foreign key: {}", ran.said);

    fs::remove_file(suite.join("InRelease")).unwrap();
    fs::remove_dir_all(bench.path("lists")).unwrap();
    fs::write(suite.join("Release"), &release).unwrap();
    fs::write(
        suite.join("Release.gpg"),
        signer.detach_sign_armored(release.as_bytes()).unwrap(),
    )
    .unwrap();
    let ran = update();
    assert!(ran.ok, "Release.gpg: {}", ran.said);
}

#[test]
fn dscverify_accepts_what_the_packages_key_signs() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let signer = signer(&store, &key, Role::Packages);
    let keyring = bench.write("ring.gpg", store.export_keyring(Role::Packages).unwrap());
    bench.write("tree_1.tar.gz", "not really");
    let describe = |kind: &str, file: &str, columns: &str| {
        let script = format!(
            "echo 'Format: {kind}'; echo 'Source: tree'; echo 'Version: 1'; \
             echo 'Checksums-Sha1:'; echo \" $(sha1sum <{file} | cut -d' ' -f1) $(stat -c %s {file}) {file}\"; \
             echo 'Checksums-Sha256:'; echo \" $(sha256sum <{file} | cut -d' ' -f1) $(stat -c %s {file}) {file}\"; \
             echo 'Files:'; echo \" $(md5sum <{file} | cut -d' ' -f1) $(stat -c %s {file}) {columns}{file}\""
        );
        let ran = run(bench.command("sh").args(["-ec", &script]), b"");
        assert!(ran.ok, "{}", ran.said);
        ran.stdout
    };
    let dsc = signer
        .clear_sign(&describe("3.0 (native)", "tree_1.tar.gz", ""))
        .unwrap();
    bench.write("tree_1.dsc", &dsc);
    let changes = signer
        .clear_sign(&describe("1.8", "tree_1.dsc", "devel optional "))
        .unwrap();
    bench.write("tree_1_source.changes", &changes);
    let dscverify = || {
        let mut command = bench.command("dscverify");
        command.args(["--no-default-keyrings", "--keyring"]).arg(&keyring);
        run(command.arg("tree_1_source.changes"), b"")
    };
    let ran = dscverify();
    assert!(
        ran.ok && ran.said.contains("All files validated successfully"),
        "{}",
        ran.said
    );

    bench.write(
        "tree_1.dsc",
        String::from_utf8(dsc).unwrap().replace("Version: 1", "Version: 2"),
    );
    assert!(!dscverify().ok);
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

/// Changes to a document that someone in the middle could try.
#[derive(Debug, Clone)]
enum Tampering {
    Flip(usize, u8),
    Insert(usize, &'static str),
    Remove(usize, usize),
    DoubleLine(usize),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    prop_oneof![
        (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Tampering::Flip(at, 1 << bit)),
        (
            any::<usize>(),
            proptest::sample::select(&[" ", "\t", "\n", "\r\n", "- ", "-", "\0", "x\n", "Hash: SHA1\n"][..])
        )
            .prop_map(|(at, text)| Tampering::Insert(at, text)),
        (any::<usize>(), 1..40_usize).prop_map(|(at, length)| Tampering::Remove(at, length)),
        any::<usize>().prop_map(Tampering::DoubleLine),
    ]
}

fn tamper(document: &mut Vec<u8>, tampering: &Tampering) {
    let length = document.len();
    match *tampering {
        Tampering::Flip(at, bits) => document[at % length] ^= bits,
        Tampering::Insert(at, text) => drop(document.splice(at % length..at % length, text.bytes())),
        Tampering::Remove(at, count) => drop(document.drain(at % length..(at % length + count).min(length - 1))),
        Tampering::DoubleLine(at) => {
            let mut lines: Vec<_> = document
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            let at = at % lines.len();
            lines.insert(at, lines[at].clone());
            *document = lines.concat();
        }
    }
}

#[test]
fn whatever_is_accepted_is_what_was_signed() {
    let bench = Bench::new();
    let (signer, trusted) = signer_and_trust(&bench, Role::Packages);
    let text = b"Source: tree\n\n- dashed\nFiles:\n a b c\n";
    let document = signer.clear_sign(text).unwrap();
    let config = ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(changes in proptest::collection::vec(tampering(), 1..4))| {
        let mut altered = document.clone();
        for change in &changes {
            tamper(&mut altered, change);
        }
        if let Ok(verified) = trusted.verify_clear_signed(&altered) {
            prop_assert_eq!(verified.text, text);
        }
    });
}
