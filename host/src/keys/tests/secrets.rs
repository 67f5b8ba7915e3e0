//! Secrets stay out of whatever is printed or logged.

use std::io;
use std::sync::Mutex;

use pgp::composed::{Deserializable, SignedSecretKey};
use pgp::types::{PlainSecretParams, SecretParams};
use tracing_subscriber::util::SubscriberInitExt;

use super::*;
use crate::keys::{KeyError, Passphrase, SecretBytes};

/// The secret scalar of an unprotected key, in the forms in which it could be printed.
fn forms_of_secret(armored: &[u8]) -> Vec<String> {
    let (key, _) = SignedSecretKey::from_armor_single(armored).unwrap();
    let SecretParams::Plain(PlainSecretParams::EdDSALegacy(pgp::crypto::eddsa_legacy::SecretKey::Ed25519(secret))) =
        key.primary_key.secret_params()
    else {
        panic!("not an unprotected Ed25519 key")
    };
    let bytes = secret.as_bytes();
    let armor_line = String::from_utf8_lossy(armored).lines().nth(4).unwrap().to_owned();
    vec![
        hex::encode(bytes),
        hex::encode_upper(bytes),
        format!("{bytes:?}").trim_matches(['[', ']']).to_owned(),
        armor_line,
    ]
}

fn assert_clean(printed: &str, forms: &[String], what: &str) {
    for form in forms {
        assert!(!printed.contains(form), "{what} contains {form}:\n{printed}");
    }
}

#[test]
fn no_type_prints_its_secret() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let secret = store.export_secret(&key.fingerprint.to_string()).unwrap();
    let forms = forms_of_secret(secret.expose());
    let signer = signer(&store, &key, Role::Packages);
    let stored = crate::keys::stored_key::StoredKey::parse_all(secret.expose()).unwrap();
    for printed in [
        format!("{signer:?}"),
        format!("{signer:#?}"),
        format!("{secret:?}"),
        format!("{stored:#?}"),
        format!("{store:?}"),
    ] {
        assert_clean(&printed, &forms, "debug output");
    }
    assert_eq!(format!("{:?}", SecretBytes::new(vec![1])), "[redacted]");

    let passphrase = Passphrase::new("hunter2".to_owned());
    let new = NewKey {
        passphrase: Some(passphrase.clone()),
        ..NewKey::new("A <a@example.org>")
    };
    let given = super::super::GnupgKey {
        passphrase: Some(passphrase),
        ..super::super::GnupgKey::secret("a")
    };
    for printed in [format!("{new:#?}"), format!("{given:#?}")] {
        assert!(
            printed.contains("[redacted]") && !printed.contains("hunter2"),
            "{printed}"
        );
    }
}

#[test]
fn no_error_about_a_damaged_secret_key_prints_it() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let path = store.directory().join(format!("{}.asc", key.fingerprint));
    let armored = fs::read(&path).unwrap();
    let forms = forms_of_secret(&armored);
    let mut binary = Vec::new();
    io::copy(&mut pgp::armor::Dearmor::new(&armored[..]), &mut binary).unwrap();
    let mut refused = 0;
    // Every byte of the secret key packet, and every length of it.
    for at in 0..binary.len().min(120) {
        let mut flipped = binary.clone();
        flipped[at] ^= 0x55;
        for data in [&flipped[..], &binary[..at]] {
            if let Err(error) = store.import(data, &[Role::Packages]) {
                refused += 1;
                assert_clean(&format!("{error} {error:?}"), &forms, "an error");
            }
        }
        fs::write(&path, &armored).unwrap();
    }
    assert!(refused > 100, "{refused} were refused");
}

#[test]
fn a_secret_that_does_not_fit_its_public_key_does_not_sign() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let armored = store.export_secret(&key.fingerprint.to_string()).unwrap();
    let mut binary = Vec::new();
    io::copy(&mut pgp::armor::Dearmor::new(armored.expose()), &mut binary).unwrap();
    let (parsed, _) = SignedSecretKey::from_armor_single(armored.expose()).unwrap();
    let SecretParams::Plain(PlainSecretParams::EdDSALegacy(pgp::crypto::eddsa_legacy::SecretKey::Ed25519(secret))) =
        parsed.primary_key.secret_params()
    else {
        panic!("not an unprotected Ed25519 key")
    };
    // In its packet the secret is a number, which has no zeros in front.
    let secret = secret.as_bytes();
    let digits = &secret[secret.iter().position(|byte| *byte != 0).unwrap()..];
    let at = binary
        .windows(digits.len())
        .position(|window| window == digits)
        .unwrap();
    let last = at + digits.len() - 1;
    binary[last] ^= 1;
    // The simple checksum at the end of the packet would notice; whoever doctors a key corrects it.
    let sum_at = last + 1;
    let sum = u16::from_be_bytes([binary[sum_at], binary[sum_at + 1]]);
    let sum = if binary[last] & 1 == 1 {
        sum.wrapping_add(1)
    } else {
        sum.wrapping_sub(1)
    };
    binary[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    store.remove(&key.fingerprint.to_string()).unwrap();
    match store.import(&binary, &[Role::Packages]) {
        // Noticed at once, or at the latest before anything is signed.
        Err(KeyError::Import { .. }) => {}
        Ok(_) => {
            let refused = store
                .signer("packages@example.org", Role::Packages, &PassphraseSource::none())
                .unwrap_err();
            assert!(refused.to_string().contains("does not fit"), "{refused}");
        }
        Err(other) => panic!("{other}"),
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn debug_logging_does_not_print_secret_keys() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let secret = store.export_secret(&key.fingerprint.to_string()).unwrap();
    let forms = forms_of_secret(secret.expose());
    let log = Log::default();
    let writer = log.clone();
    let _guard = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish()
        .set_default();

    store.import(secret.expose(), &[Role::Packages]).unwrap();
    let signer = signer(&store, &key, Role::Packages);
    signer.clear_sign(b"text\n").unwrap();
    signer.detach_sign(&b"data"[..]).unwrap();
    let new = NewKey {
        passphrase: Some(Passphrase::new("hunter2".to_owned())),
        ..NewKey::new("B <b@example.org>")
    };
    let other = store.generate(Role::Packages, &new).unwrap();
    let prompt = PassphraseSource::none().with_prompt(Arc::new(|_| Ok(Passphrase::new("hunter2".to_owned()))));
    store
        .signer(&other.fingerprint.to_string(), Role::Packages, &prompt)
        .unwrap();
    let printed = String::from_utf8_lossy(&log.0.lock().unwrap().clone()).into_owned();
    assert_clean(&printed, &forms, "the log");
    assert!(!printed.contains("hunter2"));

    // The same key read without the precaution is in the log: this test looks at the right place.
    log.0.lock().unwrap().clear();
    SignedSecretKey::from_armor_single(secret.expose()).unwrap();
    let printed = String::from_utf8_lossy(&log.0.lock().unwrap().clone()).into_owned();
    assert!(
        printed.contains(&forms[0]),
        "crate pgp no longer logs secret keys: `without_logs` can go"
    );
}
