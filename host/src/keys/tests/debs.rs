//! Signed packages, before debsig-verify, debsigs and dpkg-deb.

use super::*;
use crate::keys::{DebError, ORIGIN_MEMBER};

/// A real package, made by dpkg-deb.
pub(super) fn package(bench: &Bench, compression: &str) -> Vec<u8> {
    let root = bench.path("package");
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::create_dir_all(root.join("usr/share/doc/probe")).unwrap();
    let control =
        "Package: probe\nVersion: 1.0\nArchitecture: all\nMaintainer: M <m@example.org>\nDescription: probe\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    fs::write(root.join("usr/share/doc/probe/text"), b"odd".repeat(11111)).unwrap();
    let deb = bench.path("probe.deb");
    let mut dpkg = bench.command("dpkg-deb");
    dpkg.args(["--root-owner-group", &format!("-Z{compression}"), "--build"])
        .arg(&root)
        .arg(&deb);
    let ran = run(&mut dpkg, b"");
    assert!(ran.ok, "{}", ran.said);
    fs::read(deb).unwrap()
}

pub(super) fn sign(signer: &Signer, package: &[u8]) -> Result<Vec<u8>, DebError> {
    let mut signed = Vec::new();
    signer.sign_deb(package, &mut signed).map(|()| signed)
}

/// Lays out policy and keyring as docs/debsig-policy.md says, and runs debsig-verify.
fn debsig_verify(bench: &Bench, store: &KeyStore, key: &KeyInfo, package: &[u8]) -> Ran {
    let id = key.fingerprint.to_string().to_uppercase();
    let policies = bench.path(&format!("policies/{id}"));
    let keyrings = bench.path(&format!("keyrings/{id}"));
    fs::create_dir_all(&policies).unwrap();
    fs::create_dir_all(&keyrings).unwrap();
    fs::write(policies.join("foundry.pol"), policy(&id)).unwrap();
    fs::write(
        keyrings.join("foundry.gpg"),
        store.export_public(&id, Encoding::Binary).unwrap(),
    )
    .unwrap();
    let deb = bench.write("signed.deb", package);
    let mut command = bench.command("debsig-verify");
    command.arg("--debug").arg("--policies-dir").arg(bench.path("policies"));
    command.arg("--keyrings-dir").arg(bench.path("keyrings")).arg(deb);
    run(&mut command, b"")
}

/// The policy in docs/debsig-policy.md, so that the page can't be wrong.
fn policy(id: &str) -> String {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/debsig-policy.md"));
    let (_, from) = page.split_once("```xml\n").unwrap();
    let (policy, _) = from.split_once("```").unwrap();
    assert!(policy.contains("FINGERPRINT"));
    policy.replace("FINGERPRINT", id)
}

#[test]
fn debsig_verify_accepts_packages_of_every_compression() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let signer = signer(&store, &key, Role::Packages);
    for compression in ["xz", "gzip", "none", "zstd"] {
        let package = package(&bench, compression);
        let signed = sign(&signer, &package).unwrap();
        assert_eq!(
            &signed[..package.len()],
            &package[..],
            "the package itself is not touched"
        );
        let ran = debsig_verify(&bench, &store, &key, &signed);
        assert!(
            ran.ok && ran.said.contains("Verified package from"),
            "{compression}: {}",
            ran.said
        );
        let deb = bench.write("signed.deb", &signed);
        assert!(
            run(bench.command("dpkg-deb").arg("--contents").arg(&deb), b"")
                .said
                .contains("usr/share/doc/probe")
        );
    }
}

#[test]
fn debsig_verify_accepts_packages_signed_with_keys_of_gnupg_even_if_they_have_subkeys() {
    let bench = Bench::new();
    let store = bench.store();
    bench.gpg_key("Rsa <rsa@example.org>", "rsa3072", "");
    let rsa = store
        .import(
            &bench.gpg(&["--export-secret-keys", "rsa@example.org"], b""),
            &[Role::Packages],
        )
        .unwrap()
        .remove(0);
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
    let sub = store
        .import(
            &bench.gpg(&["--export-secret-keys", "sub@example.org"], b""),
            &[Role::Packages],
        )
        .unwrap()
        .remove(0);
    let package = package(&bench, "xz");
    for key in [rsa, sub] {
        let signed = sign(&signer(&store, &key, Role::Packages), &package).unwrap();
        let ran = debsig_verify(&bench, &store, &key, &signed);
        assert!(
            ran.ok && ran.said.contains("Verified package from"),
            "{key}: {}",
            ran.said
        );
    }
}

