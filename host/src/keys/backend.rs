//! Where the secret of a signing key is: in memory, or with GnuPG, which asks its agent or a smartcard.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureHasher, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, Timestamp};
use thiserror::Error;

use super::fingerprint::Fingerprint;
use super::gnupg::complaint;
use super::stored_key::SecretPart;
use super::verify::{VerifyError, read_signatures};

/// What is hashed with; gpg's name of it stands in clear-signed texts.
const HASH: HashAlgorithm = HashAlgorithm::Sha512;
pub(super) const HASH_NAME: &str = "SHA512";

/// Why there is no signature.
#[derive(Debug, Error)]
pub(super) enum BackendError {
    #[error("{0}")]
    OpenPgp(#[from] pgp::errors::Error),
    #[error("cannot run gpg: {0}")]
    Run(#[source] io::Error),
    #[error("gpg refused: {0}")]
    Gnupg(String),
    #[error("gpg answered with something else: {0}")]
    Answer(#[from] VerifyError),
}

/// A key that can sign.
pub(super) enum Backend {
    /// Unlocked, in memory.
    Memory(Box<SecretPart>),
    /// Where gpg finds it, under this fingerprint.
    Gnupg { key: Fingerprint, home: Option<PathBuf> },
}

impl Backend {
    pub fn start(&self, kind: SignatureType, now: Timestamp) -> Result<Pending<'_>, BackendError> {
        match self {
            Self::Memory(part) => Ok(Pending::Memory {
                part,
                hasher: hasher(part, kind, now)?,
            }),
            Self::Gnupg { key, home } => {
                let mut gpg = Command::new("gpg");
                if let Some(home) = home {
                    gpg.env("GNUPGHOME", home);
                }
                if kind == SignatureType::Text {
                    gpg.arg("--textmode");
                }
                // The exclamation mark: this key, no other one of the same certificate.
                gpg.args(["--batch", "--no-armor", "--digest-algo", HASH_NAME, "--local-user"]);
                gpg.arg(format!("{key}!")).args(["--output", "-", "--detach-sign", "-"]);
                gpg.env("LC_ALL", "C")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                Ok(Pending::Gnupg(Gpg(Some(gpg.spawn().map_err(BackendError::Run)?))))
            }
        }
    }
}

fn hasher(part: &SecretPart, kind: SignatureType, now: Timestamp) -> Result<SignatureHasher, pgp::errors::Error> {
    let (algorithm, fingerprint, key_id) = match part {
        SecretPart::Primary(key) => (key.algorithm(), key.fingerprint(), key.legacy_key_id()),
        SecretPart::Subkey(key) => (key.algorithm(), key.fingerprint(), key.legacy_key_id()),
    };
    let mut config = SignatureConfig::v4(kind, algorithm, HASH);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::IssuerFingerprint(fingerprint))?,
        Subpacket::regular(SubpacketData::SignatureCreationTime(now))?,
    ];
    // Where gpg 1.4 and debsig-verify look for the signer.
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key_id))?];
    config.into_hasher()
}

/// A signature in the making.
pub(super) enum Pending<'a> {
    Memory {
        part: &'a SecretPart,
        hasher: SignatureHasher,
    },
    Gnupg(Gpg),
}

impl Pending<'_> {
    /// Takes more of the data.
    pub fn update(&mut self, data: &[u8]) {
        // Hashing into memory does not fail. A gpg that has gone says why when it is asked for the signature.
        let _ = match self {
            Self::Memory { hasher, .. } => hasher.write_all(data),
            Self::Gnupg(gpg) => gpg.write_all(data),
        };
    }

    pub fn sign(self) -> Result<Signature, BackendError> {
        let gpg = match self {
            Self::Memory { part, hasher } => {
                let unlocked = Password::empty();
                return Ok(match part {
                    SecretPart::Primary(key) => hasher.sign(key, &unlocked)?,
                    SecretPart::Subkey(key) => hasher.sign(key, &unlocked)?,
                });
            }
            Self::Gnupg(gpg) => gpg,
        };
        let output = gpg.finish().map_err(BackendError::Run)?;
        if !output.status.success() {
            return Err(BackendError::Gnupg(complaint(&String::from_utf8_lossy(&output.stderr))));
        }
        let signature = read_signatures(&output.stdout)?.pop();
        signature.ok_or(BackendError::Answer(VerifyError::Unsigned))
    }
}

/// A gpg that is being fed. It does not outlive a signature that is given up.
pub(super) struct Gpg(Option<Child>);

impl Gpg {
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        let stdin = self.0.as_mut().and_then(|child| child.stdin.as_mut());
        stdin.map_or(Ok(()), |stdin| stdin.write_all(data))
    }

    /// Closes its standard input and collects what it prints.
    fn finish(mut self) -> io::Result<Output> {
        let child = self.0.take();
        child
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?
            .wait_with_output()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself; either way nothing is left to be done.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}
