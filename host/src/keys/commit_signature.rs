//! Signatures of git commits.

use pgp::packet::SignatureType;
use pgp::types::Timestamp;

use super::fingerprint::Fingerprint;
use super::verify::{TrustedKeys, VerifyError, read_signatures};

impl TrustedKeys {
    /// Checks a commit's signature, and says whose it is.
    ///
    /// `signature` is the value of the commit's `gpgsig` header and `payload` the commit object without that header;
    /// git2's `Repository::extract_signature` gives both.
    pub fn verify_commit(&self, payload: &[u8], signature: &str) -> Result<Fingerprint, VerifyError> {
        let unsupported = |kind: &str| Err(VerifyError::Unsupported { kind: kind.to_owned() });
        match signature.trim_start() {
            "" => Err(VerifyError::Unsigned),
            ssh if ssh.starts_with("-----BEGIN SSH SIGNATURE") => unsupported("SSH"),
            cms if cms.starts_with("-----BEGIN SIGNED MESSAGE") => unsupported("X.509"),
            armored => {
                let signatures = read_signatures(armored.as_bytes())?;
                self.verify_any(payload, &signatures, SignatureType::Binary, Timestamp::now())
            }
        }
    }
}