#[test]
fn a_subkey_that_debsig_verify_would_not_know_does_not_sign_packages() {
    let bench = Bench::new();
    let store = bench.store();
    let user_id = "Offline <offline@example.org>";
    bench.gpg(
        &["--passphrase", "", "--quick-gen-key", user_id, "ed25519", "cert", "0"],
        b"",
    );
    bench.gpg(
        &[
            "--passphrase",
            "",
            "--quick-add-key",
            &bench.gpg_fingerprint(user_id),
            "ed25519",
            "sign",
            "0",
        ],
        b"",
    );
    let key = store
        .import(&bench.gpg(&["--export-secret-keys"], b""), &[Role::Packages])
        .unwrap()
        .remove(0);
    let signer = signer(&store, &key, Role::Packages);
    assert!(signer.clear_sign(b"Format: 1.8\n").is_ok());
    let refused = sign(&signer, &package(&bench, "xz")).unwrap_err();
    assert!(matches!(refused, DebError::Subkey { .. }), "{refused}");
}

#[test]
fn debsig_verify_refuses_an_altered_package_and_another_key() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let package = package(&bench, "none");
    let signed = sign(&signer(&store, &key, Role::Packages), &package).unwrap();
    let mut altered = signed.clone();
    let at = altered.windows(6).position(|window| window == b"oddodd").unwrap();
    altered[at] = b'O';
    let ran = debsig_verify(&bench, &store, &key, &altered);
    assert!(
        ran.code == Some(13) && ran.said.contains("Failed verification"),
        "{}",
        ran.said
    );

    let other = store
        .generate(Role::Packages, &NewKey::new("Other <other@example.org>"))
        .unwrap();
    let signed = sign(&signer(&store, &other, Role::Packages), &package).unwrap();
    let ran = debsig_verify(&bench, &store, &key, &signed);
    assert_eq!(ran.code, Some(11), "{}", ran.said);
    let ran = debsig_verify(&bench, &store, &key, &package);
    assert_eq!(ran.code, Some(10), "{}", ran.said);
}

#[test]
fn signing_again_replaces_the_signature_and_keeps_those_of_others() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    let signer = signer(&store, &key, Role::Packages);
    let maintainer = bench.gpg_key("Maintainer <maintainer@example.org>", "ed25519", "");
    package(&bench, "xz");
    let deb = bench.path("probe.deb");
    let ran = run(
        bench
            .command("debsigs")
            .arg("--sign=maint")
            .arg(format!("-k={maintainer}"))
            .arg(&deb),
        b"",
    );
    assert!(ran.ok, "{}", ran.said);
    let ran = run(
        bench
            .command("debsigs")
            .arg("--sign=origin")
            .arg(format!("-k={maintainer}"))
            .arg(&deb),
        b"",
    );
    assert!(ran.ok, "{}", ran.said);
    let signed = sign(&signer, &sign(&signer, &fs::read(&deb).unwrap()).unwrap()).unwrap();
    let ran = debsig_verify(&bench, &store, &key, &signed);
    assert!(ran.ok, "{}", ran.said);
    let listed = run(
        bench.command("debsigs").arg("--list").arg(bench.path("signed.deb")),
        b"",
    );
    assert!(
        listed.said.contains("maint: signed by") && listed.said.contains("origin: signed by"),
        "{}",
        listed.said
    );
    let members = run(bench.command("ar").arg("t").arg(bench.path("signed.deb")), b"").said;
    assert_eq!(members.matches(ORIGIN_MEMBER).count(), 1, "{members}");
}

#[test]
fn the_names_that_gnu_ar_ends_with_a_slash_are_the_same_members() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Packages);
    package(&bench, "xz");
    let rebuilt = "ar x probe.deb && rm probe.deb && ar rc probe.deb debian-binary control.tar.xz data.tar.xz";
    assert!(run(bench.command("sh").args(["-ec", rebuilt]), b"").ok);
    let package = fs::read(bench.path("probe.deb")).unwrap();
    assert!(package.starts_with(b"!<arch>\ndebian-binary/"));
    let signed = sign(&signer(&store, &key, Role::Packages), &package).unwrap();
    let ran = debsig_verify(&bench, &store, &key, &signed);
    assert!(ran.ok, "{}", ran.said);
}
