//! Signed git commits.

use super::*;
use crate::keys::VerifyError;

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
